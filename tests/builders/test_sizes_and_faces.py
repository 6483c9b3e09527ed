"""Cells near the size asked for, faults in hollows, twists of hexagons, sheets, hydroxyls."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from atomistics.builders.layers import layered
from atomistics.structures import heights
from campaign.material import Answers
from preparation.propose import propose
from preparation.task import task_of
from tests.builders.recipes import MGO, RUTILE, made

UREA = {
    "space_group": 113,
    "lattice": {"a_angstrom": 5.645, "c_angstrom": 4.704},
    "sites": [
        {"element": "C", "position": [0, 0.5, 0.328]},
        {"element": "O", "position": [0, 0.5, 0.5962]},
        {"element": "N", "position": [0.1447, 0.6447, 0.1784]},
        {"element": "H", "position": [0.2552, 0.7552, 0.2872]},
        {"element": "H", "position": [0.1428, 0.6428, -0.0339]},
    ],
}
CORUNDUM = {
    "space_group": 167,
    "lattice": {"a_angstrom": 4.759, "c_angstrom": 12.991},
    "sites": [
        {"element": "Al", "position": [0, 0, 0.3522]},
        {"element": "O", "position": [0.3063, 0, 0.25]},
    ],
}
QUARTZ = {
    "space_group": 154,
    "lattice": {"a_angstrom": 4.9137, "c_angstrom": 5.4047},
    "sites": [
        {"element": "Si", "position": [0.4697, 0, 2 / 3]},
        {"element": "O", "position": [0.4135, 0.2669, 0.7858]},
    ],
}
MAGNESIUM = {"prototype": "hcp", "formula": "Mg", "lattice": {"a_angstrom": 3.2, "c_angstrom": 5.2}}
MOLYBDENITE = {
    "space_group": 194,
    "lattice": {"a_angstrom": 3.16, "c_angstrom": 12.294},
    "sites": [
        {"element": "Mo", "position": [1 / 3, 2 / 3, 0.25]},
        {"element": "S", "position": [1 / 3, 2 / 3, 0.621]},
    ],
}
GRAPHITE = {
    "space_group": 194,
    "lattice": {"a_angstrom": 2.464, "c_angstrom": 6.711},
    "sites": [
        {"element": "C", "position": [0, 0, 0.25]},
        {"element": "C", "position": [1 / 3, 2 / 3, 0.25]},
    ],
}


def shortest(atoms: Atoms, one: str, other: str) -> float:
    i, j, r = neighbor_list("ijd", atoms, 6.0)
    of = np.array(atoms.symbols)
    return float(r[(of[i] == one) & (of[j] == other)].min())


def test_a_smaller_cell_of_another_shape_is_taken_where_one_exists() -> None:
    """Urea: 2 x 2 x 2 cells have 128 atoms, the cell turned by 45 degrees has 64."""
    small = made("solid", **UREA, atoms=64, min_length_angstrom=6.5)
    assert (len(small), bool(heights(small).min() >= 6.5)) == (64, True)
    assert small.get_volume() / 64 == pytest.approx(5.645**2 * 4.704 / 16, rel=1e-6)
    assert shortest(small, "C", "O") == pytest.approx(1.262, abs=2e-3)
    assert sorted(np.bincount(small.numbers)[[1, 6, 7, 8]]) == [8, 8, 16, 32]
    large = made("solid", **UREA, atoms=64, min_length_angstrom=6.5, further_repeats=1)
    assert len(large) == 128


def test_slabs_of_a_scaled_lattice_have_the_cells_of_the_lattice_itself() -> None:
    crystal = {"name": "bto", "kind": "crystal", "crystal": "BaTiO3", "surface": [0, 0, 1]}
    answers = {"sentence": "s", "phases": [crystal], "layers": [], "temperature": 300, "atoms": 60}
    plan = propose(task_of(Answers.model_validate(answers), set()))
    (faces,) = [c for c in plan.categories if c.name == "bto_surface"]
    built = {v.id: made(**v.parameters.model_dump(exclude_none=True)) for v in faces.variants}
    across = {name: len(a) / a.info["thickness_angstrom"] for name, a in built.items()}
    assert max(across.values()) < 1.6 * min(across.values())  # 2 x 2 and 2 x 3, no 3 x 3
    assert len(built["bto_surface-compressed"]) == len(built["bto_surface-slab"])


def test_a_basal_fault_of_magnesium_leads_into_hollows() -> None:
    """Close packing is kept: no bond shorter than the crystal's, 12 neighbours at the fault."""
    slab = made(
        "solid-surface",
        **MAGNESIUM,
        miller=[0, 0, 0, 1],
        thickness_angstrom=12.0,
        min_width_angstrom=8.0,
        fault=[1 / 3, 1 / 3],
        vacuum_angstrom=12.0,
    )
    assert shortest(slab, "Mg", "Mg") == pytest.approx(3.19, abs=0.02)
    neighbours = np.bincount(neighbor_list("i", slab, 3.4))
    assert set(neighbours) == {9, 12}


