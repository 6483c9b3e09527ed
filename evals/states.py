"""States to decide in: the paper's run, and scenarios written as changes of a few base states."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.config import Config, Task
from campaign.errors import UserError
from campaign.evidence import IDENTITY
from campaign.files import canonical_json, parse, sha256
from campaign.plan import SECTIONS
from campaign.reduce import after
from campaign.situation import Situation, StructureInfo
from campaign.state import State, start
from planner.policy import rules

HERE = Path(__file__).parent
PAPER = TOOLKIT / "tests" / "data" / "paper" / "run.yaml"


@dataclass(frozen=True)
class Scenario:
    """One state with what may and what must not be done in it."""

    name: str
    situation: Situation
    acceptable: list[dict[str, Any]]
    forbidden: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""


def config_of(overlay: dict[str, Any]) -> Config:
    """The default configuration with sections laid over it."""
    base = read_yaml(TOOLKIT / "config" / "default.yaml")
    for name, section in overlay.items():
        base[name] = {**(base.get(name) or {}), **section} if isinstance(section, dict) else section
    return parse(Config, base, "evals")


@cache
def _bases() -> dict[str, Any]:
    return read_yaml(HERE / "bases.yaml")


def scenarios() -> list[Scenario]:
    """Every scenario of `scenarios/*.yaml`."""
    rows = []
    for path in sorted((HERE / "scenarios").glob("*.yaml")):
        entries = {entry["name"]: entry for entry in read_yaml(path)}
        rows += [_scenario(_alike(entry, entries), path) for entry in entries.values()]
    return rows


def _alike(entry: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    """An entry with what it takes over from the one it is `like`; its own changes come last."""
    if "like" not in entry:
        return entry
    model = entries[entry["like"]]
    return {**model, **entry, "change": {**model.get("change", {}), **entry.get("change", {})}}


def _scenario(entry: dict[str, Any], path: Path) -> Scenario:
    bases = _bases()
    where = f"{path}: {entry['name']}"
    data = {
        "state": bases["states"][entry["base"]],
        "task": bases["task"],
        "structures": {s["id"]: s for s in bases["structures"]},
        "core_seconds": 10.0,
        "wall_hours": 0.0,
    }
    for key, value in [*_spelled_out(entry, data), *entry.get("change", {}).items()]:
        data = _changed(data, key.split("."), value, where)
    state = parse(State, data["state"], where)
    situation = Situation(
        state=state,
        task=parse(Task, data["task"], where),
        config=config_of(entry.get("config", {})),
        structures=[parse(StructureInfo, s, where) for s in data["structures"].values() if s],
        core_seconds=float(data["core_seconds"]),
        state_sha256=sha256(canonical_json(state.model_dump(mode="json"))),
        wall_hours=float(data["wall_hours"]),
    )
    return Scenario(
        entry["name"], situation, entry["acceptable"], entry.get("forbidden", []), entry["why"]
    )


def _spelled_out(entry: dict[str, Any], data: dict[str, Any]) -> list[tuple[str, Any]]:
    """Two changes that recur: early stops of the last sampling, force error of a fit."""
    changes: list[tuple[str, Any]] = []
    for name, stops in entry.get("stops", {}).items():
        rounds = [s for s in data["state"]["samples"] if s["method"] == "model"]
        sample = next(s for s in reversed(rounds) if name in [g["subsystem"] for g in s["groups"]])
        group = next(g for g in sample["groups"] if g["subsystem"] == name)
        place = f"state.samples.{sample['id']}.groups.{name}"
        changes += [
            (f"{place}.early_stops", stops),
            (f"{place}.stops", [{"kind": "temperature", "count": stops}] if stops else []),
            (f"state.subsystems.{name}.early_stop_fraction", stops / group["runs"]),
        ]
    for model, mae in entry.get("force_mae", {}).items():
        record = next(m for m in data["state"]["models"] if m["id"] == model)
        for number in range(len(record["errors"])):
            changes.append((f"state.models.{model}.errors.#{number}.force_mae", mae))
    return changes


def _changed(data: Any, path: list[str], value: Any, where: str) -> Any:
    """A copy of `data` with one thing changed; list items go by identity, `+`, `++`, ... append."""
    head, rest = path[0], path[1:]
    if isinstance(data, list):
        if not head.strip("+"):
            return [*data, value]
        for number, item in enumerate(data):
            if head in [str(item.get(name)) for name in IDENTITY] or head == f"#{number}":
                new = _changed(item, rest, value, where) if rest else value
                return [*data[:number], new, *data[number + 1 :]]
        raise UserError(f"{where}: {head}: no such item")
    new = _changed(data.get(head, {}), rest, value, where) if rest else value
    return {**data, head: new}


def paper() -> list[Scenario]:
    """The 21 states of the paper's run, each with the actions that are sound there."""
    data = read_yaml(PAPER)
    task, config = parse(Task, data["task"], str(PAPER)), config_of(data["config"])
    structures = [parse(StructureInfo, s, str(PAPER)) for s in data["structures"]]
    state, rows = start(task), []
    for number, (step, sound) in enumerate(
        zip(data["steps"], read_yaml(HERE / "paper.yaml"), strict=True), start=1
    ):
        digest = sha256(canonical_json(state.model_dump(mode="json")))
        situation = Situation(state, task, config, structures, 0.0, digest)
        rows.append(
            Scenario(
                f"paper-{number:02d}",
                situation,
                sound["acceptable"],
                sound.get("forbidden", []),
                sound["why"],
            )
        )
        plan = rules.decide(situation)
        if plan.action != step["action"]:
            raise UserError(f"{PAPER}: step {number}: rules choose {plan.action} now")
        result = parse(SECTIONS[step["action"]].result, step["result"], f"{PAPER}: step {number}")
        state = after(state, plan, result, (digest, digest))
    return rows


def everything() -> Iterable[Scenario]:
    """The paper's states and all scenarios."""
    return [*paper(), *scenarios()]
