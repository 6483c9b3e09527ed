"""The state in brief for a model: the same keys, bounded in tokens whatever the campaign's length.

Recent things stand in full, older ones as counts. Detail is taken back step by step until the
digest fits. Strings that somebody outside wrote enter as short quotes and are listed.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from campaign.actions import Action
from campaign.situation import Situation
from campaign.state import State, SubsystemState
from planner.llm import tables
from planner.llm.tables import Detail
from planner.llm.untrusted import Quotes
from planner.policy.ending import best

PIECE = re.compile(r"[A-Za-z]{1,4}|\d{1,3}|[^\S\n]+|\n+|[^\sA-Za-z\d]")


LEVELS = (
    Detail(30, 8, 12, 100, 1500),
    Detail(20, 6, 8, 60, 1000),
    Detail(15, 4, 6, 30, 600),
    Detail(10, 3, 3, 20, 400),
    Detail(6, 2, 2, 10, 200),
    Detail(4, 1, 1, 5, 100),
    Detail(2, 1, 1, 2, 40),
)


@dataclass(frozen=True)
class Digest:
    """Text for the prompt, and what of it somebody outside wrote, by origin."""

    text: str
    quoted: dict[str, str]


def tokens_at_most(text: str) -> int:
    """Upper bound of the tokens of a text without a tokenizer: short pieces, three a rare sign."""
    pieces = len(PIECE.findall(text))
    return pieces + 2 * sum(ord(c) > 127 for c in text)


def digest(sit: Situation, action: Action | None, budget: int) -> Digest:
    """The brief for the decision maker (action None) or an action's specialist, within budget."""
    for level in LEVELS:
        quotes = Quotes()
        data = _brief(sit, level, quotes)
        if action is None:
            data |= _overview(sit, level, quotes)
        else:
            data[f"{action}_details"] = DETAILS[action](sit, level, quotes)
        text = json.dumps(_rounded(data), separators=(",", ":"), ensure_ascii=False)
        if tokens_at_most(text) <= budget:
            break
    return Digest(text, quotes.sources)


