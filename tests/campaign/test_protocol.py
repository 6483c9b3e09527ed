"""Protocols: what the contract refuses, what an approval is bound to, what plans may do with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from campaign import TOOLKIT
from campaign.actions.model_eval import ModelEvalResult
from campaign.actions.reference_calc import ReferenceCalc
from campaign.actions.sample import SampleResult
from campaign.cost import cost
from campaign.errors import UserError
from campaign.files import dump_yaml
from campaign.gates import check
from campaign.plan import Plan
from campaign.protocol_files import ProtocolInfo, read_protocol
from campaign.protocols import all_protocols, approve, require_approved
from campaign.reduce import after
from campaign.results import Property, ProtocolRun, SampleGroupResult
from campaign.situation import Situation
from campaign.workflow import items
from mtpilot.cli import main
from planner.llm.digest import digest
from planner.policy.rules import decide
from tests.planner.states import COMPONENTS, DATA, EVALUATE, REFERENCE, at

HOLD = {"stage": "hold", "temperature": 300, "picoseconds": 2}
STRAIN = {"stage": "strain", "direction": "x", "strain": 0.1, "rate": 0.01, "others": "free"}
RNEMD = {
    "stage": "rnemd",
    "exchange": "heat",
    "axis": "c",
    "slabs": 10,
    "every": 20,
    "temperature": 300,
    "picoseconds": 5,
    "settle": 1,
}
METAD = {
    "stage": "metadynamics",
    "temperature": 300,
    "picoseconds": 1,
    "height": 0.1,
    "every": 10,
    "variables": [{"variable": "distance", "atoms": [0, 1], "width": 0.1}],
}


def document(*stages: dict, **top: object) -> dict:
    return {"timestep": 2.0, "stages": list(stages), **top}


def test_lengths_of_every_shipped_protocol() -> None:
    lengths = {p.stem: read_protocol(p).lengths for p in (TOOLKIT / "config/protocols").iterdir()}
    assert lengths["anneal"] == [1000, 2 * (2000 + 5000 + 2000)]
    assert lengths["melt_quench"] == [5000 + 13500 + 2500, 2500]
    assert lengths["strain"] == [2500, 10000, 5000, 10000]
    kinds = {
        s.stage
        for p in lengths
        for s in read_protocol(TOOLKIT / f"config/protocols/{p}.yaml").stages
    }
    assert kinds == {"hold", "anneal", "melt-quench", "strain", "metadynamics", "rnemd"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (document({**HOLD, "code": "import os"}), "code: Extra inputs"),
        (document({"stage": "python", "run": "x"}), "python"),
        (document(HOLD, script="rm"), "script: Extra inputs"),
        (document({**HOLD, "temperature": -5}), "temperature"),
        (document({**HOLD, "temperature": float("nan")}), "temperature"),
        (document({**HOLD, "picoseconds": 1e9}), "picoseconds"),
        (document({**HOLD, "picoseconds": 1e5}), "10000000 are allowed"),
        (document({**HOLD, "pressure": 1}), "only with ensemble npt"),
        (document({**HOLD, "ensemble": "nph"}), "ensemble"),
        (document(HOLD, timestep=100), "timestep"),
        (document(), "stages"),
        (document(*[HOLD] * 21), "stages"),
        (document({**STRAIN, "temperature": 1, "strain": 0}), "must not be 0"),
        (document({**STRAIN, "temperature": 1, "strain": 3}), "strain"),
        (document({**STRAIN, "temperature": 1, "rate": 0.9}), "strains by more than"),
        (document({**STRAIN, "temperature": 1, "direction": "yx"}), "direction"),
        (document({**STRAIN, "temperature": 1, "others": "fixed", "pressure": 1}), "others: free"),
        (document({**RNEMD, "slabs": 7}), "slabs"),
        (document({**RNEMD, "settle": 5}), "leaves nothing"),
        (document({"stage": "anneal", "low": 5, "high": 5, "rate": 1, "picoseconds": 1}), "below"),
        (document({**METAD, "bias_factor": 1}), "bias_factor"),
        (
            document({**METAD, "variables": [{"variable": "distance", "atoms": [0], "width": 1}]}),
            "atoms",
        ),
        (
            document(
                {
                    **METAD,
                    "variables": [
                        {
                            "variable": "coordination",
                            "element": "Li FILE=/etc/x",
                            "others": "O",
                            "radius": 1,
                            "width": 1,
                        }
                    ],
                }
            ),
            "element",
        ),
        ([1, 2], "document"),
    ],
)
def test_refused_in_one_line_that_names_the_key(
    data: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(data))
    assert main(["protocol", "check", str(path)]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert str(path) in line
    assert words in line


def test_only_plain_names(tmp_path: Path) -> None:
    path = tmp_path / "Bad Name.yaml"
    path.write_text(yaml.safe_dump(document(HOLD)))
    with pytest.raises(UserError, match="rename"):
        read_protocol(path)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A folder with the one protocol `warm`."""
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols/warm.yaml").write_text(yaml.safe_dump(document(HOLD)))
    return tmp_path


