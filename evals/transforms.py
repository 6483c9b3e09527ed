"""Changes of a state that must not change the decision: other names, other order, other counts."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from campaign.plan import Plan
from campaign.situation import Situation, StructureInfo

COMPOUNDS = ("quartz", "feldspar", "brine", "glaze", "spinel", "zeolite", "resin", "halite")


def names_of(situation: Situation) -> dict[str, str]:
    """Another name for every subsystem."""
    names = [s.name for s in situation.state.subsystems]
    return dict(zip(names, COMPOUNDS, strict=False))


def renamed(situation: Situation) -> Situation:
    """The same state of other compounds."""
    table = names_of(situation)
    return _rebuilt(situation, lambda value: _substituted(value, table))


def permuted(situation: Situation) -> Situation:
    """The same state with subsystems of a stage and structures in another order."""
    state, task = situation.state, situation.task
    order = list(reversed(state.subsystems))
    order.sort(key=lambda s: s.stage)
    tasks = {s.name: s for s in task.subsystems}
    return replace(
        situation,
        state=state.model_copy(update={"subsystems": order}),
        task=task.model_copy(
            update={"subsystems": [tasks[s.name] for s in order if s.name in tasks]}
        ),
        structures=list(reversed(situation.structures)),
    )


def rescaled(situation: Situation) -> Situation:
    """Three times the snapshots, labels, frames, calls, and three times the limits."""
    limits = situation.config.limits
    config = situation.config.model_copy(
        update={
            "limits": limits.model_copy(
                update={
                    "labels": 3 * limits.labels,
                    "reference_calls": 3 * limits.reference_calls,
                    "core_hours": 3 * limits.core_hours,
                    "snapshots": 3 * limits.snapshots,
                }
            ),
            "model_eval": situation.config.model_eval.model_copy(
                update={
                    "fresh_frames": 3 * situation.config.model_eval.fresh_frames,
                    "fresh_most": 3 * situation.config.model_eval.fresh_most,
                }
            ),
        }
    )
    tripled = _rebuilt(situation, _tripled)
    return replace(
        tripled,
        config=config,
        core_seconds=3 * situation.core_seconds,
        task=situation.task,
        structures=situation.structures,
    )


TRANSFORMS: dict[str, Callable[[Situation], Situation]] = {
    "renamed": renamed,
    "permuted": permuted,
    "rescaled": rescaled,
}


def same_decision(name: str, before: Situation, own: Plan, other: Plan) -> bool:
    """Whether the decision in the changed state is the one in the state before."""
    if own.action != other.action or name != "renamed":
        return own.action == other.action
    table = names_of(before)
    expected = _substituted(own.parameters.model_dump(mode="json"), table)
    return expected == other.parameters.model_dump(mode="json")


def _rebuilt(situation: Situation, change: Callable[[Any], Any]) -> Situation:
    state, task = situation.state, situation.task
    return replace(
        situation,
        state=type(state).model_validate(change(state.model_dump(mode="json"))),
        task=type(task).model_validate(change(task.model_dump(mode="json"))),
        structures=[
            StructureInfo.model_validate(change(s.model_dump(mode="json")))
            for s in situation.structures
        ],
    )


def _substituted(value: Any, table: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _substituted(v, table) for k, v in value.items()}
    if isinstance(value, list):
        return [_substituted(v, table) for v in value]
    if isinstance(value, str):
        longest = sorted(table, key=len, reverse=True)
        pattern = "|".join(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])" for name in longest)
        return re.sub(pattern, lambda m: table[m[0]], value)
    return value


SCALED = (
    "labels",
    "snapshots",
    "frames",
    "candidates",
    "reference_calls",
    "count",
    "atoms",
    "reference_md_steps",
    "model_md_steps",
)


def _tripled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _scaled(key, item) for key, item in value.items()}
    return [_tripled(item) for item in value] if isinstance(value, list) else value


def _scaled(key: str, value: Any) -> Any:
    if key == "excluded":
        return [3 * frame + n for frame in value for n in range(3)]
    return 3 * value if key in SCALED and isinstance(value, int) else _tripled(value)
