"""What solid layers of a stack answer for themselves when two potentials give two pressures."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from atomistics.analysis.layers import PhaseLayer, heights_in
from atomistics.analysis.observables import mobile_atoms

SOLID = 0.25  # share of a layer's atoms that left their places, below which it keeps its shape


def inner_virial(atoms: Atoms, forces: np.ndarray, layers: Sequence[PhaseLayer]) -> float:
    """What forces inside layers add to the virial along the height: sum of (z - Z) F_z.

    Z is the layer's centre of mass. Taken from the virial this leaves what rigid layers and the
    liquid between them feel (Allen and Tildesley, 2nd ed., section 2.4, for molecules). A bond
    that one potential holds 0.3 % shorter than the other gives GPa on frames of the other, and is
    made up for by 0.3 % of the bond, not by the volume of the liquid.

    Parameters
    ----------
    atoms : N atoms, Å; c of the cell, along z, is the height
    forces : (N, 3) eV/Å
    layers : that keep their shape

    Returns
    -------
    eV
    """
    masses, total = atoms.get_masses(), 0.0
    for layer in layers:
        arms = heights_in(atoms, layer)
        arms -= np.average(arms, weights=masses[layer.atoms])
        total += float(arms @ forces[layer.atoms, 2])
    return total


def solid_layers(frames: Sequence[Atoms], layers: Sequence[PhaseLayer]) -> list[PhaseLayer]:
    """The layers that keep their shape beside one that flows; none where all do or none does.

    Parameters
    ----------
    frames : N atoms each, Å, not wrapped back into their cells
    layers : of a stack

    Returns
    -------
    in their order
    """
    solid = [layer for layer in layers if mobile_atoms(frames, layer.atoms).mean() < SOLID]
    return solid if len(solid) < len(layers) else []
