"""Interfaces of liquids: layers packed one by one, stacked up in a periodic cell."""

from pathlib import Path

import numpy as np
from ase import Atoms

from atomistics.builders.layers import stacked
from atomistics.builders.liquid_liquid.parameters import LiquidLiquid
from atomistics.builders.mixtures.films import film_on


def build(parameters: LiquidLiquid, rng: np.random.Generator, folder: Path) -> Atoms:
    """Two mixtures over a square cross-section; each one's thickness follows from mass and density.

    Parameters
    ----------
    parameters : width and gap (Å), phases with density (g/cm3)
    rng : places
    folder : of the task, whose files the parameters may name

    Returns
    -------
    N atoms, Å, periodic

    Raises
    ------
    UserError
        The parameters cannot be met.
    """
    width = parameters.width_angstrom
    base = Atoms(cell=[width, width, 1], pbc=(True, True, False))
    layers = [film_on(base, phase, rng, folder) for phase in parameters.phases]
    atoms = stacked(layers, parameters.gap_angstrom, 0.0)
    for key in ("components", "molarity_mol_l"):
        notes = [str(layer.info[key]) for layer in layers if key in layer.info]
        atoms.info |= {key: " | ".join(notes)} if notes else {}
    return atoms
