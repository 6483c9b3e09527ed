"""What stands between a plan and the cluster, whoever wrote it: rules, a model, or a person.

Every gate gives pass, warn or deny. Nothing a plan says is believed: ids are looked up, numbers
held against physics and limits, evidence against the state.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from atomistics.contract import Strict
from campaign.cost import Cost, cost
from campaign.errors import GateError
from campaign.evidence import fault
from campaign.plan import End, ModelEval, Plan, Prune, ReferenceCalc, Sample, SelectData, Train
from campaign.protocols import findings
from campaign.situation import Situation
from campaign.verdict import open_targets

WARN_AT = 0.8
TEMPERATURE_MARGIN = 1.05
REPETITIONS = 3


class Verdict(Strict):
    """What one gate says."""

    gate: str
    verdict: Literal["pass", "warn", "deny"]
    detail: str


Finding = tuple[Literal["warn", "deny"], str]


def check(plan: Plan, situation: Situation) -> list[Verdict]:
    """Every gate's verdict on a plan; one line for each fault, 'pass' where there is none."""
    verdicts = []
    for gate, finder in GATES:
        faults = list(finder(plan, situation))
        verdicts += [Verdict(gate=gate, verdict=kind, detail=text) for kind, text in faults]
        if not faults:
            verdicts.append(Verdict(gate=gate, verdict="pass", detail=""))
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


def _stale(plan: Plan, sit: Situation) -> Iterator[Finding]:
    if sit.state.verdict:
        yield "deny", f"the campaign has ended ({sit.state.verdict.outcome})"
    if plan.iteration != sit.iteration:
        yield "deny", f"iteration: {plan.iteration} is given, {sit.iteration} comes next"
    if plan.state_sha256 != sit.state_sha256:
        yield "deny", "state_sha256: decided from another state; write the plan anew"


def _task(_: Plan, sit: Situation) -> Iterator[Finding]:
    for key in ("targets", "temperature"):
        if getattr(sit.task, key) != getattr(sit.state, key):
            yield "deny", f"task.yaml: {key}: not as the campaign began with; put it back"
    names = {s.name for s in sit.task.subsystems}
    if names != {s.name for s in sit.state.subsystems}:
        yield "deny", "task.yaml: subsystems: not as the campaign began with; put them back"


def _evidence(plan: Plan, sit: Situation) -> Iterator[Finding]:
    for piece in plan.evidence:
        if text := fault(sit.state, piece):
            yield "deny", f"evidence {text}"


def _structures(plan: Plan, sit: Situation) -> Iterator[Finding]:
    known = {s.id: s for s in sit.structures}
    section = plan.parameters
    held_out = isinstance(section, (ReferenceCalc, ModelEval))
    wanted: list[tuple[str, str | None]] = []
    if isinstance(section, (ReferenceCalc, ModelEval)):
        wanted = [(name, None) for name in section.structures]
    elif isinstance(section, Sample):
        wanted = [(name, g.subsystem) for g in section.groups for name in g.structures]
    for name, subsystem in wanted:
        if name not in known:
            yield "deny", f"structures: {name} is not in structures/index.yaml"
        elif known[name].held_out != held_out:
            has = "is held out: it may not be sampled" if not held_out else "is not held out"
            yield "deny", f"structures: {name} {has}"
        elif subsystem not in (None, known[name].subsystem):
            yield "deny", f"structures: {name} belongs to {known[name].subsystem}, not {subsystem}"
    names = [name for name, _ in wanted]
    if len(set(names)) < len(names):
        yield "deny", "structures: a structure is named twice"


def _subsystems(plan: Plan, sit: Situation) -> Iterator[Finding]:
    section = plan.parameters
    if not isinstance(section, (Sample, SelectData)):
        return
    known = {s.name for s in sit.state.subsystems}
    names = [g.subsystem for g in section.groups]
    for name in sorted(set(names) - known):
        yield "deny", f"groups: no subsystem {name}"
    if len(set(names)) < len(names):
        yield "deny", "groups: a subsystem is named twice"


