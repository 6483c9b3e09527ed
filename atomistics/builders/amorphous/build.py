"""Disordered inorganic solids: packed, and melt-quenched by MD where asked."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from atomistics.builders.amorphous import stillinger_weber
from atomistics.builders.amorphous.parameters import Amorphous
from atomistics.builders.amorphous.pedone import TABLE, Pedone, covers
from atomistics.builders.amorphous.stillinger_weber import StillingerWeber
from atomistics.builders.molecule import build as molecule
from atomistics.errors import UserError
from atomistics.md import stages
from atomistics.md.protocol import MeltQuench, StagedProtocol


def build(
    parameters: Amorphous, rng: np.random.Generator, folder: Path, calculator: Calculator | None
) -> Atoms:
    """Ions or atoms packed at the density; then, where asked, melted and quenched.

    A quench breaks and makes bonds: atoms then belong to no molecule. It is driven by `calculator`,
    or
    by a published potential for oxides (no label comes from that).

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
    if quench is not None and quench.potential != "reference":
        calculator = Pedone() if quench.potential == "pedone" else StillingerWeber()
    if quench is not None and calculator is None:
        raise UserError("melt_quench: needs a reference method; name one, or leave it out")
    atoms = molecule.build(parameters, rng, folder)
    if quench is None:
        return atoms
    if quench.potential == "pedone" and not covers(atoms):
        raise UserError(
            f"melt_quench.potential: pedone covers oxides of {', '.join(TABLE)} with balanced"
            " charges; take reference"
        )
    if quench.potential == "stillinger-weber" and not stillinger_weber.covers(atoms):
        raise UserError(
            "melt_quench.potential: stillinger-weber covers silicon or germanium; take reference"
        )
    stage = MeltQuench.model_validate(quench.model_dump(exclude={"timestep", "potential"}))
    protocol = StagedProtocol(timestep=quench.timestep, stages=[stage])
    info = dict(atoms.info)
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
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
