"""What stands between a plan and the cluster, whoever wrote it: rules, a model, or a person.

Every gate gives pass, warn or deny. Nothing a plan says is believed: ids are looked up, numbers
held against physics and limits, evidence against the state.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from atomistics.contract import Strict
from campaign.actions.section import Cost, Fault
from campaign.budget import exhausted, overdrawn, reserved_calls
from campaign.cost import cost
from campaign.errors import GateError
from campaign.evidence import fault
from campaign.plan import SECTIONS, Plan
from campaign.protocols import findings
from campaign.situation import Situation, unjudged
from campaign.verdict import open_targets, unmeasured

WARN_AT = 0.8
REPETITIONS = 3


class GateVerdict(Strict):
    """What one gate says."""

    gate: str
    verdict: Literal["pass", "warn", "deny"]
    detail: str


def check(plan: Plan, situation: Situation) -> list[GateVerdict]:
    """Every gate's verdict on a plan; one line for each fault, 'pass' where there is none."""
    verdicts = []
    for gate, faults_of in GATES:
        faults = list(faults_of(plan, situation))
        verdicts += [GateVerdict(gate=gate, verdict=kind, detail=text) for kind, text in faults]
        if not faults:
            verdicts.append(GateVerdict(gate=gate, verdict="pass", detail=""))
    return verdicts


def require(plan: Plan, situation: Situation) -> None:
    """Raise GateError naming every gate that denies, in one line."""
    denied = [f"{v.gate}: {v.detail}" for v in check(plan, situation) if v.verdict == "deny"]
    if denied:
        place = f"iterations/{plan.iteration:03d}/plan.yaml"
        raise GateError(f"{place}: {plan.action} may not run: {'; '.join(denied)}")


def limit_faults(plan: Plan, situation: Situation) -> list[str]:
    """Limits a plan would break."""
    return [text for kind, text in _limits(plan, situation) if kind == "deny"]


def _stale(plan: Plan, sit: Situation) -> Iterator[Fault]:
    if sit.state.verdict:
        yield "deny", f"the campaign has ended ({sit.state.verdict.outcome})"
    if plan.iteration != sit.iteration:
        yield "deny", f"iteration: {plan.iteration} is given, {sit.iteration} comes next"
    if plan.state_sha256 != sit.state_sha256:
        yield "deny", "state_sha256: decided from another state; write the plan anew"


def _task(_: Plan, sit: Situation) -> Iterator[Fault]:
    for key in sit.state.unlike(sit.task):
        yield "deny", f"task.yaml: {key}: not as the campaign began with; put it back"
    names = {s.name for s in sit.task.subsystems}
    if names != {s.name for s in sit.state.subsystems}:
        yield "deny", "task.yaml: subsystems: not as the campaign began with; put them back"


def _evidence(plan: Plan, sit: Situation) -> Iterator[Fault]:
    for piece in plan.evidence:
        if text := fault(sit.state, piece):
            yield "deny", f"evidence {text}"


def _structures(plan: Plan, sit: Situation) -> Iterator[Fault]:
    entries = {s.id: s for s in sit.structures}
    section = plan.parameters
    wanted = section.named_structures()
    for name, subsystem in wanted:
        if name not in entries:
            yield "deny", f"structures: {name} is not in structures/index.yaml"
        elif entries[name].held_out != section.held_out:
            has = "is not held out" if section.held_out else "is held out: it may not be sampled"
            yield "deny", f"structures: {name} {has}"
        elif entries[name].single_point:
            yield "deny", f"structures: {name} is a single point, no start of MD"
        elif subsystem not in (None, entries[name].subsystem):
            place = entries[name].subsystem
            yield "deny", f"structures: {name} belongs to {place}, not {subsystem}"
    names = [name for name, _ in wanted]
    if len(set(names)) < len(names):
        yield "deny", "structures: a structure is named twice"


def _subsystems(plan: Plan, sit: Situation) -> Iterator[Fault]:
    names = [g.subsystem for g in getattr(plan.parameters, "groups", ())]
    for name in sorted(set(names) - {s.name for s in sit.state.subsystems}):
        yield "deny", f"groups: no subsystem {name}"
    if len(set(names)) < len(names):
        yield "deny", "groups: a subsystem is named twice"


def _model(plan: Plan, sit: Situation) -> Iterator[Fault]:
    if (name := getattr(plan.parameters, "model", None)) is None:
        return
    record = next((m for m in sit.state.models if m.id == name), None)
    if record is None:
        yield "deny", f"model: no model {name}"
    elif record.status != "ok":
        yield "deny", f"model: {name} is {record.status.replace('_', ' ')}"
    elif sit.model and name != sit.model.id and plan.action != "end":
        yield "warn", f"model: {name} is not the newest usable one ({sit.model.id})"


def _preconditions(plan: Plan, sit: Situation) -> Iterator[Fault]:
    yield from findings(plan.parameters.named_protocols(sit), sit)
    yield from plan.parameters.preconditions(sit)


def _physics(plan: Plan, sit: Situation) -> Iterator[Fault]:
    section = plan.parameters
    interval, steps = getattr(section, "interval", 1), getattr(section, "steps", None)
    if steps and interval > steps:
        yield "deny", f"interval: {interval} is longer than the run of {steps} steps"
    kelvin = getattr(section, "temperature", sit.state.temperature)
    if kelvin != sit.state.temperature:
        yield "deny", f"temperature: {kelvin} K, the targets hold at {sit.state.temperature} K"
    yield from section.physics(sit)


