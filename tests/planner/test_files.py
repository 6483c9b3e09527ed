"""YAML as people write it, and files that are whole or absent."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atomistics.yaml_files import read_yaml
from campaign.actions.end import End
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import dump_yaml, parse, write_text
from campaign.folder import _overlaid
from campaign.plan import Plan


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("species: [NO, N, Y, O]", {"species": ["NO", "N", "Y", "O"]}),
        ("lr: 1e-3", {"lr": 0.001}),
        ("t: 12:30:00", {"t": "12:30:00"}),
        ("a: true\nb: off\nc: 0o17", {"a": True, "b": "off", "c": "0o17"}),
        ("x: ~\ny: -4\nz: .5", {"x": None, "y": -4, "z": 0.5}),
    ],
)
def test_yaml_scalars_are_what_a_chemist_means(tmp_path: Path, text: str, value: dict) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == value


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a: [1, 2", "a.yaml:2"), (b"\xff\xfe", "cannot be read"), (b"a: b: c", "not valid YAML")],
)
def test_broken_yaml_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", ":4: .*key c is given twice"),
        ("a: " + "[" * 20_000, "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("? [1]\n: 2\n", "not valid YAML"),
    ],
    ids=["twice", "deep", "digits", "list as key"],
)
def test_yaml_nobody_can_mean_is_one_line(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=where) as refused:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(refused.value)


@given(st.text(max_size=80), st.text(max_size=80))
def test_plan_survives_the_file(reason: str, recommendation: str) -> None:
    plan = Plan(
        iteration=3,
        action="end",
        reason=reason,
        evidence=[],
        state_sha256="start",
        end=End(outcome="failed", recommendation=recommendation),
    )
    text = dump_yaml(plan)
    assert Plan.model_validate(yaml.safe_load(text)) == plan
    assert dump_yaml(Plan.model_validate(yaml.safe_load(text))) == text


def test_unknown_and_missing_keys_are_all_named_in_one_line() -> None:
    with pytest.raises(UserError) as error:
        parse(Plan, {"iteration": 0, "acton": "end"}, "plan.yaml")
    message = str(error.value)
    assert "\n" not in message
    assert all(key in message for key in ("iteration", "acton", "action", "reason", "evidence"))


def test_overlay_reaches_leaves_and_replaces_options() -> None:
    base = {"a": {"b": 1, "c": 2}, "options": {"x": 1}}
    assert _overlaid(base, {"a": {"c": 3}, "options": {"y": 2}}) == {
        "a": {"b": 1, "c": 3},
        "options": {"y": 2},
    }


def test_interrupted_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.yaml"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_and_infinity_are_refused_in_records() -> None:
    from campaign.results import Range

    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            Range(low=value, high=1.0)


def test_defaults_are_complete_and_fit_a_screen() -> None:
    from campaign import TOOLKIT

    path = TOOLKIT / "config/default.yaml"
    parse(Config, read_yaml(path), str(path))
    assert len(path.read_text().splitlines()) <= 110
