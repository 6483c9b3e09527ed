"""What the paper's Table 4 and Appendix B compare, on the held-out four-layer cell.

Plain ASE integrators at constant pressure, from the last frame of the campaign's own reference run
and with velocities of a seed of their own; the reference's run is made once a seed and shared.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import Trajectory
from ase.md.velocitydistribution import thermalize_momenta

from atomistics import dataset
from atomistics.analysis.layers import PhaseLayer, layer_rdf, layers_of
from atomistics.analysis.observables import block_average, density, diffusion, msd
from atomistics.reference.methods import reference_calculator
from atomistics.structure_index import read_index
from atomistics.structures import load
from benchmarks.systems.proof import stacked
from campaign.folder import Campaign
from mtp.calculator import MTP

CELL = "full-held-out"
INTERVAL = 20.0  # fs between kept frames
ELEMENTS = ("Li", "O", "C", "P")
POINTS = 40  # of a curve that is kept
REACH = 6.0  # Å, of RDFs
HOT = 3.0  # times the temperature asked for; a run above it has come apart


def compared(work: Path, folder: Path, picoseconds: float) -> dict:
    """Density (g/cm3), diffusion (cm2/s), force and energy errors, and how long the run held."""
    campaign = Campaign.at(folder)
    path = work / "reference.traj"
    oracle = reference_calculator(campaign.config.reference, folder)
    if not path.is_file():  # from one start for every row of this seed
        source = Campaign.at(work / "full")
        start = sorted(source.folder.glob(f"iterations/*/reference_calc/runs/{CELL}.h5"))[-1]
        thermal = settled(dataset.read(start)[-1], campaign.task.temperature)
        with Trajectory(work / "reference.part", "w") as file:
            file.write(thermal)
        (work / "reference.part").rename(path)
    simulate(path, oracle, campaign, picoseconds)
    model = MTP(folder / "result/potential.almtp", species=list(campaign.task.species))
    own = folder / "comparison.traj"
    if not own.is_file():
        with Trajectory(own, "w") as file:
            file.write(Trajectory(path)[0])
    held = simulate(own, model, campaign, picoseconds)
    true = list(Trajectory(path))
    index = read_index(campaign.folder / "structures")
    layers = layers_of(next(load(one) for one in index if one.id == CELL))
    return {
        "picoseconds": picoseconds,
        "held_ps": held,
        **errors(true[:: max(1, len(true) // 20)], model),
        "model_observed": observed(list(Trajectory(own)), layers),
        "reference_observed": observed(true, layers),
    }


def settled(atoms: Atoms, kelvin: float) -> Atoms:
    """The frame with new velocities."""
    start = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    thermalize_momenta(start, temperature_K=kelvin, rng=np.random.default_rng(20261128))
    return start


def simulate(path: Path, calculator: Calculator, campaign: Campaign, picoseconds: float) -> float:
    """Carry a trajectory on to its length; picoseconds that it held.

    It goes on from its last frame with a fresh barostat, where it was interrupted.
    """
    kelvin, step = campaign.task.temperature, campaign.config.md.timestep
    every = round(INTERVAL / step)
    atoms = Trajectory(path)[-1]
    kept = len(Trajectory(path)) - 1
    atoms.calc = calculator
    dynamics = stacked(atoms, step * units.fs, kelvin, campaign.config.md.pressure)
    with Trajectory(path, "a") as file:
        while kept < picoseconds * 1000 / INTERVAL:
            dynamics.run(every)
            temperature = atoms.get_temperature()
            if not np.isfinite(temperature) or temperature > HOT * kelvin:
                break
            file.write(atoms)
            kept += 1
    return round(kept * INTERVAL / 1000, 2)


def errors(frames: list[Atoms], model: MTP) -> dict:
    """Errors on frames of the reference's run, which no campaign has seen."""
    force, energy = [], []
    for frame in frames:
        if not isinstance(frame.calc, SinglePointCalculator):
            continue
        copy = frame.copy()
        copy.calc = model
        force.append(np.abs(copy.get_forces() - frame.get_forces()).mean())
        energy.append((copy.get_potential_energy() - frame.get_potential_energy()) / len(frame))
    return {
        "force_mae": round(float(np.mean(force)), 5),
        "energy_mae": round(float(np.abs(energy).mean()), 6),
    }


def observed(frames: list[Atoms], layers: list[PhaseLayer]) -> dict:
    """Density of the second half and diffusion, each with its standard error; curves.

    Returns
    -------
    density g/cm3 and its course; diffusion cm2/s; MSD in Å^2 at `lags` of kept frames; RDF of all
    pairs within each layer at `r`, Å, of the second half
    """
    half = frames[len(frames) // 2 :]
    course = np.array([density(atoms) for atoms in frames])
    moved, squares, lags = {}, {}, []
    if len(half) >= 20:
        lags = list(range(0, len(half), -(-len(half) // POINTS)))
        for element in ELEMENTS:
            estimate = diffusion(frames, element, INTERVAL)
            moved[element] = [float(f"{number:.3g}") for number in estimate]
            squares[element] = msd(frames, element)[lags].round(4).tolist()
    few = half[:: max(1, len(half) // POINTS)]
    return {
        "density": [round(float(x), 5) for x in block_average(course[len(frames) // 2 :])],
        "diffusion": moved,
        "course": course[:: max(1, len(course) // 100)].round(4).tolist(),
        "lags": lags,
        "msd": squares,
        **by_layer(few, layers),
    }


def by_layer(frames: list[Atoms], layers: list[PhaseLayer]) -> dict:
    """RDFs of all pairs of the atoms of each layer, pairs weighted by their number."""
    r, curves = [], {}
    for layer in layers:
        radial = layer_rdf(frames, layer, REACH)
        symbols = frames[0][layer.atoms].get_chemical_symbols()
        count = {element: symbols.count(element) for element in set(symbols)}
        pairs = {name: name.split("-") for name in radial.g}
        weights = {
            name: count[one] * count[other] * (1 if one == other else 2)
            for name, (one, other) in pairs.items()
        }
        total = sum(weights[name] * g for name, g in radial.g.items()) / sum(weights.values())
        r, curves[layer.name] = radial.r.round(3).tolist(), total.round(3).tolist()
    return {"r": r, "rdf": curves}
