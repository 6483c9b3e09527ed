"""Materials the tests build, and what is measured on them without the builders' own code."""

from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from atomistics.builders.building import build
from atomistics.builders.families import PARAMETERS

GRAPHITE = {
    "space_group": 194,
    "lattice": {"a_angstrom": 2.464, "c_angstrom": 6.711},
    "sites": [
        {"element": "C", "position": [0, 0, 0.25], "wyckoff": "2b"},
        {"element": "C", "position": [1 / 3, 2 / 3, 0.25], "wyckoff": "2c"},
    ],
}
RUTILE = {
    "space_group": 136,
    "lattice": {"a_angstrom": 4.594, "c_angstrom": 2.959},
    "sites": [
        {"element": "Ti", "position": [0, 0, 0], "wyckoff": "2a"},
        {"element": "O", "position": [0.305, 0.305, 0], "wyckoff": "4f"},
    ],
}
LITHIUM_CARBONATE = {  # zabuyelite, C2/c
    "space_group": 15,
    "lattice": {
        "a_angstrom": 8.359,
        "b_angstrom": 4.973,
        "c_angstrom": 6.197,
        "beta_degrees": 114.83,
    },
    "sites": [
        {"element": "Li", "position": [0.196, 0.448, 0.834]},
        {"element": "C", "position": [0, 0.066, 0.25]},
        {"element": "O", "position": [0, 0.321, 0.25]},
        {"element": "O", "position": [0.147, -0.066, 0.313]},
    ],
}
NACL = {"prototype": "rocksalt", "formula": "NaCl", "lattice": {"a_angstrom": 5.64}}
MGO = {"prototype": "rocksalt", "formula": "MgO", "lattice": {"a_angstrom": 4.212}}
LIF = {"prototype": "rocksalt", "formula": "LiF", "lattice": {"a_angstrom": 4.03}}
COPPER = {"prototype": "fcc", "formula": "Cu", "lattice": {"a_angstrom": 3.61}}
EC, DMC = "O=C1OCCO1", "COC(=O)OC"
LIPF6 = "[Li+].F[P-](F)(F)(F)(F)F"
LITFSI = "[Li+].FC(F)(F)S(=O)(=O)[N-]S(=O)(=O)C(F)(F)F"
LI2CO3 = "[Li+].[Li+].[O-]C([O-])=O"
LEDC = "[Li+].[Li+].[O-]C(=O)OCCOC(=O)[O-]"
METALS = {"Li", "Na", "K", "Mg", "Ti", "Cu", "Ni"}
AVOGADRO = 6.02214076e23


def made(family: str, seed: int = 1, folder: Path = Path(), **parameters: object) -> Atoms:
    return build(PARAMETERS.validate_python({"family": family, **parameters}), seed, folder)


def density(atoms: Atoms) -> float:
    """g/cm3."""
    return atoms.get_masses().sum() / AVOGADRO / (atoms.get_volume() * 1e-24)


def bond_graph(atoms: Atoms) -> nx.Graph:
    """Bonds of non-metals nearer than 1.25 covalent distances, through periodic boundaries."""
    i, j = neighbor_list("ij", atoms, list(1.25 * covalent_radii[atoms.numbers]))
    bound = [
        atoms.symbols[a] not in METALS and atoms.symbols[b] not in METALS
        for a, b in zip(i, j, strict=True)
    ]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(atoms)))
    graph.add_edges_from(zip(i[bound].tolist(), j[bound].tolist(), strict=True))
    return graph


def formulas(atoms: Atoms) -> Counter[str]:
    """Formulas of the connected pieces."""
    pieces = nx.connected_components(bond_graph(atoms))
    return Counter(atoms[sorted(piece)].get_chemical_formula() for piece in pieces)


def unbound_distance(atoms: Atoms) -> float:
    """Shortest distance of atoms of different pieces, nearest images (Å)."""
    distance = atoms.get_all_distances(mic=True)
    for piece in nx.connected_components(bond_graph(atoms)):
        members = sorted(piece)
        distance[np.ix_(members, members)] = np.inf
    return float(distance.min())
