"""Contact sheets: one picture a category, so that a person sees at a glance what was built."""

from itertools import combinations, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase import Atoms, io
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.utils import rotate
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure

from mtp.atomic import atomic_open
from preparation.structure_plan import StructurePlan

COLUMNS = 3
EDGE = 3.2  # inches of a panel
ROTATION = rotate("-90x,-20y,6x")  # z upwards, a little from above


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
    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context({"font.size": 7}):
        figure = Figure(figsize=(COLUMNS * EDGE, rows * EDGE))
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.92, hspace=0.2)
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (title, atoms) in zip(axes, panels, strict=False):
            _view(axis, atoms)
            edges = " x ".join(f"{length:.1f}" for length in atoms.cell.lengths())
            axis.set_title(f"{title}\n{len(atoms)} atoms, {edges} Å")
        with atomic_open(path, "wb") as file:
            figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def _view(axis: Axes, atoms: Atoms) -> None:
    """Atoms as discs of 0.8 covalent radii (Å), farther ones first; collections, as patches of
    their own (ase.visualize.plot) cost ten times the building."""
    turned = atoms.positions @ ROTATION
    order = np.argsort(turned[:, 2])
    size = 1.6 * covalent_radii[atoms.numbers][order]
    axis.add_collection(
        EllipseCollection(
            size,
            size,
            np.zeros(len(size)),
            units="xy",
            offsets=turned[order, :2],
            offset_transform=axis.transData,
            facecolors=jmol_colors[atoms.numbers][order],
            edgecolors="black",
            linewidths=0.3,
        )
    )
    corners = np.array(list(product((0, 1), repeat=3)))
    ends = corners @ atoms.cell.array @ ROTATION
    lines = [
        (ends[i, :2], ends[j, :2])
        for i, j in combinations(range(8), 2)
        if np.abs(corners[i] - corners[j]).sum() == 1
    ]
    axis.add_collection(LineCollection(lines, colors="grey", linewidths=0.5, zorder=0))
    extent = np.vstack([turned[:, :2], ends[:, :2]])
    low, high = extent.min(axis=0) - 1, extent.max(axis=0) + 1
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