def test_a_hexagonal_plane_has_the_twist_of_sigma_7() -> None:
    grains = made(
        "solid-solid",
        substrate={
            **CORUNDUM,
            "miller": [0, 0, 0, 1],
            "thickness_angstrom": 8.0,
            "min_width_angstrom": 5.5,
        },
        grain="turned",
        gap_angstrom=1.8,
        max_atoms=1000,
    )
    area = np.linalg.norm(np.cross(grains.cell[0], grains.cell[1]))
    assert area == pytest.approx(7 * 4.759**2 * np.sqrt(3) / 2, rel=1e-3)
    # 21.79 degrees and what the plane's symmetry makes of it
    assert min(abs(grains.info["turned_degrees"] % 60 - a) for a in (21.787, 38.213)) < 0.01


def test_sheets_meet_at_van_der_waals_distances_without_being_told() -> None:
    graphite = {**GRAPHITE, "miller": [0, 0, 1], "thickness_angstrom": 6.0}
    sulfide = {**MOLYBDENITE, "miller": [0, 0, 1], "thickness_angstrom": 9.0}
    both = made(
        "solid-solid",
        substrate=graphite,
        film=sulfide,
        gap_angstrom=2.2,
        max_strain_percent=6.0,
        max_atoms=1000,
    )
    assert shortest(both, "C", "S") > 3.4
    face = made("solid-surface", **MGO, miller=[0, 0, 1], thickness_angstrom=8.0)
    assert not layered(face)


@pytest.mark.parametrize(
    ("crystal", "plane", "turn"), [(QUARTZ, [0, 0, 1], 1), (RUTILE, [0, 0, 1], 0)]
)
def test_hydroxyls_of_a_face_do_not_touch(crystal: dict, plane: list[int], turn: int) -> None:
    slab = made(
        "solid-surface",
        **crystal,
        miller=plane,
        thickness_angstrom=8.0,
        min_width_angstrom=8.0,
        termination_in_turn=turn,
        compensated=True,
        passivated=True,
        vacuum_angstrom=15.0,
    )
    assert shortest(slab, "H", "H") > 1.55
    i, j, r = neighbor_list("ijd", slab, 1.2)
    of = np.array(slab.symbols)
    bound = np.bincount(i[(of[i] == "H") & (of[j] == "O")], minlength=len(slab))[of == "H"]
    assert set(bound) == {1}
    assert r[of[i] == "H"] == pytest.approx(0.97, abs=0.02)


def test_a_passivated_face_is_so_under_water_too() -> None:
    crystal = {"name": "q", "kind": "crystal", "crystal": "SiO2", "surface": [0, 0, 1]}
    water = {"name": "w", "kind": "liquid", "substances": [{"name": "water"}]}
    answers = {"sentence": "s", "phases": [{**crystal, "passivated": True}, water]}
    answers |= {"layers": ["q", "w"], "temperature": 300}
    plan = propose(task_of(Answers.model_validate(answers), set()))
    (wet,) = [c for c in plan.categories if c.name == "q-w"]
    assert all(v.parameters.surface.passivated for v in wet.variants)


def test_an_interstitial_of_a_dense_metal_makes_room(tmp_path: Path) -> None:
    iron = {"prototype": "bcc", "formula": "Fe", "lattice": {"a_angstrom": 2.866}}
    for element, least in (("Fe", 1.9), ("C", 1.5)):
        put = [{"element": element, "count": 1}]
        atoms = made("solid", **iron, supercell=[3, 3, 3], interstitials=put)
        assert shortest(atoms, "Fe", element) > least
        moved = atoms[: len(atoms) - 1]
        still = made("solid", **iron, supercell=[3, 3, 3])
        assert np.abs(moved.positions - still.positions).max() < 1.0
