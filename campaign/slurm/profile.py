"""slurm/profile.yaml of a campaign, as far as `planner doctor` judges it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomistics.yaml_files import read_yaml
from campaign.errors import UserError

TEXTS = {
    "slurm_partition": "partition",
    "slurm_account": "account",
    "constraint": "constraint",
    "qos": "qos",
}
NUMBERS = {
    "runtime": "time",
    "nodes": "nodes",
    "tasks": "ntasks",
    "tasks_per_node": "ntasks-per-node",
    "cpus_per_task": "cpus-per-task",
    "mem_mb": "mem",
    "mem_mb_per_cpu": "mem-per-cpu",
}
RULES = (
    *("settle", "reference_md", "sample_md", "choose", "label"),
    *("train_inputs", "fit", "train", "evaluate"),
)


@dataclass(frozen=True)
class Profile:
    """Site facts, rule by rule."""

    path: Path
    keys: dict[str, Any]

    @classmethod
    def at(cls, folder: Path) -> "Profile":
        """The profile of a campaign folder; UserError when it is no mapping."""
        path = folder / "slurm/profile.yaml"
        keys = read_yaml(path)
        if not isinstance(keys, dict):
            raise UserError(f"{path}: must be a mapping; copy profiles/slurm of mtpilot again")
        return cls(path, keys)

    def resources(self, rule: str) -> dict[str, Any]:
        """What a job of this rule asks for."""
        own = (self.keys.get("set-resources") or {}).get(rule) or {}
        return {**(self.keys.get("default-resources") or {}), **own}

    def number(self, rule: str, resource: str) -> int | None:
        """A resource at the first attempt; None when it is not given or no product of numbers."""
        words = re.split(r"\s*\*\s*", str(self.resources(rule).get(resource, "")).strip())
        factors = [1 if word == "attempt" else word for word in words]
        if not all(str(f).isdecimal() for f in factors):
            return None
        product = 1
        for factor in factors:
            product *= int(factor)
        return product

    def options(self, rule: str) -> list[str]:
        """What a job of this rule asks of `sbatch` at its first attempt."""
        asked = self.resources(rule)
        if asked.get("mem_mb_per_cpu"):
            asked.pop("mem_mb", None)
        options = [f"--{option}={asked[key]}" for key, option in TEXTS.items() if asked.get(key)]
        for key, option in NUMBERS.items():
            if key in asked and (number := self.number(rule, key)):
                options.append(f"--{option}={number}")
        return options + shlex.split(str(asked.get("slurm_extra") or ""))

    def launcher(self, rule: str) -> list[str]:
        """Words that start the ranks of this rule; empty where it has none."""
        return shlex.split(str(self.resources(rule).get("mpi") or ""))

    @property
    def setup(self) -> str:
        """Words of shell that do what every job begins with."""
        script = self.path.with_name("setup.sh")
        return f". {shlex.quote(str(script.resolve()))}" if script.is_file() else "true"
