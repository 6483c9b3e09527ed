"""How the four layers keep together: `python -m benchmarks.sei.stack FOLDER [--model m042]`.

NPT at the temperature of use from the held-out cell, by the reference of a campaign or by one of
its models, as the campaign itself would run it (`--barostat height`) or with all axes free. A
line a picosecond: density (g/cm3) and the lengths of the cell (Å).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import thermalize_momenta

from atomistics import dataset
from atomistics.analysis.observables import density
from atomistics.md.integrators import integrator
from atomistics.md.plain_protocol import Protocol
from atomistics.reference.methods import reference_calculator
from benchmarks.sei.mobility import CELL
from campaign.folder import Campaign
from mtp.calculator import MTP


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a campaign of benchmarks.sei")
    parser.add_argument("--model", help="of the campaign; without it the reference itself")
    parser.add_argument("--picoseconds", type=int, default=10)
    parser.add_argument("--barostat", choices=("height", "axes"), default="height")
    given = parser.parse_args()
    campaign = Campaign.at(given.folder)
    runs = sorted(given.folder.glob(f"iterations/*/reference_calc/runs/{CELL}.h5"))
    start = dataset.read(runs[-1])[-1]
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc)
    if given.model:
        path = given.folder / f"iterations/{int(given.model[1:]):03d}/train/model.almtp"
        atoms.calc = MTP(path, species=list(campaign.task.species))
    else:
        atoms.calc = reference_calculator(campaign.config.reference, given.folder)
    kelvin, timestep = campaign.task.temperature, campaign.config.md.timestep
    thermalize_momenta(atoms, temperature_K=kelvin, rng=np.random.default_rng(3))
    protocol = Protocol("npt", kelvin, 1, timestep, barostat=given.barostat, seed=4)
    dynamics, step = integrator(atoms, protocol), max(1, round(100 / timestep))
    for picosecond in range(1, given.picoseconds + 1):
        course = []
        for _ in range(10):
            dynamics.run(step)
            course.append([density(atoms), *atoms.cell.lengths()])
        mean = "  ".join(f"{value:.3f}" for value in np.mean(course, axis=0))
        sys.stdout.write(f"{picosecond} ps  {mean}  {atoms.get_temperature():.0f} K\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
