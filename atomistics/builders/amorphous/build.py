"""Disordered inorganic solids: packed, and melt-quenched by MD where asked."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from atomistics.builders.amorphous import guillot_sator, pedone, stillinger_weber, tersoff
from atomistics.builders.amorphous.guillot_sator import GuillotSator
from atomistics.builders.amorphous.parameters import Amorphous
from atomistics.builders.amorphous.pedone import Pedone
from atomistics.builders.amorphous.stillinger_weber import StillingerWeber
from atomistics.builders.amorphous.tersoff import Tersoff
from atomistics.builders.molecule import build as molecule
from atomistics.errors import UserError
from atomistics.md import stages
from atomistics.md.protocol import MeltQuench, StagedProtocol
from atomistics.relaxation import relax

DOWNHILL = 60  # steps, before the melt
PUBLISHED = {
    "pedone": (Pedone, pedone.covers, f"oxides of {', '.join(pedone.TABLE)} with balanced charges"),
    "guillot-sator": (
        GuillotSator,
        guillot_sator.covers,
        f"oxides of {', '.join(guillot_sator.CHARGES)} with balanced charges",
    ),
    "stillinger-weber": (StillingerWeber, stillinger_weber.covers, "silicon or germanium"),
    "tersoff": (Tersoff, tersoff.covers, "C, Si and Ge, but for C with Ge"),
}


def build(
    parameters: Amorphous, rng: np.random.Generator, folder: Path, calculator: Calculator | None
) -> Atoms:
    """Ions or atoms packed at the density; then, where asked, melted and quenched.

    A quench breaks and makes bonds: atoms then belong to no molecule. It is driven by `calculator`,
    or by a published potential (no label comes from that).

    Parameters
    ----------
    parameters : components, density (g/cm3), melt and quench (K, ps)
    rng : places and velocities
    folder : of the task, whose files the parameters may name
    calculator : eV, eV/Å, eV/Å^3; None where nothing is to be quenched by the reference

    Returns
    -------
    N atoms, Å, with their cell

    Raises
    ------
    UserError
        The parameters cannot be met, a calculator is missing, or the quench stops early.
    """
    quench = parameters.melt_quench
    made, covers, what = PUBLISHED.get(quench.potential if quench else "", (None, None, ""))
    if made:
        calculator = made()
    if quench is not None and calculator is None:
        raise UserError("melt_quench: needs a reference method; name one, or leave it out")
    atoms = molecule.build(parameters, rng, folder)
    if quench is None:
        return atoms
    if covers and not covers(atoms):
        raise UserError(f"melt_quench.potential: {quench.potential} covers {what}; take reference")
    stage = MeltQuench.model_validate(quench.model_dump(exclude={"timestep", "potential"}))
    protocol = StagedProtocol(timestep=quench.timestep, stages=[stage])
    info = dict(atoms.info)
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    if made:  # packed as spheres, far from bonded: MD would begin at 20000 K
        relax(bare, calculator, DOWNHILL)
    seed = int(rng.integers(2**20))
    outcome = stages.run(bare, calculator, protocol, protocol.steps, seed)
    if outcome.stop or not outcome.frames:
        raise UserError(f"melt_quench: stopped at step {outcome.steps}: {outcome.detail}")
    last = outcome.frames[-1]
    quenched = Atoms(last.numbers, last.positions, cell=last.cell, pbc=True)
    quenched.info = info | {
        "melt_quench_steps": outcome.steps,
        "melt_quench_potential": quench.potential,
    }
    return quenched
