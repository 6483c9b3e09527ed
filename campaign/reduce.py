"""How a result changes the state; pure functions, one an action."""

from collections.abc import Iterable
from typing import Any

from campaign.plan import Plan
from campaign.results import (
    EndResult,
    ModelEvalResult,
    ProtocolRun,
    PruneResult,
    ReferenceCalcResult,
    Result,
    SampleResult,
    SelectDataResult,
    SelectGroupResult,
    TrainResult,
)
from campaign.state import (
    DatasetRecord,
    EvaluationRecord,
    HistoryEntry,
    ModelRecord,
    SampleRecord,
    State,
    SubsystemState,
)
from campaign.verdict import shortfalls


def after(state: State, plan: Plan, result: Result, hashes: tuple[str, str]) -> State:
    """The state once `plan` has given `result`; hashes are those of the plan and of `state`."""
    changed, outcome, note = _FOLDS[plan.action](state, plan, result)
    entry = HistoryEntry(
        iteration=plan.iteration,
        action=plan.action,
        rule=plan.rule,
        outcome=outcome,
        note=note,
        fingerprint=plan.fingerprint,
    )
    return changed.model_copy(
        update={
            "iteration": plan.iteration,
            "history": [*state.history, entry],
            "plan_sha256": hashes[0],
            "previous_sha256": hashes[1],
        }
    )


def _spend(state: State, **amounts: int) -> dict[str, Any]:
    return {
        "spent": state.spent.model_copy(
            update={key: getattr(state.spent, key) + n for key, n in amounts.items()}
        )
    }


def _subsystems(state: State, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"subsystems": [s.model_copy(update=changes.get(s.name, {})) for s in state.subsystems]}


def _outcome(bad: int, total: int) -> str:
    if not bad:
        return "ok"
    return "failed" if bad == total else "partial"


def _reference_calc(state: State, _: Plan, result: ReferenceCalcResult) -> tuple[State, str, str]:
    new = {r.structure for r in result.structures}
    kept = [r for r in state.reference if r.structure not in new]
    failed = sum(r.status == "failed" for r in result.structures)
    changed = state.model_copy(
        update={
            "reference": [*kept, *result.structures],
            **_spend(
                state,
                reference_calls=result.reference_calls,
                reference_md_steps=result.md_steps,
            ),
        }
    )
    count = len(result.structures)
    note = f"reference MD of {count - failed}/{count} held-out structures"
    runs = result.protocol_runs or []
    failed += sum(run.stop is not None for run in runs)
    return changed, _outcome(failed, count + len(runs)), note + _measured(runs)


def _sampled(subsystem: SubsystemState, group: Any) -> dict[str, Any]:
    finished = group.runs - group.failed_runs
    before = subsystem.early_stop_fraction
    return {
        "rounds": subsystem.rounds + 1,
        "previous_early_stop_fraction": (
            subsystem.previous_early_stop_fraction if before is None else before
        ),
        # a job that gave no trajectory says nothing about the model
        "early_stop_fraction": group.early_stops / finished if finished > 0 else None,
        "sampled_temperature": (
            # 0: nothing but protocols, whose temperatures are no rung of the curriculum
            (group.temperature_high if finished > 0 else 0) or subsystem.sampled_temperature
        ),
        "selection": None,
    }


def _sample(state: State, plan: Plan, result: SampleResult) -> tuple[State, str, str]:
    record = SampleRecord(
        id=f"s{plan.iteration:03d}",
        method=result.method,
        model=result.model,
        groups=result.groups,
        selected_by=plan.iteration if result.dataset else None,
    )
    update: dict[str, Any] = {"samples": [*state.samples, record]}
    snapshots = sum(g.snapshots for g in result.groups)
    stops = sum(g.early_stops for g in result.groups)
    runs = sum(g.runs for g in result.groups)
    failed = sum(g.failed_runs for g in result.groups)
    if result.method == "reference":
        bought = [
            SelectGroupResult(
                subsystem=g.subsystem,
                candidates=g.snapshots,
                rejected=[],
                reference_calls=0,
                labels=g.snapshots,
                failed=[],
            )
            for g in result.groups
        ]
        if result.dataset:
            dataset = DatasetRecord(id=result.dataset, groups=bought)
            update["datasets"] = [*state.datasets, dataset]
        update |= _subsystems(state, _labelled(state, bought))
        update |= _spend(
            state,
            labels=snapshots,
            reference_calls=result.reference_calls,
            reference_md_steps=result.md_steps,
        )
    else:
        update |= _subsystems(
            state,
            {g.subsystem: _sampled(state.subsystem(g.subsystem), g) for g in result.groups},
        )
        update |= _spend(state, model_md_steps=result.md_steps)
    note = (
        f"{runs} runs by {result.model or 'reference'}, {stops} early stops, {snapshots} snapshots"
    )
    return state.model_copy(update=update), _outcome(failed, runs), note


def _labelled(state: State, groups: Iterable[SelectGroupResult]) -> dict[str, dict[str, Any]]:
    return {g.subsystem: {"labels": state.subsystem(g.subsystem).labels + g.labels} for g in groups}