def _model(plan: Plan, sit: Situation) -> Iterator[Finding]:
    section = plan.parameters
    if isinstance(section, Prune) or (name := getattr(section, "model", None)) is None:
        return
    record = next((m for m in sit.state.models if m.id == name), None)
    if record is None:
        yield "deny", f"model: no model {name}"
    elif record.status != "ok":
        yield "deny", f"model: {name} is {record.status.replace('_', ' ')}"
    elif sit.model and name != sit.model.id and not isinstance(section, End):
        yield "warn", f"model: {name} is not the newest usable one ({sit.model.id})"


def _preconditions(plan: Plan, sit: Situation) -> Iterator[Finding]:
    section = plan.parameters
    yield from findings(plan, sit)
    if isinstance(section, ReferenceCalc) and not section.protocol:
        ready = {r.structure for r in sit.state.reference if r.status == "ok"}
        for name in sorted(ready & set(section.structures)):
            yield "warn", f"structures: {name} has its reference trajectory already"
    elif isinstance(section, SelectData):
        yield from _selectable(section, sit)
    elif isinstance(section, Train):
        yield from _trainable(section, sit)
    elif isinstance(section, ModelEval):
        yield from _measurable(section, sit)
    elif isinstance(section, Prune):
        yield from _prunable(section, sit)
    elif isinstance(section, End) and section.outcome == "converged":
        missed = open_targets(sit.state, section.model) if section.model else ["no model is named"]
        if missed:
            yield "deny", f"outcome: converged is not reached: {'; '.join(missed[:3])}"


def _selectable(section: SelectData, sit: Situation) -> Iterator[Finding]:
    known = {s.id: s for s in sit.state.samples}
    offered: set[str] = set()
    for name in section.samples:
        record = known.get(name)
        if record is None:
            yield "deny", f"samples: no sample {name}"
        elif record.selected_by is not None:
            yield "deny", f"samples: {name} was labelled from in iteration {record.selected_by}"
        else:
            offered |= {g.subsystem for g in record.groups if g.snapshots}
    for group in section.groups:
        if group.subsystem not in offered:
            yield "deny", f"groups: the samples hold no snapshot of {group.subsystem}"
    if len(set(section.samples)) < len(section.samples):
        yield "deny", "samples: a sample is named twice"


def _trainable(section: Train, sit: Situation) -> Iterator[Finding]:
    known = {d.id: d for d in sit.state.datasets}
    for name in section.datasets:
        if name not in known:
            yield "deny", f"datasets: no data set {name}"
        elif not known[name].active:
            yield "deny", f"datasets: {name} was pruned; restore it first"
    if not any(d.id in section.datasets for d in sit.active):
        yield "deny", "datasets: no label is left in them"
    if len(set(section.datasets)) < len(section.datasets):
        yield "deny", "datasets: a data set is named twice"


def _measurable(section: ModelEval, sit: Situation) -> Iterator[Finding]:
    references = {r.structure: r for r in sit.state.reference if r.status == "ok"}
    for name in section.structures:
        if name not in references:
            yield "deny", f"structures: {name} has no reference trajectory"
        elif references[name].temperature != section.temperature:
            kelvin = references[name].temperature
            yield "deny", f"temperature: the reference of {name} ran at {kelvin} K"
    targets = {name for s in sit.targets for name in sit.held_out(s.name)}
    reach = section.steps * sit.config.md.timestep / 1000
    if reach < sit.state.targets.stable_ps * (1 - 1e-9) and targets & set(section.structures):
        yield "warn", f"steps: {reach:g} ps cannot show {sit.state.targets.stable_ps:g} ps"


