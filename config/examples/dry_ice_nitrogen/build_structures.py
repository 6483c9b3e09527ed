"""Makes structures/ of this example: python config/examples/dry_ice_nitrogen/build_structures.py.

Solid carbon dioxide (phase I, Pa-3) against fluid nitrogen at 300 K and 1.5 GPa, molecule by
molecule on one face-centred lattice; nitrogen is turned at random and flows within a picosecond.

Molecules, because tblite has the Gamma point alone. In a covalent or ionic crystal its energy per
atom then depends on the cell (diamond: 0.17 eV from 32 to 48 atoms), which no local potential can
learn; here it does not, to 0.1 meV. Densities are those of GFN1-xTB at that state: a = 5.40 Å is
within 1 % of experiment, nitrogen is too dense (its cold lattice constant is 10 % short).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, io

from atomistics.structure_index import Structure, write_index

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
    Recipe("dry-ice", "dry_ice", "solid", 2, 0, 5.40, 0, "Pa-3 at the density of 300 K, 1.5 GPa"),
    Recipe("dry-ice-dense", "dry_ice", "solid", 2, 0, 5.28, 0, "Pa-3, 7 % denser"),
    Recipe("dry-ice-wide", "dry_ice", "solid", 2, 0, 5.46, 0, "Pa-3, 3 % wider", True),
    Recipe("nitrogen", "nitrogen", "molecule", 0, 4, 5.12, 33.5, "density of 300 K, 1.5 GPa"),
    Recipe("nitrogen-dense", "nitrogen", "molecule", 0, 4, 4.93, 30.0, "12 % denser"),
    Recipe("nitrogen-thin", "nitrogen", "molecule", 0, 4, 5.19, 35.0, "4 % thinner", True),
    Recipe("thin-thin", "interface", "solid-molecule", 2, 2, 5.40, 33.5, "8 CO2 and 8 N2"),
    Recipe("dense", "interface", "solid-molecule", 2, 2, 5.20, 29.5, "8 and 8, 13 % denser"),
    Recipe(
        "mixed",
        "interface",
        "solid-molecule",
        2,
        2,
        5.46,
        35.0,
        "8 and 8, one pair exchanged",
        exchanged=True,
    ),
    Recipe("thin-thick", "interface", "solid-molecule", 2, 4, 5.42, 34.0, "8 CO2, 16 N2", True),
)


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
