"""The potential of quenched borosilicates: derivatives, and the bonds that its papers report."""

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.neighborlist import neighbor_list

from atomistics.builders.amorphous.guillot_sator import GuillotSator
from atomistics.errors import UserError
from campaign.material import Phase
from preparation.propose import network
from tests.builders.recipes import made

GLASS = {
    "components": [
        {"formula": "SiO2", "mole_ratio": 2},
        {"formula": "B2O3", "mole_ratio": 2},
        {"formula": "Na2O", "mole_ratio": 1},
    ],
    "density_g_cm3": 2.3,
    "atoms": 38,
}
QUENCH = {
    "melt": 3500,
    "picoseconds": 1.0,
    "rate": 2000,
    "final": 300,
    "settle": 0.4,
    "timestep": 2,
}


def test_forces_and_stress_are_derivatives() -> None:
    packed = made("amorphous", **GLASS)
    packed.calc = GuillotSator()
    numerical = calculate_numerical_forces(packed, eps=1e-4, iatoms=[0, 20])
    assert np.allclose(packed.get_forces()[[0, 20]], numerical, atol=1e-5)
    assert np.allclose(packed.get_stress(), calculate_numerical_stress(packed, eps=1e-5), atol=1e-6)


def test_boron_has_three_or_four_oxygens_as_near_as_in_glasses() -> None:
    """B-O 1.37 Å (three) to 1.47 Å (four), Si-O 1.62 Å in tetrahedra: packed at random, none."""
    glass = made("amorphous", **GLASS, melt_quench={**QUENCH, "potential": "guillot-sator"})
    i, _, r = neighbor_list("ijd", glass, {("B", "O"): 1.85, ("Si", "O"): 2.1})
    of = np.array(glass.symbols)
    number = np.bincount(i, minlength=len(glass))
    boron, silicon = number[of == "B"], number[of == "Si"]
    assert set(boron) <= {2, 3, 4}
    assert np.mean(np.isin(boron, (3, 4))) > 0.8
    assert np.mean(silicon == 4) > 0.7
    assert r[of[i] == "B"].mean() == pytest.approx(1.40, abs=0.06)
    assert r[of[i] == "Si"].mean() == pytest.approx(1.63, abs=0.06)


def test_what_it_does_not_cover_is_refused_and_not_proposed() -> None:
    parts = [{"formula": "ZrO2", "mole_ratio": 1}]
    quench = {**QUENCH, "potential": "guillot-sator"}
    with pytest.raises(UserError, match="guillot-sator covers oxides of"):
        made("amorphous", components=parts, density_g_cm3=5.5, atoms=30, melt_quench=quench)
    for formula, name in (("B2O3", "guillot-sator"), ("P2O5", "pedone"), ("ZrO2", None)):
        glass = [{"name": "x", "formula": formula}]
        phase = Phase.model_validate({"name": "g", "kind": "amorphous", "substances": glass})
        assert network(phase) == name
