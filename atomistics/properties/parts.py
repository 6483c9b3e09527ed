"""What holds the parts of a structure together: molecules on a face, layers on each other."""

import numpy as np
from ase import Atoms

from atomistics.analysis.layers import layers_of
from atomistics.bonded import whole
from atomistics.properties.defects import J_PER_M2, VACUUM
from atomistics.properties.liquid import in_box
from atomistics.properties.measuring import (
    Capped,
    Measurement,
    PropertyError,
    PropertyValue,
    at_rest,
    on,
)
from atomistics.structures import heights

STEPS = 150  # of a relaxation
REST = 0.005  # eV/Å: parts that hardly hold each other pull at no more than a few hundredths
FAR = 6.0  # Å: layers farther apart do not touch; a face bare for as long is not covered
DEEP = 3.0  # Å that layers may reach into each other


def adsorption(built: Atoms, calculator: Capped) -> Measurement:
    """Energy of adsorption, (E(all) - E(face) - sum E(molecules)) / n: below 0 is bound.

    As built, and each of the three relaxed from there at fixed cell: the minimum nearest to how it
    was built, by each calculator its own. Molecules alone are in a box, neutral.

    Parameters
    ----------
    built : Å, periodic; `adsorbate` (N,) numbers the molecules, -1 is the solid
    calculator : asked at every step of the relaxations

    Returns
    -------
    eV a molecule

    Raises
    ------
    PropertyError
        No molecule is marked, or it is in pieces.
    LabelFailedError
        A call fails.
    """
    number = built.arrays.get("adsorbate")
    if number is None:
        raise PropertyError(
            "no atom is marked as adsorbed: its file needs the column molecule and adsorbed=COUNT, "
            "as family solid-molecule writes them"
        )
    molecules = [built[number == n] for n in np.unique(number[number >= 0])]
    examples: dict[str, np.ndarray] = {}
    for molecule in molecules:
        if molecule.get_chemical_formula() not in examples:
            alone = in_box(_in_one_piece(molecule))
            examples[molecule.get_chemical_formula()] = _energies(alone, calculator)
    alone = sum(examples[molecule.get_chemical_formula()] for molecule in molecules)
    face = built[number < 0]
    bound = _energies(built, calculator) - _energies(face, calculator) - alone
    how = f"{len(molecules)} {', '.join(examples)} on {len(face)} atoms, below 0 is bound"
    return _both("adsorption", bound / len(molecules), how)


def _in_one_piece(molecule: Atoms) -> Atoms:
    if len(molecule) == 1:
        return molecule
    gathered = whole(molecule)
    if np.any(gathered.arrays["molecule"] != 0):
        raise PropertyError("what is marked as one adsorbed molecule is in pieces")
    return gathered


def adhesion(built: Atoms, calculator: Capped) -> Measurement:
    """Work of separation, (sum E(layers alone) - E(all)) / area of all interfaces.

    Finnis, J. Phys.: Condens. Matter 8, 5811 (1996). As built, and all relaxed from there at fixed
    cell; layers alone have 12 Å of vacuum. The mean over the interfaces where there are several.
    It is g(A) + g(B) - g(AB) of surface and interface energies at the strain of the common cell.

    Parameters
    ----------
    built : Å, periodic; `layer` (N,) and `info["layers"]` say which layer an atom is of
    calculator : asked at every step of the relaxations

    Returns
    -------
    J/m2

    Raises
    ------
    PropertyError
        The structure has no layers that touch, or one covers only part of the face.
    LabelFailedError
        A call fails.
    """
    pieces, gaps = separated(built)
    interfaces = int(np.sum(gaps < FAR))
    if not interfaces:
        raise PropertyError(f"layers: none is nearer than {FAR:g} Å to the next")
    area = float(np.linalg.norm(np.cross(built.cell[0], built.cell[1]))) * interfaces
    apart = sum(_energies(piece, calculator) for piece in pieces)
    work = (apart - _energies(built, calculator)) / area * J_PER_M2
    how = f"{interfaces} interfaces of {len(pieces)} layers, {len(built)} atoms"
    return _both("work_of_separation", work, how)