def everything(sit: Situation, budget: int) -> Digest:
    """The brief for a model that chooses action and parameters in one answer."""
    for level in LEVELS:
        quotes = Quotes()
        data = _brief(sit, level, quotes) | _overview(sit, level, quotes)
        for action, details in DETAILS.items():
            if action in ("sample", "reference_calc", "model_eval", "prune", "end"):
                sections = details(sit, level, quotes)
                data[f"{action}_details"] = {k: v for k, v in sections.items() if k not in data}
        text = json.dumps(_rounded(data), separators=(",", ":"), ensure_ascii=False)
        if tokens_at_most(text) <= budget:
            break
    return Digest(text, quotes.sources)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _brief(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    state, task = sit.state, sit.task
    shown = tables.shown(sit, level)
    return {
        "campaign": state.campaign,
        "iteration": state.iteration,
        "temperature": state.temperature,
        "task": {
            "description": quotes.quote(
                "task.yaml: description", task.description, level.description
            ),
            "species": task.species,
        },
        "targets": state.targets.model_dump(),
        "budget": _budget(sit),
        "subsystems": {s.name: _subsystem(sit, s) for s in shown},
        "subsystems_not_shown": len(state.subsystems) - len(shown),
        "newest_usable_model": sit.model.id if sit.model else None,
        **_protocols(sit),
    }


def _protocols(sit: Situation) -> dict[str, Any]:
    """Protocols a person has approved, which plans may name; nothing where there are none."""
    usable = {
        name: {"stages": i.stages, "steps": i.steps, "highest_temperature": i.highest}
        for name, i in list(sit.protocols.items())[:20]
        if not i.fault
    }
    return {"approved_protocols": usable} if usable else {}


def _subsystem(sit: Situation, s: SubsystemState) -> dict[str, Any]:
    fields = s.model_dump(exclude={"name", "selection"}, exclude_none=True)
    if s.selection:
        fields["selection"] = {
            "candidates": s.selection.candidates,
            "labels": s.selection.labels,
            "failed_labels": {c.kind: c.count for c in s.selection.failed[:6]},
            "rejected": {c.kind: c.count for c in s.selection.rejected[:6]},
        }
    return fields | {
        "training_structures": len(sit.training(s.name)),
        "held_out_structures": len(sit.held_out(s.name)),
        "reference_trajectories": len(sit.baselines(s.name)),
    }


def _budget(sit: Situation) -> dict[str, Any]:
    spent, limits = sit.state.spent, sit.config.limits
    pairs = {
        "labels": (spent.labels, limits.labels),
        "reference_calls": (spent.reference_calls, limits.reference_calls),
        "core_hours": (sit.core_seconds / 3600, limits.core_hours),
        "decisions": (sit.state.iteration, limits.decisions),
    }
    table = {key: {"spent": used, "limit": limit} for key, (used, limit) in pairs.items()}
    if sit.config.explorer:  # a bill of its own; only core-hours bound it
        table["explorer_calls"] = {"spent": spent.explorer_calls, "limit": None}
    return table


def _reference_stops(state: State) -> dict[str, int]:
    """Runs of the reference itself that stopped early, by class: no model is at fault there."""
    failures = Counter(r.stopped_by for r in state.reference if r.status == "failed")
    for sample in state.samples:
        for group in sample.groups if sample.method == "reference" else ():
            failures.update({stop.kind: stop.count for stop in group.stops})
    return dict(failures)


def _overview(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    state = sit.state
    older = state.history[: -level.history] if len(state.history) > level.history else []
    recent = state.history[len(older) :]
    return {
        "reference": dict(Counter(r.status for r in state.reference)),
        "reference_early_stops": _reference_stops(state),
        "models": tables.models(sit, level, quotes),
        "datasets": tables.datasets(sit, level),
        "datasets_not_in_newest_model": [d.id for d in sit.unused][-20:],
        "samples": tables.samples(sit, level),
        "samples_nothing_was_labelled_from": [s.id for s in sit.pending][-20:],
        "evaluations": tables.evaluations(sit, level, quotes),
        "open_targets": tables.misses(sit, sit.model.id if sit.model else None, quotes),
        "learning_curves": tables.learning_curves(sit, level),
        "cost_by_action": tables.cost_by_action(sit),
        "fits_refused_in_a_row": sit.refusals,
        "older_history": dict(Counter(f"{h.action} {h.outcome}" for h in older)),
        "history": [
            {
                "iteration": h.iteration,
                "action": h.action,
                "outcome": h.outcome,
                "note": quotes.quote(f"history.{h.iteration}.note", h.note, 160),
            }
            for h in recent
        ],
        "earlier_decisions": tables.earlier_decisions(sit, level, quotes),
    }


def _reference_calc(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    status = {r.structure: r.status for r in sit.state.reference}
    return {
        "held_out": tables.structures(sit, level, quotes, held_out=True),
        "status": {name: status[name] for name in list(status)[: 4 * level.structures]},
        "settings": sit.config.reference_calc.model_dump(),
    }


def _sample(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    return {
        "training": tables.structures(sit, level, quotes, held_out=False),
        "samples": tables.samples(sit, level),
        "model_settings": sit.config.model_sample.model_dump(),
        "reference_settings": sit.config.reference_sample.model_dump(),
    }


def _select_data(sit: Situation, level: Detail, _: Quotes) -> dict[str, Any]:
    return {
        "unselected": [s.id for s in sit.pending][-20:],
        "samples": tables.samples(sit, level),
        "datasets": tables.datasets(sit, level),
        "settings": sit.config.select_data.model_dump(),
    }


def _train(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    models = tables.models(sit, level, quotes)
    for m in sit.state.models[-min(3, level.records) :]:
        models[m.id]["errors"] = [
            {"subsystem": e.subsystem, "split": e.split, "force_mae": e.force_mae}
            for e in m.errors[: 2 * level.subsystems]
        ]
    return {
        "models": models,
        "datasets": tables.datasets(sit, level),
        "refused_in_a_row": sit.refusals,
    }


def _model_eval(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    ready = {
        s.name: sit.baselines(s.name)[: 2 * level.structures] for s in tables.shown(sit, level)
    }
    return {
        "with_reference_trajectory": ready,
        "timestep_fs": sit.config.md.timestep,
        "settings": sit.config.model_eval.model_dump(),
        "evaluations": tables.evaluations(sit, level, quotes),
    }


def _prune(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    newest = sit.state.models[-min(3, level.records) :]
    return {
        "models": tables.models(sit, level, quotes),
        "datasets": tables.datasets(sit, level),
        "outliers": {
            m.id: {o.dataset: o.frames[: 5 * level.structures] for o in m.outliers[-8:]}
            for m in newest
        },
    }


def _end(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    model = best(sit)
    return {
        "best_model": model,
        "open_targets_of_it": tables.misses(sit, model, quotes) if model else ["no usable model"],
        "evaluations": tables.evaluations(sit, level, quotes),
    }


DETAILS = {
    "reference_calc": _reference_calc,
    "sample": _sample,
    "select_data": _select_data,
    "train": _train,
    "model_eval": _model_eval,
    "prune": _prune,
    "end": _end,
}
