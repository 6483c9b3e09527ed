"""Polymers by their bond graph and by the hands of their centres, as they lie in the box."""

import networkx as nx
import numpy as np
import pytest

from atomistics.builders.building import as_text
from campaign.errors import UserError
from tests.builders.recipes import LITFSI, bond_graph, density, made, unbound_distance

PEO = {"repeat_unit": "[*]CCO[*]", "density_g_cm3": 1.1}
PP = {"repeat_unit": "[*]CC([*])C", "density_g_cm3": 0.6, "degree_of_polymerisation": 6}


def backbone(atoms, piece):
    """Heavy atoms along the longest of the shortest paths through a chain."""
    graph = bond_graph(atoms).subgraph(piece)
    heavy = graph.subgraph([n for n in piece if atoms.symbols[n] != "H"])
    paths = dict(nx.all_pairs_shortest_path(heavy))
    return max((path for one in paths.values() for path in one.values()), key=len)


def test_polyethylene_oxide_with_salt():
    salt = [{"smiles": LITFSI, "mole_ratio": 0.1}]
    atoms = made("polymer", **PEO, degree_of_polymerisation=10, chains=2, additives=salt)
    pieces = list(nx.connected_components(bond_graph(atoms)))
    chains = [piece for piece in pieces if len(piece) > 20]
    assert len(chains) == 2
    for piece in chains:
        symbols = [atoms.symbols[n] for n in backbone(atoms, piece)]
        assert "".join(symbols) in ("CCO" * 10, "OCC" * 10)
        assert atoms[sorted(piece)].get_chemical_formula() == "C20H42O10"
    count = atoms.symbols.formula.count()
    assert count["Li"] == count["N"] == 2
    assert density(atoms) == pytest.approx(1.1, rel=1e-5)
    assert unbound_distance(atoms) >= 1.9
    assert atoms.info["charge"] == 0


def test_a_long_chain_does_not_meet_its_own_images():
    atoms = made("polymer", **PEO, degree_of_polymerisation=8)
    graph = bond_graph(atoms)
    assert len(list(nx.connected_components(graph))) == 1
    distance = atoms.get_all_distances(mic=True)
    hops = dict(nx.all_pairs_shortest_path_length(graph, cutoff=3))
    for atom, near in hops.items():
        distance[atom, list(near)] = np.inf
    assert distance.min() >= 1.9


def hands(atoms):
    """Sign of each backbone CH(CH3): methyl, next and previous backbone atom as a screw."""
    graph = bond_graph(atoms)
    path = backbone(atoms, set(graph))
    signs = []
    for before, centre, after in zip(path, path[1:], path[2:], strict=False):
        side = [n for n in graph[centre] if atoms.symbols[n] == "C" and n not in (before, after)]
        if side:
            arms = [
                atoms.get_distance(centre, n, vector=True, mic=True)
                for n in (before, after, side[0])
            ]
            signs.append(int(np.sign(np.linalg.det(arms))))
    return signs


def test_tacticity_of_polypropylene():
    found = {
        kind: hands(made("polymer", **PP, head="[*]CC", tail="[*]CC", tacticity=kind))
        for kind in ("isotactic", "syndiotactic", "atactic")
    }
    steps = {kind: np.diff(signs) == 0 for kind, signs in found.items()}
    assert all(len(signs) >= 5 for signs in found.values())
    assert steps["isotactic"].all()
    assert not steps["syndiotactic"].any()
    assert 0 < steps["atactic"].sum() < len(steps["atactic"])


def test_end_groups_and_seed():
    box = {**PEO, "degree_of_polymerisation": 2, "head": "[*]OC", "tail": "[*]C", "chains": 2}
    first, again, other = (made("polymer", seed=seed, **box) for seed in (1, 1, 2))
    assert dict(first.symbols.formula.count()) == {"C": 12, "H": 28, "O": 6}
    assert as_text(first) == as_text(again)
    assert abs(first.positions - other.positions).max() > 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tacticity": "isotactic"}, "0 stereocentres"),
        ({"repeat_unit": "[*]CC(O[*]"}, "cannot read"),
        ({"density_g_cm3": 6}, "lower the"),
    ],
)
def test_what_is_no_polymer(changes, said):
    with pytest.raises(UserError, match=said):
        made("polymer", **{**PEO, "degree_of_polymerisation": 3, **changes})