def _select_data(state: State, plan: Plan, result: SelectDataResult) -> tuple[State, str, str]:
    labels = sum(g.labels for g in result.groups)
    failed = sum(c.count for g in result.groups for c in g.failed)
    calls = sum(g.reference_calls for g in result.groups)
    candidates = sum(g.candidates for g in result.groups)
    samples = [
        s.model_copy(update={"selected_by": plan.iteration}) if s.id in result.samples else s
        for s in state.samples
    ]
    changes = _labelled(state, result.groups)
    for group in result.groups:
        changes[group.subsystem]["selection"] = group
    update: dict[str, Any] = {
        "samples": samples,
        **_subsystems(state, changes),
        **_spend(state, labels=labels, reference_calls=calls),
    }
    if result.dataset:
        dataset = DatasetRecord(id=result.dataset, groups=result.groups)
        update["datasets"] = [*state.datasets, dataset]
    note = f"{labels} labels of {candidates} candidates by {result.method}, {calls} reference calls"
    return state.model_copy(update=update), _outcome(failed, labels + failed), note


def _train(state: State, _: Plan, result: TrainResult) -> tuple[State, str, str]:
    fields = set(ModelRecord.model_fields) & set(TrainResult.model_fields) - {"errors", "outliers"}
    record = ModelRecord(
        id=result.model,
        errors=result.errors,
        outliers=result.outliers,
        **{name: getattr(result, name) for name in fields},
    )
    update: dict[str, Any] = {"models": [*state.models, record]}
    if result.status == "refused":
        note = f"{result.model} refused: {result.failure}"
        return state.model_copy(update=update), "failed", note
    changes: dict[str, dict[str, Any]] = {}
    for error in result.errors:
        key = f"{error.split}_force_mae"
        changes.setdefault(error.subsystem, {})[key] = error.force_mae
    update |= _subsystems(state, changes)
    mae = record.force_mae("train")
    note = f"{result.model} from {result.frames} frames, force MAE {mae or 0:.4f} eV/Å"
    return state.model_copy(update=update), "ok", note


def _model_eval(state: State, plan: Plan, result: ModelEvalResult) -> tuple[State, str, str]:
    missed: dict[str, list[str]] = {}
    for seen in result.structures:
        role = state.subsystem(seen.subsystem).role
        missed.setdefault(seen.subsystem, []).extend(shortfalls(seen, role, state.targets))
    record = EvaluationRecord(
        iteration=plan.iteration,
        model=result.model,
        structures=result.structures,
        passed=[name for name, why in missed.items() if not why],
        failed=[name for name, why in missed.items() if why],
    )
    changes = {
        name: {"evaluation": "failed" if why else "passed", "evaluated_model": result.model}
        for name, why in missed.items()
    }
    changed = state.model_copy(
        update={
            "evaluations": [*state.evaluations, record],
            **_subsystems(state, changes),
            **_spend(state, reference_calls=result.reference_calls, model_md_steps=result.md_steps),
        }
    )
    broken = sum(s.status == "failed" for s in result.structures)
    note = f"{result.model}: passed {len(record.passed)}/{len(missed)} subsystems"
    note += _measured(result.protocol_runs or [])
    return changed, _outcome(broken, len(result.structures)), note


def _measured(runs: Iterable[ProtocolRun]) -> str:
    """The properties of protocol runs in words."""
    told = []
    for run in runs:
        told += [f"{run.structure}+{run.protocol}: stopped ({run.stop})"] if run.stop else []
        for found in run.properties:
            values = [
                f"{value:.3g} ± {error or 0:.2g} by {who}"
                for who, value, error in (
                    ("model", found.model, found.model_error),
                    ("reference", found.reference, found.reference_error),
                )
                if value is not None
            ]
            told.append(
                f"{run.structure}: {found.name} {', '.join(values) or 'unknown'} {found.unit}"
            )
    return "".join(f"; {text}" for text in told)


def _prune(state: State, _: Plan, result: PruneResult) -> tuple[State, str, str]:
    back = result.restored
    frames = {f.dataset: set(f.frames) for f in result.frames}
    models = [
        m.model_copy(update={"status": "ok" if back else "rolled_back"})
        if m.id in result.models and m.status != "refused"
        else m
        for m in state.models
    ]
    datasets = []
    for dataset in state.datasets:
        named = frames.get(dataset.id, set())
        excluded = set(dataset.excluded)
        datasets.append(
            dataset.model_copy(
                update={
                    "active": back if dataset.id in result.datasets else dataset.active,
                    "excluded": sorted(excluded - named if back else excluded | named),
                }
            )
        )
    count = sum(map(len, frames.values()))
    note = (
        f"{'restored' if back else 'left out'}: {len(result.models)} models, "
        f"{len(result.datasets)} datasets, {count} frames"
    )
    return state.model_copy(update={"models": models, "datasets": datasets}), "ok", note


def _end(state: State, _: Plan, result: EndResult) -> tuple[State, str, str]:
    changed = state.model_copy(update={"verdict": result})
    return changed, "ok", f"{result.outcome}: {result.reasons[0]}"


_FOLDS = {
    "reference_calc": _reference_calc,
    "sample": _sample,
    "select_data": _select_data,
    "train": _train,
    "model_eval": _model_eval,
    "prune": _prune,
    "end": _end,
}