def test_an_approval_is_bound_to_the_bytes(campaign: Path) -> None:
    path = campaign / "protocols/warm.yaml"
    with pytest.raises(UserError, match="not approved"):
        require_approved(campaign, "warm")
    approve(campaign, path)
    assert require_approved(campaign, "warm").protocol.steps == 1000
    assert all_protocols(campaign)["warm"].fault == ""
    path.write_text(path.read_text() + "# once more\n")
    with pytest.raises(UserError, match="changed since its approval"):
        require_approved(campaign, "warm")
    assert "changed" in all_protocols(campaign)["warm"].fault
    assert str(campaign) not in str(all_protocols(campaign)), "recorded with decisions"
    (campaign / "protocols/broken.yaml").write_text("stages: 3\n")
    assert all_protocols(campaign)["broken"].fault.startswith("protocols/broken.yaml: timestep")
    assert str(campaign) not in str(all_protocols(campaign))
    with pytest.raises(UserError, match="move it there"):
        approve(campaign, TOOLKIT / "config/protocols/hold.yaml")


def with_protocols(sit: Situation) -> Situation:
    infos = {
        "warm": ProtocolInfo(name="warm", steps=1000, highest=300, stages=["hold"]),
        "melt": ProtocolInfo(name="melt", steps=500, highest=9000, stages=["melt-quench"]),
        "raw": ProtocolInfo(name="raw", fault="protocols/raw.yaml: not approved; approve it"),
    }
    return replace(sit, protocols=infos)


def naming(protocol: str | None, sit: Situation) -> Plan:
    """The rules' plan with a protocol named by hand."""
    plan = decide(sit)
    section = plan.parameters
    if plan.sample:
        groups = [g.model_copy(update={"protocol": protocol}) for g in section.groups]
        return plan.model_copy(update={"sample": section.model_copy(update={"groups": groups})})
    section = section.model_copy(update={"protocol": protocol})
    return plan.model_copy(update={plan.action: section})


def told(plan: Plan, sit: Situation, verdict: str) -> str:
    return "; ".join(v.detail for v in check(plan, sit) if v.verdict == verdict)


@pytest.mark.parametrize("number", [REFERENCE, DATA, COMPONENTS, EVALUATE])
def test_gates_know_protocols_and_costs_count_their_steps(number: int) -> None:
    sit = with_protocols(at(number))
    bare, plan = decide(sit), naming("warm", sit)
    assert "no protocols/nope.yaml; approved: warm, melt" in told(naming("nope", sit), sit, "deny")
    assert "not approved" in told(naming("raw", sit), sit, "deny")
    assert told(plan, sit, "deny") == ""
    table = items(plan, sit.state, sit.config)
    staged = [leaf for leaf in table.values() if leaf.get("protocol") == "warm"]
    more = cost(plan, sit).md_steps - cost(bare, sit).md_steps
    assert len(staged) > 0
    assert more == 1000 * len(staged)
    others = {name: leaf for name, leaf in table.items() if "protocol" not in leaf}
    assert others == items(bare, sit.state, sit.config), "the other runs keep names and seeds"
    with_reference = plan.reference_calc or (plan.sample and plan.sample.method == "reference")
    calls = cost(plan, sit).reference_calls - cost(bare, sit).reference_calls
    assert calls == (1001 * len(staged) if with_reference else 0)


def test_a_hot_protocol_is_a_warning_to_a_sampling() -> None:
    sit = with_protocols(at(DATA))
    assert "goes to 9000 K" in told(naming("melt", sit), sit, "warn")
    assert "9000" not in told(naming("melt", sit), sit, "deny")


def test_a_plan_without_a_protocol_is_what_it_was() -> None:
    for number in (REFERENCE, DATA, COMPONENTS, EVALUATE):
        plan = decide(at(number))
        assert "protocol" not in dump_yaml(plan)
        assert "protocol" not in plan.parameters.model_dump_json()
        assert plan.fingerprint == naming(None, at(number)).fingerprint
        assert plan.fingerprint != naming("warm", at(number)).fingerprint


