"""The form: every field asked, empty and contradictory answers met, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from campaign.config import Task
from campaign.material import Answers
from preparation import notation
from preparation.missing import needed, open_points


def answered(path) -> Task:
    return Task.model_validate(yaml.safe_load((path / "task.yaml").read_text()))


SEI = [
    ("phases", "graphite: crystal; Li2CO3: amorphous; LEDC: amorphous; electrolyte: liquid"),
    ("temperature", "300"),
    ("objective", ""),
    ("phases.graphite.surface", "(10-10)"),
    ("phases.li2co3.substances", "Li2CO3"),
    ("phases.ledc.substances", "LEDC 1"),
    ("phases.electrolyte.substances", "EC 1, DMC 1, LiPF6 1.0 mol/L"),
    ("layers", "graphite / Li2CO3 / LEDC / electrolyte"),
    ("pressure", ""),
    ("reference", "chgnet"),
    ("procedure", ""),
    ("atoms", ""),
    ("properties", "density, diffusion"),
]


def lines_for(answers: list[tuple[str, str]], *last: str) -> list[str]:
    """The typed lines in the order the form asks, three points a turn."""
    given, known, lines = dict(answers), {"sentence": "SEI of lithium battery"}, []
    while points := open_points(Answers.model_validate(known))[:3]:
        for point in points:
            line = given[point.key]
            lines.append(line)
            value = notation.read(point.key, line or point.default or "")
            known = notation.put(known, point.key, value)
    return [*lines, *last]


def test_the_dialogue_of_the_paper_typed_into_the_form(tmp_path, types) -> None:
    here = tmp_path / "sei"
    lines = lines_for(SEI, "properties: structure, density", "yes")
    status, out, err = types(["prepare", "SEI of lithium battery", here, "--only", "task"], *lines)
    assert (status, err) == (0, "")
    task = answered(here)
    assert task.species == ["C", "F", "H", "Li", "O", "P"]
    assert task.material.layers == ["graphite", "li2co3", "ledc", "electrolyte"]
    assert task.material.phase("graphite").surface == [1, 0, -1, 0]
    assert task.material.phase("electrolyte").substances[2].molarity == 1.0
    assert (task.material.reference, task.material.pressure) == ("chgnet", 0)
    assert task.material.properties == ["structure", "density"]
    assert task.material.objective == "SEI of lithium battery"
    turns = out.split("Completed: ")[1:]
    completed = [t.split("\n")[0] for t in turns]
    assert completed == sorted(completed)
    assert set(completed) == {"no", "yes"}
    assert max(t.count("Question ") for t in turns) == 3
    assert "Summary:\n  sentence: SEI of lithium battery" in turns[0]


def test_empty_and_senseless_answers_are_asked_again(tmp_path, types) -> None:
    here = tmp_path / "w"
    lines = [
        "",
        "warm",
        "",
        "water: soup",
        "330",
        "",
        "water: liquid",
        "",
        "",
        "",
        "",
        "",
        "Water",
        "no",
        "",
        "temperature = 5",
        "reference: dft",
        "temperature: 1e9",
        "temperature: 310.5",
        "yes",
    ]
    status, out, err = types(["prepare", "water", here, "--only", "task"], *lines)
    assert (status, err) == (0, ""), out[-900:]
    assert "phases: an answer is needed" in out
    assert "temperature: 'warm': write a number" in out
    assert "phases: 'water: soup': write NAME: KIND" in out
    assert "write KEY: VALUE" in out
    assert "reference: Input should be 'gfn1-xtb'" in out
    assert "temperature: Input should be less than or equal to 10000" in out
    assert "temperature: '310.5': write a whole number" in out
    assert answered(here).temperature == 330


def test_contradictions_are_questions_until_they_are_mended(tmp_path, types) -> None:
    here = tmp_path / "c"
    known = {
        "phases": [
            {"name": "a", "kind": "crystal", "crystal": "Cu", "surface": [1, 1, 1], "density": 8.9},
            {
                "name": "b",
                "kind": "liquid",
                "substances": [
                    {"name": "Li+", "smiles": "[Li+]", "ratio": 1},
                    {"name": "water", "ratio": 9},
                ],
            },
        ],
        "layers": ["a", "c"],
        "temperature": 300,
    }
    wrong = needed(Answers.model_validate(known))
    assert [p.key for p in wrong if p.fault] == [
        "layers",
        "phases.a.density",
        "phases.b.substances",
    ]
    assert "charges add up to +1 e" in wrong[2].fault
    here.mkdir()
    state = {"planner": "0", "sentence": "s", "by": "rules", "known": known}
    (here / "dialogue.json").write_text(json.dumps(state))
    lines = ["a / b", "none", "water", *[""] * 6, "yes"]
    status, _, err = types(["prepare", "s", here, "--only", "task"], *lines)
    assert (status, err) == (0, "")
    task = answered(here)
    assert task.material.layers == ["a", "b"]
    assert task.material.phase("a").density is None
    assert [i.name for i in task.material.phase("b").substances] == ["water"]


def test_input_that_ends_goes_on_where_it_stood(tmp_path, types) -> None:
    here = tmp_path / "sei"
    lines = lines_for(SEI, "yes")
    order = ["prepare", "SEI of lithium battery", here, "--only", "task"]
    for number in range(0, len(lines), 2):
        status, _, err = types(order, *lines[number : number + 2])
        last = number + 2 >= len(lines)
        assert status == (0 if last else 1)
        assert last or err.count("\n") == 1
        assert last or "the same command goes on" in err
    again, _, _ = types(
        ["prepare", "SEI of lithium battery", tmp_path / "b", "--only", "task"], *lines
    )
    assert again == 0
    assert (here / "task.yaml").read_text() == (tmp_path / "b/task.yaml").read_text()
    status, _, err = types(["prepare", "Something else", here])
    assert status == 1
    assert "was begun with 'SEI of lithium battery'" in err


def test_control_c_loses_nothing(tmp_path) -> None:
    order = [sys.executable, "-m", "mtpilot.cli", "prepare", "water", str(tmp_path / "w")]
    running = subprocess.Popen(
        order,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    running.stdin.write("water: liquid\n")
    running.stdin.flush()
    state = tmp_path / "w/dialogue.json"
    until = time.monotonic() + 30
    while time.monotonic() < until and not (
        state.is_file() and json.loads(state.read_text())["known"]
    ):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err == "planner: interrupted; the same command goes on from here\n"
    assert json.loads(state.read_text())["known"]["phases"] == [{"name": "water", "kind": "liquid"}]


def test_a_form_is_replayed(tmp_path, types) -> None:
    here = tmp_path / "sei"
    types(["prepare", "SEI of lithium battery", here, "--only", "task"], *lines_for(SEI, "yes"))
    status, out, _ = types(["prepare", "--replay", here])
    assert status == 0
    assert "replayed, the same answers" in out
    path = here / "dialogue.json"
    data = json.loads(path.read_text())
    data["known"]["temperature"] = 301
    path.write_text(json.dumps(data))
    status, _, err = types(["prepare", "--replay", here])
    assert (status, err) == (1, "planner: replay: known differs from the record\n")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("phases.a.surface", "1 0 -1 0", [1, 0, -1, 0]),
        ("phases.a.surface", "(110)", [1, 1, 0]),
        ("phases.a.surface", "none", []),
        ("layers", "none", {"layers": [], "interfaces": []}),
        ("layers", "a / b, b / c", {"interfaces": [["a", "b"], ["b", "c"]]}),
        ("phases.a.crystal", "files/x.cif", {"file": "files/x.cif"}),
        (
            "phases.a.crystal",
            "225; 5.64; Na 0 0 0, Cl 0.5 0.5 0.5",
            {"spacegroup": 225, "lattice": [5.64], "sites": ["Na 0 0 0", "Cl 0.5 0.5 0.5"]},
        ),
        (
            "phases.a.substances",
            "EC 1, X=CCO 2, LiPF6 0.5 M",
            [
                {"name": "EC", "ratio": 1.0},
                {"name": "X", "smiles": "CCO", "ratio": 2.0},
                {"name": "LiPF6", "molarity": 0.5},
            ],
        ),
        ("temperature", "350 K", 350),
        ("phases.a.density", "1.3 g/cm3", 1.3),
    ],
)
def test_notations(key: str, text: str, value: object) -> None:
    assert notation.read(key, text) == value


@pytest.mark.parametrize("text", ["$(touch x)", "../../etc", "; rm -rf /", "files/../x.cif"])
@pytest.mark.parametrize("key", ["crystal", "substances", "surface", "repeat", "file"])
def test_nothing_typed_becomes_a_path_or_a_command(tmp_path, types, key: str, text: str) -> None:
    known = {"phases": [{"name": "a", "kind": "crystal"}]}
    try:
        Answers.model_validate(notation.put(known, f"phases.a.{key}", notation.read(key, text)))
    except ValueError:
        return
    except notation.NotationError:
        return
    raise AssertionError(f"{key}: {text} was accepted")


def test_a_face_is_optional_only_once_the_layers_are_right(tmp_path, types) -> None:
    """Layers that name no phase leave open whether the crystal meets one; no [none] is offered."""
    lines = ["li: crystal; water: liquid", "300 K", "", "water / lithium", "water", ""]
    _, out, _ = types(["prepare", "x", tmp_path / "a", "--only", "task"], *lines)
    assert "lithium is no phase" in out
    assert "phases.li.surface" not in out
    lines += ["li / water", "", ""]
    _, out, _ = types(["prepare", "x", tmp_path / "b", "--only", "task"], *lines)
    assert "phases.li.surface [none]" not in out


def test_complaints_in_the_form_name_phases_as_they_are_called(tmp_path, types) -> None:
    lines = ["cu: crystal", "300", "", "phases.cu.surface: 1 1"]
    _, out, _ = types(["prepare", "x", tmp_path / "a", "--only", "task"], *lines)
    assert "phases.cu.surface: three (h k l) or four" in out
    assert "Value error" not in out
