"""`mlp train` on Zuo's sets (J. Phys. Chem. A 124, 731, 2020) beside what was published.

    python -m benchmarks.training.published --elements Si Li --every 4 -- --level=16

Prints held-out mean absolute errors: energy (meV/atom), force component (eV/Å), stress component
(GPa), and CPU seconds. What stands behind `--` goes to `mlp train`. `--data` is a folder that holds
NAME-training.json.gz and NAME-test.json.gz as ../shared/data/mlearn does; any part of them, every
fourth frame say, may be trained on.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mtp.cli import main as mlp
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.error_report import GPA
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import write_cfg
from mtp.potential import Potential

DATA = Path(__file__).parents[3] / "shared/data/mlearn"
PUBLISHED = {"Mo": (2.83, 0.09), "Ge": (1.79, 0.05), "Si": (2.21, 0.06), "Li": (0.49, 0.01)}
KILOBAR = 0.1 / GPA  # eV/Å^3
# the source's six components to xx yy zz yz xz xy: xx yy zz xy yz zx in one group, else xy xz yz
ORDERS = {"Elastic": [0, 1, 2, 4, 5, 3]}
ORDER = [0, 1, 2, 5, 4, 3]


def configurations(path: Path) -> list[Configuration]:
    """The labelled frames of a file, their group as Feature config_type."""
    frames = []
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        structure, outputs = entry["structure"], entry["outputs"]
        cell = np.array(structure["lattice"]["matrix"])
        stress = np.array(outputs["virial_stress"])[ORDERS.get(entry["group"], ORDER)]
        frames.append(
            Configuration(
                cell=cell,
                types=np.zeros(len(structure["sites"]), int),
                positions=np.array([site["xyz"] for site in structure["sites"]]),
                energy=float(outputs["energy"]),
                forces=np.array(outputs["forces"]),
                virial=stress * KILOBAR * abs(np.linalg.det(cell)),
                features={"config_type": entry["group"].replace(" ", "_")},
            )
        )
    return frames


def held_out_errors(
    potential: Potential, frames: list[Configuration]
) -> tuple[float, float, float]:
    """Mean absolute errors: meV/atom, eV/Å, GPa."""
    pairs = list(zip(Engine(potential).evaluate(frames), frames, strict=True))
    energy = np.mean([abs(e.energy - c.energy) / len(c) for e, c in pairs])
    forces = np.concatenate([(e.forces - c.forces).ravel() for e, c in pairs])
    stress = np.mean([np.abs(e.virial - c.virial).mean() / c.volume for e, c in pairs])
    return 1000 * float(energy), float(np.abs(forces).mean()), GPA * float(stress)


def main() -> None:
    """Print one line per element."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", nargs="+", default=["Si", "Li"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    words = sys.argv[1:]
    own = words[: words.index("--")] if "--" in words else words
    given = parser.parse_args(own)
    for name in given.elements:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            training = configurations(given.data / f"{name}-training.json.gz")[:: given.every]
            write_cfg(work / "train.cfg", training)
            began = time.process_time()
            result = [f"--save_to={work / 'p.mtp'}", f"--log={work / 'log'}"]
            if mlp(["train", str(work / "train.cfg"), *result, *words[len(own) + 1 :]]):
                sys.exit(1)
            seconds = time.process_time() - began
            test = configurations(given.data / f"{name}-test.json.gz")
            potential = read_potential(work / "p.mtp")
            energy, force, stress = held_out_errors(potential, test)
            size = potential.parameter_count
        beside = "{} meV/atom, {} eV/A".format(*PUBLISHED.get(name, ("?", "?")))
        print(
            f"{name}: {len(training)} frames, {size} coefficients: {energy:.2f} meV/atom, "
            f"{force:.4f} eV/A, {stress:.3f} GPa (published {beside}), {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