def test_protocols_alone_are_a_sampling_and_no_rung_of_the_curriculum() -> None:
    sit = with_protocols(at(COMPONENTS))
    plan = naming("warm", sit)
    groups = [
        g.model_copy(update={"temperatures": [], "ensembles": []}) for g in plan.sample.groups
    ]
    plan = plan.model_copy(
        update={"sample": plan.sample.model_copy(update={"groups": groups, "steps": 0})}
    )
    assert told(plan, sit, "deny") == ""
    assert {r["kind"] for r in plan.sample.runs().values()} == {"protocol"}
    rows = [
        SampleGroupResult(
            subsystem=g.subsystem,
            temperature_low=0,
            temperature_high=0,
            runs=1,
            early_stops=0,
            stops=[],
            failed_runs=0,
            snapshots=3,
            atoms=9,
        )
        for g in groups
    ]
    result = SampleResult(
        method="model", model=plan.sample.model, groups=rows, reference_calls=0, md_steps=9
    )
    state = after(sit.state, plan, result, ("0", "1"))
    for row in rows:
        before = sit.state.subsystem(row.subsystem).sampled_temperature
        assert state.subsystem(row.subsystem).sampled_temperature == before
        assert state.subsystem(row.subsystem).rounds > sit.state.subsystem(row.subsystem).rounds


def test_only_the_protocol_runs_where_the_baseline_stands() -> None:
    sit = with_protocols(at(EVALUATE))
    names = [r.structure for r in sit.state.reference]
    section = ReferenceCalc(
        structures=names,
        temperature=300,
        ensemble="nvt",
        steps=50,
        interval=5,
        protocol="warm",
        seed=1,
    )
    plan = decide(sit).model_copy(
        update={"action": "reference_calc", "model_eval": None, "reference_calc": section}
    )
    assert set(items(plan, sit.state, sit.config)) == {f"{n}+warm" for n in names}
    assert cost(plan, sit).reference_calls == 1001 * len(names)
    assert "already" not in told(plan, sit, "warn")


def test_what_was_measured_stands_in_the_story() -> None:
    sit = with_protocols(at(EVALUATE))
    plan = naming("warm", sit)
    runs = [
        ProtocolRun(
            structure="oxide-h0",
            protocol="warm",
            protocol_sha256="a" * 64,
            steps=9,
            properties=[
                Property(
                    name="thermal_conductivity",
                    unit="W/m/K",
                    model=1.234,
                    model_error=0.05,
                    reference=1.5,
                    reference_error=0.2,
                )
            ],
        ),
        ProtocolRun(structure="oxide-h1", protocol="warm", stop="grade"),
    ]
    result = ModelEvalResult(
        model=plan.model_eval.model,
        structures=[],
        protocol_runs=runs,
        reference_calls=0,
        md_steps=9,
    )
    note = after(sit.state, plan, result, ("0", "1")).history[-1].note
    assert "thermal_conductivity 1.23 ± 0.05 by model, 1.5 ± 0.2 by reference W/m/K" in note
    assert "oxide-h1+warm: stopped (grade)" in note


def test_commands_say_what_they_did(campaign: Path, capsys: pytest.CaptureFixture) -> None:
    path = campaign / "protocols/warm.yaml"
    assert main(["protocol", "check", str(path)]) == 0
    assert "1000 steps" in capsys.readouterr().out
    assert main(["protocol", "approve", str(path), "--campaign", str(campaign)]) == 1
    assert "task.yaml" in capsys.readouterr().err
    assert main(["protocol", "try", str(path), "x", "--steps", "0"]) == 1
    assert "--steps" in capsys.readouterr().err


def test_rules_name_the_protocols_of_the_configuration() -> None:
    wanted = {"model_sample": {"protocols": {"oxide": "warm"}}, "model_eval": {"protocol": "warm"}}
    sampling = decide(at(COMPONENTS, **wanted)).sample
    assert {g.subsystem: g.protocol for g in sampling.groups}["oxide"] == "warm"
    assert {g.protocol for g in sampling.groups} == {"warm", None}
    assert decide(at(EVALUATE, **wanted)).model_eval.protocol == "warm"
    assert "no protocols/warm.yaml" in told(
        decide(at(EVALUATE, **wanted)), at(EVALUATE, **wanted), "deny"
    )


def test_models_are_told_of_approved_protocols_alone() -> None:
    sit = at(COMPONENTS)
    assert "protocols" not in digest(sit, None, 10_000).text
    text = digest(with_protocols(sit), None, 10_000).text
    assert '"warm":{"stages":["hold"],"steps":1000' in text
    assert '"raw"' not in text
