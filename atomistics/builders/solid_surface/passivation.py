"""Broken bonds of a slab ended: by hydrogen on covalent crystals, by split water on ionic ones.

Where a bond led from an atom of a face to one that the cut took away, a covalent crystal gets a
hydrogen along that bond (the dihydride of Si(001), the monohydride of Si(111)); of an ionic one
every anion of the face gets a hydrogen, and OH stands on the places of anions that its cations have
lost, as many as there are hydrogens: dissociated water, so that the charges balance.
"""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import find_mic

from atomistics.bonded import BOND, NONMETALS
from atomistics.builders.solid_surface.compensation import (
    SAME,
    dipole_density,
    far_apart,
    formal_charges,
    stacking,
)
from atomistics.errors import UserError
from atomistics.neighbours import pairs

GERMANIUM = 32
HYDROGENS, TURNS = 1.6, 60  # Å, two hydrogens of a face; steps that bring them apart
BINDING = (*NONMETALS, GERMANIUM)  # of two others bonds are metallic


def passivated(slab: Atoms, rng: np.random.Generator) -> Atoms:
    """The slab with its broken bonds ended.

    Parameters
    ----------
    slab : z from 0 to its cell's height (Å), repeated in the plane, nothing substituted
    rng : draws which sites stay bare where hydrogens and hydroxyls would differ in number

    Returns
    -------
    Atoms with z from 0, `info["passivated"]` saying what was added

    Raises
    ------
    UserError
        Nothing is broken that can be ended so (metals, sheets), or the slab is too thin to show how
        the crystal goes on.
    """
    step = stacking(slab)
    if step is None:
        raise UserError("passivated: the slab is too thin to show what was cut; make it thicker")
    inside, lost = _broken(slab, step)
    if not len(inside):
        raise UserError("passivated: no bond is cut that hydrogen could end (metals, sheets)")
    charge = formal_charges(slab)
    if charge.any():
        added = _split_water(slab, inside, lost, charge, rng)
    else:
        length = covalent_radii[slab.numbers[inside]] + covalent_radii[1]
        added = Atoms("H" * len(inside), slab.positions[inside] + length[:, None] * _unit(lost))
    made = slab.copy()
    made += added
    made.positions[:, 2] -= made.positions[:, 2].min()
    made.cell[2, 2] = float(np.ptp(made.positions[:, 2]))
    made.wrap(eps=1e-6)
    made.info |= {"passivated": f"{added.symbols.formula:hill}"}
    made.info["thickness_angstrom"] = round(float(made.cell[2, 2]), 4)
    return made


def _broken(slab: Atoms, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (B,) with a cut bond, and the bonds (B, 3) Å to what was cut away."""
    around = slab.copy()
    for sign in (-1, 1):
        further = slab.copy()
        further.positions += sign * step
        around += further
    near = pairs(around, SAME)
    doubled = near.j[(near.i < len(slab)) & (near.j >= len(slab))]
    around = around[np.setdiff1d(np.arange(len(around)), doubled)]
    radii = BOND * covalent_radii[around.numbers]
    near = pairs(around, 2 * radii.max())
    binding = np.isin(around.numbers, BINDING)
    bound = near.distance < radii[near.i] + radii[near.j]
    bound &= binding[near.i] | binding[near.j]
    charge = np.concatenate([formal_charges(slab), np.zeros(len(around) - len(slab))])
    symbols = np.array(around.symbols)
    of_symbol = dict(zip(symbols[: len(slab)], charge[: len(slab)], strict=True))
    sign = np.array([np.sign(of_symbol[symbol]) for symbol in symbols])
    bound &= (sign[near.i] * sign[near.j] < 0) | (sign[near.i] == 0)
    cut = near.at(bound & (near.i < len(slab)) & (near.j >= len(slab)))
    apart = around.positions[cut.j] - around.positions[cut.i]
    plane = slab.cell.array[:2, :2]
    turns = np.round(apart[:, :2] @ np.linalg.inv(plane))
    apart[:, :2] -= turns @ plane
    return cut.i, apart


def _split_water(
    slab: Atoms,
    inside: np.ndarray,
    lost: np.ndarray,
    charge: np.ndarray,
    rng: np.random.Generator,
) -> Atoms:
    """Hydrogens on anions and hydroxyls in place of lost anions, as many of one as of the other:
    all, or as many as leave the least dipole (half of those of wurtzite's polar faces)."""
    length = covalent_radii[atomic_numbers["O"]] + covalent_radii[1]
    anions = np.unique(inside[charge[inside] < 0])
    ways = np.array([lost[inside == n].sum(axis=0) for n in anions]).reshape(-1, 3)
    reach = covalent_radii[slab.numbers[anions]] + covalent_radii[1]
    hydrogens = Atoms(
        "H" * len(anions),
        slab.positions[anions] + reach[:, None] * _unit(ways),
        cell=slab.cell,
        pbc=slab.pbc,
    )
    places = slab.positions[inside] + lost
    hydroxyls = Atoms(cell=slab.cell, pbc=slab.pbc)
    for place in places[charge[inside] > 0]:
        one = Atoms("O", [place], cell=slab.cell, pbc=slab.pbc)
        one.wrap(eps=1e-6)
        both = hydroxyls + one
        if not len(hydroxyls) or both.get_distances(-1, range(len(hydroxyls)), mic=True).min() > 1:
            hydroxyls = both
    number = min(len(hydrogens), len(hydroxyls))
    if not number:
        raise UserError("passivated: this face has no cations, or no anions, to end with water")
    donors, places_taken = (far_apart(one, number, rng) for one in (hydrogens, hydroxyls))
    above = hydroxyls.positions[:, 2] > slab.cell[2, 2] / 2
    caps = Atoms("H" * len(hydroxyls), hydroxyls.positions, cell=slab.cell, pbc=slab.pbc)
    caps.positions[:, 2] += np.where(above, length, -length)
    choices = [
        hydrogens[donors[:n]] + hydroxyls[places_taken[:n]] + caps[places_taken[:n]]
        for n in range(number, 0, -1)
    ]
    chosen = min(choices, key=lambda added: round(abs(dipole_density(slab + added)), 3))
    n = len(chosen) // 3
    bearing = [slab.positions[anions[donors[:n]]], hydroxyls.positions[places_taken[:n]]]
    return _turned_apart(chosen, np.concatenate(bearing))


def _turned_apart(added: Atoms, bearing: np.ndarray) -> Atoms:
    """Hydrogens that meet turned away from each other about the atoms (H, 3) Å that bear them."""
    hydrogen = np.flatnonzero(added.numbers == 1)
    for _ in range(TURNS):
        bonds = added.positions[hydrogen] - bearing
        near = pairs(added[hydrogen], HYDROGENS)
        if not len(near.i):
            break
        push = np.zeros_like(bonds)
        apart, length = find_mic(
            added.positions[hydrogen][near.i] - added.positions[hydrogen][near.j], added.cell
        )
        np.add.at(push, near.i, (HYDROGENS - length)[:, None] * apart / length[:, None])
        turned = bonds + push / 2
        turned *= (np.linalg.norm(bonds, axis=1) / np.linalg.norm(turned, axis=1))[:, None]
        added.positions[hydrogen] = bearing + turned
    return added


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
