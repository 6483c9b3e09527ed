"""Makes structures/ of this example: python config/examples/dry_ice_nitrogen/build_structures.py.

Solid carbon dioxide (Pa-3, dry ice) against fluid nitrogen at 300 K and 1 GPa, molecule by molecule
on the lattice both solids share; nitrogen is turned at random and melts in a few hundred fs of MD.

Molecules, because tblite has the Gamma point alone: in diamond or a salt the energy per atom then
depends on the cell (0.17 eV from 32 to 48 atoms of diamond), which no potential can learn; here
the energy per atom is the same in every cell to 0.1 meV (README of the examples).
Lattice: a = 5.32 Å of dry ice and 29 Å^3 per nitrogen are GFN1-xTB's at that state.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, io

from atomistics.structures import Structure, write_index

MOLECULES = {"CO2": ("COO", (0.0, 1.141, -1.141)), "N2": ("NN", (0.549, -0.549))}  # bonds in Å
# centres in (001) layers of the face-centred lattice, with the axes of Pa-3, even and odd layers
SITES = (
    (((0.0, 0.0), (1, 1, 1)), ((0.5, 0.5), (1, -1, -1))),
    (((0.5, 0.0), (-1, -1, 1)), ((0.0, 0.5), (-1, 1, -1))),
)
GAP = 0.15  # Å more where the two meet


@dataclass(frozen=True)
class Recipe:
    """Layers of each molecule (two are one lattice constant) in a cell of sqrt 2 a x sqrt 2 a."""

    id: str
    subsystem: str
    family: str
    carbon_dioxide: int
    nitrogen: int
    a: float  # Å, in the plane
    volume: float  # Å^3 per nitrogen molecule
    description: str
    held_out: bool = False
    exchanged: bool = False


RECIPES = (
    Recipe("dry-ice", "dry_ice", "solid", 2, 0, 5.32, 0, "Pa-3 at the density of 300 K, 1 GPa"),
    Recipe("dry-ice-dense", "dry_ice", "solid", 2, 0, 5.20, 0, "Pa-3 at about 2 GPa"),
    Recipe("dry-ice-wide", "dry_ice", "solid", 2, 0, 5.40, 0, "Pa-3 at about 0.5 GPa", True),
    Recipe("nitrogen", "nitrogen", "molecule", 0, 4, 4.88, 29.0, "density of 300 K, 1 GPa"),
    Recipe("nitrogen-thin", "nitrogen", "molecule", 0, 4, 5.12, 33.5, "a seventh thinner"),
    Recipe("nitrogen-fluid", "nitrogen", "molecule", 0, 4, 4.96, 30.5, "in between", True),
    Recipe("thin-thin", "interface", "solid-molecule", 2, 2, 5.32, 29.0, "8 CO2 and 8 N2"),
    Recipe("thick-thin", "interface", "solid-molecule", 4, 2, 5.28, 28.5, "16 CO2 and 8 N2"),
    Recipe("mixed", "interface", "solid-molecule", 2, 2, 5.38, 30.5, "one pair exchanged",
           exchanged=True),
    Recipe("thin-thick", "interface", "solid-molecule", 2, 4, 5.35, 30.0, "8 CO2 and 16 N2", True),
)  # fmt: skip


def build(recipe: Recipe, seed: int) -> Atoms:
    """The structure, layers stacked along z (Å), rounded so that every machine writes the same."""
    rng = np.random.default_rng(seed)
    kinds = ["CO2"] * recipe.carbon_dioxide + ["N2"] * recipe.nitrogen
    heights = {"CO2": recipe.a / 2, "N2": 2 * recipe.volume / recipe.a**2}  # 4 in 2 a^2
    molecules, z = [], 0.0
    for layer, kind in enumerate(kinds):
        for x, axis in SITES[layer % 2]:
            for shift in (0, 1):
                centre = np.array([(x[0] + shift) * recipe.a, x[1] * recipe.a, z])
                turned = rng.normal(size=3) if kind == "N2" else np.array(axis, float)
                molecules.append((kind, centre, turned / np.linalg.norm(turned)))
        above = kinds[(layer + 1) % len(kinds)]
        z += (heights[kind] + heights[above]) / 2 + GAP * (kind != above)
    if recipe.exchanged:
        first = kinds.index("N2") * 4
        (one, *here), (other, *there) = molecules[first - 1], molecules[first]
        molecules[first - 1], molecules[first] = (other, *here), (one, *there)
    symbols = "".join(MOLECULES[kind][0] for kind, _, _ in molecules)
    positions = [c + along * u for kind, c, u in molecules for along in MOLECULES[kind][1]]
    cell = [[recipe.a, recipe.a, 0], [-recipe.a, recipe.a, 0], [0, 0, z]]
    return Atoms(symbols, np.round(positions, 6), cell=np.round(cell, 6), pbc=True)


def main(folder: Path = Path(__file__).parent / "structures") -> None:
    """Write every structure and the index."""
    folder.mkdir(exist_ok=True)
    entries = []
    for seed, recipe in enumerate(RECIPES):
        io.write(folder / f"{recipe.id}.extxyz", build(recipe, seed), format="extxyz")
        keys = ("id", "subsystem", "family", "held_out", "description")
        entry = {key: getattr(recipe, key) for key in keys}
        entries.append(Structure(file=f"{recipe.id}.extxyz", **entry))
    write_index(folder, entries)


if __name__ == "__main__":
    main()
