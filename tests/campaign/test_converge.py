"""`planner converge` on a calculator whose error against its limit is known in closed form."""

import json
import math
from pathlib import Path

import pytest
import yaml
from ase.build import bulk

from atomistics.reference.catalog import Method
from campaign.converge import KNOBS, of_other_meshes, render, stored
from campaign.folder import Campaign
from campaign.report.document import write_now
from mtpilot.cli import main
from tests.campaign.conftest import CONFIG, make_source

# forces are those of springs, scaled by 1 + exp(-cutoff / 10): 13.5 %, 5 %, 1.8 %, 0.7 % too large
CALCULATOR = """
import math
import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Rough(Calculator):
    implemented_properties = ["energy", "forces", "stress"]
    default_parameters = {"cutoff": 20.0, "inner": {"mesh": 2.0}}

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.parameters["cutoff"] == 33:
            raise RuntimeError("SCF not converged")
        scale = 1 + math.exp(-self.parameters["cutoff"] / 10)
        away = atoms.positions - np.rint(atoms.positions)
        self.results = {
            "energy": 0.5 * scale * float((away**2).sum()) + 100 / self.parameters["cutoff"],
            "forces": -scale * away,
            "stress": np.zeros(6),
        }
"""


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    make_source(tmp_path / "source")
    (tmp_path / "source/rough.py").write_text(CALCULATOR)
    options = {"cutoff": 20.0, "inner": {"mesh": 2.0}}
    reference = {"method": "ase", "calculator": "rough:Rough", "options": options}
    text = yaml.safe_dump(CONFIG | {"reference": reference | {"seconds_per_call": 0.01}})
    (tmp_path / "source/config.yaml").write_text("# mine\n" + text)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "source", "c"]) == 0
    monkeypatch.chdir(tmp_path / "c")
    return Campaign.at(tmp_path / "c")


VARY = "cutoff=20,30,40,50,100"


def test_errors_are_those_of_the_closed_form_and_the_coarsest_within_is_chosen(
    campaign: Campaign, capsys: pytest.CaptureFixture
) -> None:
    assert main(["converge", "--vary", VARY, "--structures", "cu_small"]) == 0
    result = stored(campaign)
    (series,) = result.series
    errors = [point.forces for point in series.points]
    ratio = errors[0] / errors[1]
    limit = math.exp(-10)
    assert ratio == pytest.approx((math.exp(-2) - limit) / (math.exp(-3) - limit), rel=1e-6)
    assert errors[-1] == 0, "the finest against itself"
    # the energy that both copies share drops out: only differences are learnt
    assert series.points[0].energy < 0.02
    allowed = result.tolerances["forces"]
    within = [p.value for p in series.points[:-1] if p.forces <= allowed]
    assert series.chosen == within[0]
    assert allowed == pytest.approx(0.1 * campaign.task.targets.force_mae)
    assert "chosen" in capsys.readouterr().out
    page = write_now(campaign, None).read_text()
    assert "Numerical settings of the reference" in page
    assert render(result).splitlines()[0] in page
    assert (campaign.folder / "converge/convergence.svg").read_text().startswith("<svg")


def test_what_is_labelled_is_not_labelled_again(campaign: Campaign) -> None:
    main(["converge", "--vary", "cutoff=20,100", "--structures", "cu_small"])
    points = {p: p.stat().st_mtime_ns for p in campaign.folder.glob("converge/points/*.json")}
    assert len(points) == 4
    main(["converge", "--vary", "cutoff=20,100", "--structures", "cu_small"])
    assert {p: p.stat().st_mtime_ns for p in points} == points


def test_chosen_values_reach_the_configuration_with_its_comments(campaign: Campaign) -> None:
    vary = "cutoff=10,60,80,100"
    assert main(["converge", "--vary", vary, "--structures", "cu_small", "--write"]) == 0
    text = (campaign.folder / "config.yaml").read_text()
    assert text.startswith("# mine")
    chosen = stored(campaign).series[0].chosen
    assert yaml.safe_load(text)["reference"]["options"]["cutoff"] == chosen == 60
    assert main(["next"]) == 0
    assert main(["converge", "--vary", vary, "--structures", "cu_small", "--write"]) == 1


def test_a_series_that_has_not_converged_chooses_nothing(campaign: Campaign) -> None:
    assert main(["converge", "--vary", "cutoff=1,2,3", "--structures", "cu_small"]) == 1
    assert stored(campaign).series[0].chosen is None
    assert "extend the series" in render(stored(campaign))


def test_a_value_that_fails_is_told_and_never_chosen(campaign: Campaign) -> None:
    main(["converge", "--vary", "cutoff=20,33,60,100", "--structures", "cu_small"])
    (series,) = stored(campaign).series
    failed = next(p for p in series.points if p.value == 33)
    assert "SCF not converged" in failed.failure
    assert failed.forces is None
    assert series.chosen == 60, "nothing coarser than a value that failed"
    assert json.loads((campaign.folder / "converge/result.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--vary", "cutof=1,2"], "no cutof among them"),
        (["--vary", "cutoff=1"], "two or more numbers"),
        (["--vary", "cutoff=20,33"], "the finest value 33"),
        (["--vary", VARY, "--structures", "gold"], "no structure gold"),
        ([], "no cutoff, k-point density or smearing"),
    ],
)
def test_what_cannot_be_varied_is_named(
    campaign: Campaign, capsys: pytest.CaptureFixture, words: list[str], says: str
) -> None:
    assert main(["converge", *words]) == 1
    assert says in capsys.readouterr().err
    del campaign


def test_a_nested_option_is_a_setting_too(campaign: Campaign) -> None:
    assert main(["converge", "--vary", "inner.mesh=2,3", "--structures", "cu_small"]) == 0
    assert stored(campaign).series[0].path == "inner.mesh"


def test_values_that_give_one_mesh_are_one() -> None:
    """pw.x on 8 atoms of silicon: 0.15 and 0.1 1/Å are both 2 x 2 x 2 and looked converged."""
    options = {"command": "pw.x", "pseudo_dir": ".", "kspacing": 0.15}
    reference = Method("espresso", options=options)
    frames, said = [bulk("Si", cubic=True)], []
    knob = KNOBS["Espresso"]["kpoints"]
    values = of_other_meshes(reference, knob, [0.25, 0.15, 0.1, 0.08], frames, said.append)
    assert values == [0.25, 0.15, 0.08]
    assert said == ["kpoints 0.15 and 0.1 1/Å are one mesh here: 0.15 is tried"]
    assert of_other_meshes(reference, knob, [0.17, 0.15], frames, said.append) == [0.15]
    larger = [*frames, bulk("Si", cubic=True, a=8.0)]
    assert of_other_meshes(reference, knob, [0.15, 0.1], larger, said.append) == [0.15, 0.1]
