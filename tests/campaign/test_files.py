"""YAML as people write it, and files that are whole or absent."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atomistics.yaml_files import format_yaml, parse_yaml, read_yaml
from campaign.actions.end import End
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import dump_yaml, parse, read_json, write_text
from campaign.folder import _overlaid, configuration
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


class _Bomb:
    """Forty anchors, each made of the one before twice."""

    def format(self, doubled: str) -> str:
        lines = [f"a{i}: &a{i} " + doubled.format(f"a{i - 1}") for i in range(1, 40)]
        return "\n".join(["a0: &a0 [0]", *lines])


BOMB = _Bomb()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", ":4: .*key c is given twice"),
        ("a: " + "[" * 20_000, "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("? [1]\n: 2\n", "not valid YAML"),
        ("a: " + "[" * 10**6 + "]" * 10**6, "a.yaml:1: .*nested more than 64 deep"),
        ("{a: " * 10**5 + "1" + "}" * 10**5, "nested more than 64 deep"),
        ("- " * 10**5 + "1", "nested more than 64 deep"),
        ("".join(" " * i + "a:\n" for i in range(3000)), "nested more than 64 deep"),
        ("".join(" " * i + "a:\n" + " " * i + "- b:\n" for i in range(999)), "64 deep|not valid"),
        (BOMB.format("[*{0}, *{0}]"), "aliases for over"),
        (BOMB.format("{{<<: [*{0}, *{0}]}}").replace("[0]", "{x: 1}"), "aliases for over"),
        ("a: &a [*a]", "stands within itself"),
        ("a: &a {b: {<<: *a}}", "stands within itself"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_nobody_can_mean_is_one_line(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=where) as refused:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(refused.value)


def test_aliases_people_write_are_read(tmp_path: Path) -> None:
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n"
    (tmp_path / "a.yaml").write_text(text)
    one = {"x": 1}
    assert read_yaml(tmp_path / "a.yaml") == {"a": one, "b": {"x": 1, "y": 2}, "c": [one, one]}


def test_a_nul_in_a_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text('mlp: {command: "mlp\\0x"}\n')
    with pytest.raises(UserError, match=r"config.yaml: mlp.command: holds a NUL"):
        configuration(tmp_path)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    for path in (tmp_path / "a.yaml", Path("/dev/zero")):
        with pytest.raises(UserError, match="is no regular file"):
            read_yaml(path)
    (tmp_path / "b.json").write_text("[" * 10**6)
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "b.json")
    with (tmp_path / "c.yaml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="are no text of a campaign"):
        read_yaml(tmp_path / "c.yaml")


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


SCALARS = (
    st.text(max_size=20)
    | st.from_regex(r"[-+]?[0-9.]{0,6}[eE]?[-+]?[0-9]{1,9}", fullmatch=True)
    | st.sampled_from(["873e352259875215", "NO", "1e5", "012", "12:30:00", "~", "true", "<<", "="])
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)


@given(st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=3), max_size=4))
def test_what_is_written_is_read_back_as_it_was(data: dict) -> None:
    text = format_yaml(data)
    assert repr(parse_yaml(text, "a.yaml")) == repr(data)


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
    assert len(path.read_text().splitlines()) <= 125
