"""The recipes of docs/references.md label a structure, by the codes that can be had."""

from pathlib import Path

import pytest
from ase.build import bulk

from atomistics.reference.methods import label, reference_calculator
from tests.atomistics.test_recipes import recipes
from tests.dft.test_codes import lithium_hydride, output_of

RUN = {name: one for name, one in recipes().items() if name[:2] in ("Qu", "CP", "GP")}


@pytest.mark.parametrize("name", RUN)
def test_a_recipe_labels(here: Path, name: str) -> None:
    structure = bulk("Al", a=4.0)
    if name.startswith("CP2K"):
        structure = lithium_hydride()
    elif name == "Quantum ESPRESSO 2":
        structure = bulk("Fe", a=2.75)
        structure.set_initial_magnetic_moments([2.0])
    reference = RUN[name].model_copy(update={"keep": "all"})
    frame = label(structure, reference_calculator(reference, here))
    assert frame.get_stress().shape == (6,)
    if "Fe" in structure.symbols:
        text = output_of(here, "espresso.pwo")
        assert float(text.rpartition("total magnetization       =")[2].split()[0]) > 1.5
        assert "Hubbard" in text
