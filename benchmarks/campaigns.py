"""What benchmarks share that lead whole campaigns by the commands a user has."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml


def nep89(path: Path) -> dict[str, object]:
    """The `reference` section for NEP89's file."""
    return {
        "method": "ase",
        "calculator": "calorine.calculators:CPUNEP",
        "options": {"model_filename": str(path.resolve())},
    }


def stands(result: Path) -> bool:
    """Whether a campaign's result is on disk and final: one cut short goes on."""
    unfinished = ("not prepared", "not begun", "not ended")
    return result.is_file() and json.loads(result.read_text())["verdict"] not in unfinished


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def planner(words: list[object], folder: Path, hours: float) -> str:
    """One command; what stopped it, or nothing. Its output goes to a log beside the campaign."""
    log = Path(str(words[-1])).with_suffix(f".{words[0]}.log")
    command = [str(Path(sys.executable).with_name("planner")), *map(str, words)]
    with log.open("a") as stream:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdout=stream,
                stderr=stream,
                check=False,
                timeout=3600 * hours,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            return f"no verdict within {hours:g} h; the same command goes on"
    lines = log.read_text().strip().splitlines()
    return "" if done.returncode == 0 else (lines or ["no word"])[-1][:300]


def facts(folder: Path) -> dict:
    """What the campaign's own files say."""
    states = sorted(folder.glob("iterations/*/state.yaml"))
    if not states:
        return {"verdict": "not begun"}
    state = yaml.safe_load(states[-1].read_text())
    ledger = (states[-1].parent / "ledger.jsonl").read_text().strip().splitlines()
    verdict = state.get("verdict") or {}
    model = verdict.get("model")
    last = next((m for m in state["models"] if m["id"] == model), None)
    held = [e["force_mae"] for e in (last or {}).get("errors", []) if e["split"] == "held_out"]
    spent = state["spent"]
    return {
        "verdict": verdict.get("outcome", "not ended"),
        "reasons": verdict.get("reasons", [])[:3],
        "model": model,
        "iterations": state["iteration"],
        "rounds": max((s["rounds"] for s in state["subsystems"]), default=0),
        "labels": spent["labels"],
        "reference_calls": spent["reference_calls"],
        "core_minutes": round(json.loads(ledger[-1])["total"]["core_seconds"] / 60, 1),
        "held_out_force_mae": max(held, default=None),
    }
