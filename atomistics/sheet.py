"""Contact sheets: one picture a category, so that a person sees at a glance what was built."""

from pathlib import Path

import matplotlib as mpl
from ase import Atoms, io
from matplotlib.figure import Figure

from planner.prepare.structure_plan import StructurePlan

COLUMNS = 3
EDGE = 3.2  # inches of a panel
SIDE = "-90x,-20y,6x"  # z upwards, a little from above


def sheets(plan: StructurePlan, folder: Path) -> list[Path]:
    """Draw structures/sheets/CATEGORY.png for every category with structures newer than it."""
    made = []
    for category in plan.categories:
        paths = [(v, folder / f"{v.id}.extxyz") for v in category.variants]
        files = [(v, file) for v, file in paths if file.is_file()]
        path = folder / "sheets" / f"{category.name}.png"
        newest = max((file.stat().st_mtime_ns for _, file in files), default=0)
        if files and not (path.is_file() and path.stat().st_mtime_ns > newest):
            path.parent.mkdir(exist_ok=True)
            panels = [
                (f"{v.id}{' (held out)' if v.held_out else ''}", io.read(f)) for v, f in files
            ]
            draw(panels, path)
            made.append(path)
    return made


def draw(panels: list[tuple[str, Atoms]], path: Path) -> None:
    """Side views with cell, number of atoms and edges in Å; the same structures give one file."""
    from ase.visualize.plot import plot_atoms

    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context({"font.size": 7, "svg.hashsalt": "mtpilot"}):
        figure = Figure(figsize=(COLUMNS * EDGE, rows * EDGE), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (title, atoms) in zip(axes, panels, strict=False):
            plot_atoms(atoms, axis, rotation=SIDE, show_unit_cell=2)
            edges = " x ".join(f"{length:.1f}" for length in atoms.cell.lengths())
            axis.set_title(f"{title}\n{len(atoms)} atoms, {edges} Å")
        temporary = path.with_name(f".{path.name}")
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        temporary.replace(path)
