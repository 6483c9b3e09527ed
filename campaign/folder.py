"""Where a campaign keeps its files, and how they are read; the one place that knows paths."""

import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from atomistics.structure_index import INDEX, read_index
from atomistics.yaml_files import read_text, read_yaml, refuse_nul
from campaign import TOOLKIT
from campaign.config import Config, Task
from campaign.errors import UserError
from campaign.estimate import rates
from campaign.files import parse, read, read_json, sha256
from campaign.ledger import totals
from campaign.plan import Plan
from campaign.protocols import all_protocols
from campaign.situation import CostByAction, EarlierDecision, Situation, StructureInfo
from campaign.state import State, read_state, start


@dataclass(frozen=True)
class Campaign:
    """A folder the user owns: task, config, structures, numbered iterations."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Campaign":
        """The campaign in `folder`; UserError when it is none."""
        if not (folder / "task.yaml").is_file():
            raise UserError(f"{folder}/task.yaml: no such file; run inside a campaign folder")
        return cls(folder.resolve())

    @cached_property
    def task(self) -> Task:
        """What the potential is for."""
        return read(Task, self.folder / "task.yaml")

    @cached_property
    def config(self) -> Config:
        """The toolkit's defaults with the campaign's config.yaml laid over them."""
        return configuration(self.folder)

    @cached_property
    def structures(self) -> list[StructureInfo]:
        """What the index says of every structure; the jobs read and check the files."""
        path = self.folder / "structures" / INDEX
        structures = [
            StructureInfo.model_validate(
                {key: getattr(s, key) for key in StructureInfo.model_fields}
            )
            for s in read_index(self.folder / "structures", files=False)
        ]
        subsystems = {s.name for s in self.task.subsystems}
        for structure in structures:
            if structure.subsystem not in subsystems:
                raise UserError(
                    f"{path}: {structure.id}: subsystem {structure.subsystem!r} is not in task.yaml"
                    f" ({', '.join(sorted(subsystems))})"
                )
        return structures

    @property
    def result(self) -> Path:
        """Where people find the potential and its papers once there is a verdict."""
        return self.folder / "result"

    def iteration(self, number: int) -> Path:
        """Folder of one iteration."""
        return self.folder / "iterations" / f"{number:03d}"

    @cached_property
    def last(self) -> int:
        """Number of the last iteration that has a plan or is finalized, 0 before the first."""
        root = self.folder / "iterations"
        numbers = [
            int(p.name)
            for p in (root.iterdir() if root.is_dir() else ())
            if p.name.isdigit() and any(_there(p / f) for f in ("plan.yaml", "state.yaml"))
        ]
        return max(numbers, default=0)

    @property
    def pending(self) -> Plan | None:
        """The plan that has not been carried out, if there is one."""
        if not self.last or _there(self.state_file(self.last)):
            return None
        return self.plan(self.last)

    @property
    def finalized(self) -> int:
        """Number of the last finalized iteration, 0 before the first."""
        return self.last - 1 if self.last and not _there(self.state_file(self.last)) else self.last

    def plan(self, number: int) -> Plan:
        """The plan of one iteration, checked against its place."""
        path = self.iteration(number) / "plan.yaml"
        plan = read(Plan, path)
        if plan.iteration != number:
            raise UserError(f"{path}: iteration: {plan.iteration} stands in folder {number:03d}")
        return plan

    def state_file(self, number: int) -> Path:
        """The file that closes one iteration."""
        return self.iteration(number) / "state.yaml"

    def state(self, number: int | None = None) -> State:
        """The state after one iteration (default: the last finalized one), 0: before the first.

        That of 0 is a file where labels were imported.
        """
        number = self.finalized if number is None else number
        written = number or _there(self.state_file(0))
        return read_state(self.state_file(number)) if written else start(self.task)

    def state_sha256(self, number: int | None = None) -> str:
        """Hash of the state file; 'start' before the first iteration where nothing was imported."""
        number = self.finalized if number is None else number
        if not number and not _there(self.state_file(0)):
            return "start"
        return sha256(read_text(self.state_file(number)))

    def core_seconds(self, number: int | None = None) -> float:
        """Core-seconds of all finalized iterations, from the last line of the last ledger."""
        number = self.finalized if number is None else number
        ledger = totals(self.iteration(number) / "ledger.jsonl") if number else {}
        return float(ledger.get("core_seconds", 0.0))

    def bill(self, number: int) -> CostByAction:
        """Core-seconds, calls and MD steps of all finalized iterations up to one, by action."""
        return totals(self.iteration(number) / "ledger.jsonl").get("by_action", {})

    def earlier_decision(self, number: int) -> EarlierDecision | None:
        """Why the plan of an iteration was chosen; None where no record says so."""
        path = self.iteration(number) / "decision.json"
        if not path.is_file():
            return None
        record = read_json(path, "plan", "source")
        chosen = record.get("choice") or {}
        reason, intent = record["plan"]["reason"], chosen.get("intent", "")
        return EarlierDecision(record["source"], reason, intent)

    @property
    def wall_hours(self) -> float:
        """Hours since the first decision was written."""
        first = self.iteration(1) / "decision.json"
        return (time.time() - first.stat().st_mtime) / 3600 if first.is_file() else 0.0

    def situation(self) -> Situation:
        """What the next decision is taken from."""
        return Situation(
            state=self.state(),
            task=self.task,
            config=self.config,
            structures=self.structures,
            core_seconds=self.core_seconds(),
            state_sha256=self.state_sha256(),
            protocols=all_protocols(self.folder),
            rates=rates(self.state(), self.config, self.bill),
            wall_hours=self.wall_hours,
            bill=self.bill(self.finalized) if self.finalized else {},
            earlier_decision=cache(self.earlier_decision),
        )


def _there(path: Path) -> bool:
    """Whether something goes by this name; what is no file is read, and its reader says so."""
    return path.exists() or path.is_symlink()


def configuration(folder: Path) -> Config:
    """The toolkit's defaults with a folder's config.yaml, if there is one, laid over them."""
    defaults = read_yaml(TOOLKIT / "config" / "default.yaml")
    path = folder / "config.yaml"
    overlay = read_yaml(path) if _there(path) else None
    refuse_nul(overlay, str(path))
    if overlay is not None and not isinstance(overlay, dict):
        raise UserError(f"{path}: must be a mapping of config keys")
    return parse(Config, _overlaid(defaults, overlay or {}), str(path))


def _overlaid(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _overlaid(base[key], value) if both and key != "options" else value
    return merged