def _prunable(section: Prune, sit: Situation) -> Iterator[Finding]:
    models = {m.id: m for m in sit.state.models}
    datasets = {d.id: d for d in sit.state.datasets}
    for name in section.models:
        wanted = "rolled_back" if section.restore else "ok"
        if name not in models:
            yield "deny", f"models: no model {name}"
        elif models[name].status != wanted:
            yield "deny", f"models: {name} is {models[name].status.replace('_', ' ')}"
    for name in [*section.datasets, *(f.dataset for f in section.frames)]:
        if name not in datasets:
            yield "deny", f"datasets: no data set {name}"
    for frames in section.frames:
        if frames.dataset in datasets and max(frames.frames) >= datasets[frames.dataset].labels:
            yield "deny", f"frames: {frames.dataset} has no frame {max(frames.frames)}"
    out = set() if section.restore else set(section.datasets)
    if sit.active and all(d.id in out for d in sit.active):
        yield "deny", "datasets: nothing would be left to train on"


def _physics(plan: Plan, sit: Situation) -> Iterator[Finding]:
    section = plan.parameters
    interval, steps = getattr(section, "interval", 1), getattr(section, "steps", None)
    if steps and interval > steps:
        yield "deny", f"interval: {interval} is longer than the run of {steps} steps"
    if isinstance(section, (ReferenceCalc, ModelEval)):
        used = sit.state.temperature
        if section.temperature != used:
            yield "deny", f"temperature: {section.temperature} K, the targets hold at {used} K"
    if isinstance(section, Sample):
        ceilings = {s.name: s.max_temperature for s in sit.state.subsystems}
        for group in section.groups:
            highest = ceilings.get(group.subsystem, 10**6)
            for kelvin in group.temperatures:
                if kelvin > highest * TEMPERATURE_MARGIN:
                    yield "deny", f"temperatures: {kelvin} K, {group.subsystem} allows {highest} K"
        moves = steps and any(g.temperatures and g.ensembles for g in section.groups)
        staged = any(g.protocol for g in section.groups)
        if not (moves or section.compression or section.rattle or staged):
            yield "deny", "steps, temperatures, ensembles: nothing would be sampled"
    elif isinstance(section, SelectData):
        for group in section.groups:
            if (group.fraction or 0) > 0.5:
                yield "warn", f"fraction: {group.fraction:g} of {group.subsystem} is a lot"


def _limits(plan: Plan, sit: Situation) -> Iterator[Finding]:
    if isinstance(plan.parameters, End):
        return
    limits, spent, bound = sit.config.limits, sit.state.spent, cost(plan, sit)
    hours = sit.core_seconds / 3600
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
    ):
        reached = key == "core_hours" and before >= limit
        if reached or (after > limit and after > before):
            yield "deny", f"limits.{key}: {after:.6g} would exceed {limit:g} ({before:.6g} so far)"
        elif after > WARN_AT * limit:
            yield "warn", f"limits.{key}: {after:.6g} of {limit:g}"


def _loop(plan: Plan, sit: Situation) -> Iterator[Finding]:
    """A plan names its models, data sets and samples: the same again has seen nothing new.

    Fits, selections and prunings may excuse two more; nothing excuses the sixth, so that plans
    which undo each other by turns (fit, take back, fit, ...) are stopped as well.
    """
    total = sum(entry.fingerprint == plan.fingerprint for entry in sit.state.history)
    same = 0
    for entry in reversed(sit.state.history):
        if entry.fingerprint == plan.fingerprint:
            same += 1
        elif entry.outcome != "failed" and entry.action in ("train", "select_data", "prune"):
            break
    if same + 1 >= REPETITIONS:
        yield "deny", f"the same {plan.action} ran {same} times without a gain"
    elif total + 1 >= 2 * REPETITIONS:
        yield "deny", f"the same {plan.action} ran {total} times by turns with others"
    elif total:
        yield "warn", f"the same {plan.action} has run before"


GATES: tuple[tuple[str, Callable[[Plan, Situation], Iterator[Finding]]], ...] = (
    ("stale", _stale),
    ("task", _task),
    ("evidence", _evidence),
    ("structures", _structures),
    ("subsystems", _subsystems),
    ("model", _model),
    ("preconditions", _preconditions),
    ("physics", _physics),
    ("limits", _limits),
    ("loop", _loop),
)

__all__ = ["Cost", "Verdict", "check", "cost", "limit_faults", "require"]
