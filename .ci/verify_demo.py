"""Hold the demo's claims against an independent computation: `verify_demo.py demo`.

Plain ASE and tblite, none of the toolkit's own MD, labels or statistics: the potential must run
10 ps at 300 K, and its force MAE on fresh reference frames must be what the report states.
"""

import json
import sys
from pathlib import Path

import numpy as np
import yaml
from ase import units
from ase.io import read
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from tblite.ase import TBLite

from mtp.calculator import MTP


def main(folder: Path) -> None:
    """Print each claim with the value found; exit 1 at the first that does not hold."""
    task = yaml.safe_load((folder / "task.yaml").read_text())
    state = yaml.safe_load(sorted(folder.glob("iterations/*/state.yaml"))[-1].read_text())
    verdict = state["verdict"]
    claim("verdict", verdict["outcome"], verdict["outcome"] == "converged")
    items = [
        (path.parent.name, json.loads(line).get("item"))
        for path in folder.glob("iterations/*/ledger.jsonl")
        for line in path.read_text().splitlines()[:-1]
    ]
    claim("ledger items", len(items), len(items) == len(set(items)))
    target = next(s["name"] for s in task["subsystems"] if s["role"] == "target")
    index = yaml.safe_load((folder / "structures/index.yaml").read_text())
    held = next(e for e in index if e["subsystem"] == target and e["held_out"])
    stated = [
        s["fresh_force_mae"]
        for e in state["evaluations"]
        if e["model"] == verdict["model"]
        for s in e["structures"]
        if s["structure"] == held["id"]
    ][-1]
    frames, coldest, hottest = simulate(folder, held["file"], task["species"])
    claim("10 ps at 300 K, K", f"{coldest:.0f} to {hottest:.0f}", hottest < 600)
    recomputed = force_mae(frames)
    claim(
        f"fresh force MAE {stated:.4f} eV/Å stated, found",
        f"{recomputed:.4f}",
        recomputed < 1.3 * stated,
    )


def claim(what: str, value: object, holds: bool) -> None:
    """Say it, and stop if it is not so."""
    sys.stdout.write(f"{what}: {value} {'ok' if holds else 'DOES NOT HOLD'}\n")
    if not holds:
        sys.exit(1)


def simulate(folder: Path, file: str, species: list[str]) -> tuple[list, float, float]:
    """10 ps of NVT at 300 K with another seed than any in the campaign; ten late snapshots."""
    atoms = read(folder / "structures" / file)
    atoms.calc = MTP(folder / "result/potential.almtp", species=species)
    generator = np.random.default_rng(20261123)
    thermalize_momenta(atoms, temperature_K=300, rng=generator)
    dynamics = Bussi(atoms, 1 * units.fs, 300, taut=100 * units.fs, rng=generator)
    frames, kelvins = [], []
    for block in range(20):
        dynamics.run(500)
        kelvins.append(atoms.get_temperature())
        if block >= 10:
            frame = atoms.copy()
            frame.arrays["model_forces"] = atoms.get_forces()
            frames.append(frame)
    return frames, min(kelvins), max(kelvins)


def force_mae(frames: list) -> float:
    """Mean absolute error of force components against fresh GFN1-xTB calls, eV/Å."""
    errors = []
    for frame in frames:
        model = frame.arrays["model_forces"]
        frame.calc = TBLite(method="GFN1-xTB", verbosity=0)
        errors.append(np.abs(model - frame.get_forces()).mean())
    return float(np.mean(errors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