def separated(built: Atoms) -> tuple[list[Atoms], np.ndarray]:
    """Each layer alone under vacuum, and how far it is below the next one.

    Parameters
    ----------
    built : Å, periodic, with `layer` and `info["layers"]`

    Returns
    -------
    layers from the bottom up, a and b as they are, 12 Å of vacuum along their normal; (L,) Å from
    the highest atom of each to the lowest of the next, the last to the first

    Raises
    ------
    PropertyError
        There are no two layers, or one does not cover the face.
    """
    layers = layers_of(built)
    if len(layers) < 2 or sum(len(layer.atoms) for layer in layers) < len(built):
        raise PropertyError("the structure has no layers: its file needs column layer and layers=")
    if not built.pbc.all():
        raise PropertyError("the structure is not periodic in x, y and z: no stack of layers")
    fraction, across = built.get_scaled_positions(), heights(built)
    pieces, bounds = [], []
    for layer in layers:
        own = fraction[layer.atoms]
        if any(_widest(own[:, axis])[1] * across[axis] > FAR for axis in (0, 1)):
            raise PropertyError(f"layer {layer.name}: covers only part of the face")
        start = _widest(own[:, 2])[0]
        own[:, 2] = (own[:, 2] - start) % 1.0
        bounds.append((start * across[2], (start + own[:, 2].max()) * across[2]))
        piece = Atoms(built.numbers[layer.atoms], own @ built.cell.array, cell=built.cell, pbc=True)
        normal = np.cross(built.cell[0], built.cell[1])
        thickness = float(own[:, 2].max() * across[2])
        piece.cell[2] = normal / np.linalg.norm(normal) * (thickness + VACUUM)
        pieces.append(piece)
    low, high = np.array(bounds).T
    gaps = (np.roll(low, -1) - high + DEEP) % across[2] - DEEP
    return pieces, gaps


def _widest(fraction: np.ndarray) -> tuple[float, float]:
    """Where the atoms begin behind their widest gap along one axis, and its width."""
    ordered = np.sort(fraction % 1.0)
    gaps = np.diff([*ordered, ordered[0] + 1.0])
    number = int(np.argmax(gaps))
    return float(ordered[(number + 1) % len(ordered)]), float(gaps[number])


def _energies(atoms: Atoms, calculator: Capped) -> np.ndarray:
    """(2,) eV as it stands, and at rest: NaN where it does not come there."""
    moving = on(atoms, calculator)
    before = float(moving.get_potential_energy())
    if len(moving) == 1:
        return np.array([before, before])
    moving.rattle(0.01, seed=1)  # a symmetric start may be a saddle
    try:
        at_rest(moving, steps=STEPS, rest=REST)
    except PropertyError:
        return np.array([before, np.nan])
    return np.array([before, min(before, float(moving.get_potential_energy()))])


def _both(name: str, values: np.ndarray, how: str) -> Measurement:
    """As built, and at rest where all parts came there."""
    unrelaxed, relaxed = (float(value) for value in values)
    measured = [PropertyValue(f"{name}_unrelaxed", unrelaxed)]
    if np.isnan(relaxed):
        return Measurement(measured, f"{how}; not at rest after {STEPS} steps, as built only")
    return Measurement([PropertyValue(name, relaxed), *measured], f"{how}, fixed cell")


def parted(built: Atoms, distance: float) -> Atoms:
    """A copy whose parts are farther apart than they were built.

    Parameters
    ----------
    built : Å, with `adsorbate` or `layer`
    distance : Å, of every molecule or layer from what is below it; below 0: nearer

    Returns
    -------
    N atoms, Å

    Raises
    ------
    PropertyError
        It has no parts.
    """
    copy = Atoms(built.numbers, built.positions, cell=built.cell, pbc=built.pbc)
    up = np.cross(built.cell[0], built.cell[1])
    up = up / np.linalg.norm(up) * np.sign(up @ built.cell.array[2])
    if "adsorbate" in built.arrays:
        copy.positions[built.arrays["adsorbate"] >= 0] += distance * up
        return copy
    gaps = separated(built)[1]
    lifted = np.concatenate([[0.0], np.cumsum(distance * (gaps < FAR))])
    start = _widest(built.get_scaled_positions()[layers_of(built)[0].atoms][:, 2])[0]
    fraction = built.get_scaled_positions()
    fraction[:, 2] = (fraction[:, 2] - start) % 1.0
    copy.positions = fraction @ built.cell.array
    for number, layer in enumerate(layers_of(built)):
        copy.positions[layer.atoms] += lifted[number] * up
    copy.cell[2] += lifted[-1] * up
    return copy
