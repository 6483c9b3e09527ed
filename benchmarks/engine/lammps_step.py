"""What an MD step costs in LAMMPS by `fix external`, beside the kernel alone on the same atoms.

python -m benchmarks.engine.lammps_step
"""

import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

from mtp.calculator import MTP
from mtp.formats.almtp import write_potential
from mtp.lammps import run
from mtp.potential import untrained

STEPS = 200


def main() -> None:
    """Milliseconds a step at two sizes and levels, and the ratio."""
    sys.stdout.write("level  atoms  kernel ms  LAMMPS step ms  ratio\n")
    for level in (8, 12):
        for repeats in (4, 6):
            atoms = bulk("Cu", cubic=True).repeat(repeats)
            atoms.rattle(0.05, seed=1)
            with tempfile.TemporaryDirectory() as folder:
                kernel, whole = _kernel(level, atoms, Path(folder)), _lammps(atoms, Path(folder))
            row = f"{level:>5}{len(atoms):>7}{1e3 * kernel:>11.2f}{1e3 * whole:>16.2f}"
            sys.stdout.write(f"{row}{whole / kernel:>7.2f}\n")


def _kernel(level: int, atoms: Atoms, folder: Path) -> float:
    potential = untrained(level, 1, 2.0, 5.0, 8)
    rng = np.random.default_rng(0)
    small = 1e-6 * rng.normal(size=potential.parameter_count)
    write_potential(folder / "pot.almtp", potential.with_parameters(small))
    calculator = MTP(folder / "pot.almtp", ["Cu"])
    calculator.calculate(atoms)
    near = calculator.list.near
    began = time.perf_counter()
    for _ in range(STEPS // 4):
        calculator.engine.evaluate(near)
    return (time.perf_counter() - began) / (STEPS // 4)


def _lammps(atoms: Atoms, folder: Path) -> float:
    write(folder / "data", atoms, format="lammps-data", masses=True, atom_style="atomic")
    script = folder / "in"
    script.write_text(
        f"units metal\natom_style atomic\nread_data {folder}/data\nmass 1 63.546\n"
        f"pair_style mtp\npair_coeff * * {folder}/pot.almtp 0\n"
        "velocity all create 300 1\nfix 1 all nve\nthermo 100000\nrun 10\n"
        f"run {STEPS}\n"
    )
    run(script, ["-log", str(folder / "log"), "-screen", "none"])
    return float(re.findall(r"Loop time of (\S+)", (folder / "log").read_text())[-1]) / STEPS


if __name__ == "__main__":
    main()