def _limits(plan: Plan, sit: Situation) -> Iterator[Fault]:
    if plan.action == "end":
        return
    limits, spent, bound = sit.config.limits, sit.state.spent, cost(plan, sit)
    hours = sit.core_seconds / 3600
    kept = sum(g.snapshots for s in sit.state.samples for g in s.groups)
    each = bound.disk / max(1, bound.snapshots)
    for key, before, after, limit in (
        ("labels", spent.labels, spent.labels + bound.labels, limits.labels),
        (
            "reference_calls",
            spent.reference_calls,
            spent.reference_calls + bound.reference_calls,
            limits.reference_calls,
        ),
        ("core_hours", hours, hours + bound.core_seconds / 3600, limits.core_hours),
        ("decisions", sit.state.iteration, plan.iteration, limits.decisions),
        ("snapshots", kept, kept + bound.snapshots, limits.snapshots),
        ("disk", kept * each, kept * each + bound.disk, limits.disk),
    ):
        reached = key == "core_hours" and before >= limit
        if reached or (after > limit and after > before):
            yield "deny", f"limits.{key}: {after:.6g} would exceed {limit:g} ({before:.6g} so far)"
        elif after > WARN_AT * limit:
            yield "warn", f"limits.{key}: {after:.6g} of {limit:g}"
    yield from _set_aside(plan, sit, bound)
    if limits.wall_hours and sit.wall_hours + bound.longest_run / 3600 > limits.wall_hours:
        hours = bound.longest_run / 3600
        duration = f"a run takes about {hours:.3g} h, {sit.wall_hours:.3g} have passed"
        yield "deny", f"limits.wall_hours: {duration} of {limits.wall_hours:g}"


def _set_aside(plan: Plan, sit: Situation, bound: Cost) -> Iterator[Fault]:
    """The target's part of the labels, and the calls of the last evaluation."""
    if plan.action not in ("sample", "select_data") or not bound.labels:
        return
    wanted = plan.parameters.labels_by_subsystem(sit.state)
    for role, ours, room in overdrawn(sit, wanted):
        yield "deny", f"limits.target_share: {ours} labels up to role {role}, {room} are theirs"
    calls = sit.config.limits.reference_calls - sit.state.spent.reference_calls
    if calls - bound.reference_calls < (needed := reserved_calls(sit)):
        rest = max(0, calls - bound.reference_calls)
        yield "deny", f"limits.reference_calls: {rest} would be left, the last evaluation: {needed}"


def _ending(plan: Plan, sit: Situation) -> Iterator[Fault]:
    """An end is what the state shows, whoever asks for it."""
    if plan.end is None or plan.end.outcome == "converged":
        return
    outcome = plan.end.outcome
    for model in reversed(sit.state.usable_models):
        if not open_targets(sit.state, model.id) and not unjudged(sit):
            yield "deny", f"outcome: {outcome}, yet {model.id} meets every target: converged"
            return
    spent = exhausted(sit)
    if outcome == "fitted" and sit.config.limits.reference_calls:
        yield "deny", "outcome: fitted, yet there is a reference: limits.reference_calls is not 0"
    if outcome == "budget_exhausted" and plan.rule is None and not spent:
        yield "deny", "outcome: budget_exhausted, yet no limit is reached"
    if outcome == "failed" and plan.rule is None and not spent and _rounds_left(sit):
        names = ", ".join(_rounds_left(sit))
        yield "deny", f"outcome: failed, yet budget is left and rounds of {names}"
    if outcome == "blocked":
        if not plan.end.recommendation.strip():
            yield "deny", "recommendation: blocked, but it does not say what is to be mended"
        if plan.rule is None and not _obstructed(sit):
            yield "deny", "outcome: blocked, yet nothing has failed and nothing is missing"


def _rounds_left(sit: Situation) -> list[str]:
    most = sit.config.rules.max_rounds
    return [s.name for s in sit.targets if sit.training(s.name) and s.rounds < most]


def _obstructed(sit: Situation) -> bool:
    """Whether something lately failed, or is not there, that only a person can mend."""
    failed = any(h.outcome != "ok" for h in sit.state.history[-10:])
    labels = any(g.failed for d in sit.state.datasets for g in d.groups)
    lost = any(g.failed_runs for s in sit.state.samples for g in s.groups)
    missing = any(not sit.held_out(s.name) or not sit.training(s.name) for s in sit.targets)
    vague = bool(sit.model and unmeasured(sit.state, sit.model.id))
    return failed or labels or lost or missing or vague or bool(unjudged(sit) or sit.refusals)


def _loop(plan: Plan, sit: Situation) -> Iterator[Fault]:
    """A plan names its models, data sets and samples: the same again has seen nothing new.

    Fits, selections and prunings may excuse two more; nothing excuses the sixth, so that plans
    which undo each other by turns (fit, take back, fit, ...) are stopped as well.
    """
    total = sum(entry.fingerprint == plan.fingerprint for entry in sit.state.history)
    same = 0
    for entry in reversed(sit.state.history):
        if entry.fingerprint == plan.fingerprint:
            same += 1
        elif entry.outcome != "failed" and SECTIONS[entry.action].excuses_repetition:
            break
    if same + 1 >= REPETITIONS:
        yield "deny", f"the same {plan.action} ran {same} times without a gain"
    elif total + 1 >= 2 * REPETITIONS:
        yield "deny", f"the same {plan.action} ran {total} times by turns with others"
    elif total:
        yield "warn", f"the same {plan.action} has run before"


GATES: tuple[tuple[str, Callable[[Plan, Situation], Iterator[Fault]]], ...] = (
    ("stale", _stale),
    ("task", _task),
    ("evidence", _evidence),
    ("structures", _structures),
    ("subsystems", _subsystems),
    ("model", _model),
    ("preconditions", _preconditions),
    ("physics", _physics),
    ("limits", _limits),
    ("ending", _ending),
    ("loop", _loop),
)
