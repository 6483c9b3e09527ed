"""Tables of a prompt: models, data sets, samplings, evaluations and structures, newest last."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from campaign.results import EvaluatedStructure, SampleGroupResult
from campaign.situation import Situation
from campaign.state import ModelRecord, SubsystemState
from campaign.verdict import open_targets
from planner.llm.untrusted import Quotes
from planner.policy.curriculum import settled


@dataclass(frozen=True)
class Detail:
    """How much is told; each step down tells less."""

    history: int
    records: int
    structures: int
    subsystems: int
    description: int


def shown(sit: Situation, level: Detail) -> list[SubsystemState]:
    """Subsystems that are told of: those not settled first."""
    order = sorted(sit.state.subsystems, key=lambda s: (settled(sit, s), s.stage))
    return sorted(order[: level.subsystems], key=lambda s: (s.stage, s.name))


def misses(sit: Situation, model: str | None, quotes: Quotes) -> list[Any]:
    """Targets a model misses."""
    missed = open_targets(sit.state, model)
    return [quotes.quote(f"open_targets.{i}", text, 140) for i, text in enumerate(missed[:8])]


def models(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    """The newest fits."""
    return {
        m.id: {
            "parent": m.parent,
            "effort": m.effort,
            "status": m.status,
            "failure": m.failure and quotes.named(f"models.{m.id}.failure", m.failure),
            "datasets": m.datasets[-10:],
            "frames": m.frames,
            "train_force_mae": m.force_mae("train"),
            "held_out_force_mae": m.force_mae("held_out"),
            **_basis(m),
            "outliers": sum(len(o.frames) for o in m.outliers),
        }
        for m in sit.state.models[-level.records :]
    }


def _basis(model: ModelRecord) -> dict[str, Any]:
    """What a fit set otherwise than the configuration."""
    own = {key: getattr(model, key) for key in ("level", "radial_basis", "cutoff")}
    return {key: value for key, value in own.items() if value is not None}


def datasets(sit: Situation, level: Detail) -> dict[str, Any]:
    """The newest data sets, and the ids of all that may be trained on."""
    records = sit.state.datasets
    shown = records[-level.records :]
    return {
        "count": len(records),
        "active": [d.id for d in sit.active][-120:],
        "pruned": [d.id for d in records if not d.active][-20:],
        **{
            d.id: {
                "labels": {g.subsystem: g.labels for g in d.groups[: level.subsystems]},
                "excluded": len(d.excluded),
                "active": d.active,
            }
            for d in shown
        },
    }


def samples(sit: Situation, level: Detail) -> dict[str, Any]:
    """The newest samplings with what stopped them."""
    return {
        s.id: {
            "method": s.method,
            "model": s.model,
            "selected_by": s.selected_by,
            "groups": {
                g.subsystem: {
                    "temperatures": [g.temperature_low, g.temperature_high],
                    "runs": g.runs,
                    "early_stops": g.early_stops,
                    "stops": {c.kind: c.count for c in g.stops[:6]},
                    **_where_it_stopped(g, level),
                    "failed_runs": g.failed_runs,
                    "snapshots": g.snapshots,
                    "max_grade": g.max_grade,
                }
                for g in s.groups[: level.subsystems]
            },
        }
        for s in sit.state.samples[-level.records :]
    }


def _where_it_stopped(group: SampleGroupResult, level: Detail) -> dict[str, Any]:
    """Stops of runs by temperature, K, and the first of them with the watchdog's limit."""
    columns: dict[str, Any] = {}
    if group.rungs:
        columns["stops_of_runs"] = {r.temperature: [r.stops, r.runs] for r in group.rungs}
    if group.picoseconds is not None:
        columns["picoseconds"] = group.picoseconds
    if first := group.stopped_runs[: level.records // 3]:
        columns["first_stops"] = [
            [r.structure, r.ensemble, r.temperature, r.picoseconds, r.limit[:60]] for r in first
        ]
    return columns


def learning_curves(sit: Situation, level: Detail) -> dict[str, list[Any]]:
    """By subsystem, a row a fit: [model, labels, force MAE on them, held out, energy MAE held out].

    eV/Å and eV/atom; the earliest and the newest fits where there are many.
    """
    half = max(1, level.records // 2)
    fits = sit.state.usable_models
    kept = [*fits[:-half][:half], *fits[-half:]]
    curves: dict[str, list[Any]] = {}
    for s in shown(sit, level):
        for m in kept:
            errors = {e.split: e for e in m.errors if e.subsystem == s.name}
            if learnt := errors.get("train"):
                held_out = errors.get("held_out")
                row = [held_out.force_mae, held_out.energy_mae] if held_out else [None, None]
                fit = [m.id, learnt.frames, learnt.force_mae, *row]
                curves.setdefault(s.name, []).append(fit)
    return curves


def cost_by_action(sit: Situation) -> dict[str, dict[str, float]]:
    """What each action has cost so far, and how often it ran."""
    times = Counter(h.action for h in sit.state.history)
    return {
        action: {
            "times": times[action],
            "core_hours": spent.get("core_seconds", 0.0) / 3600,
            "reference_calls": spent.get("reference_calls", 0),
            "md_steps": spent.get("md_steps", 0),
        }
        for action, spent in sit.bill.items()
    }


def earlier_decisions(sit: Situation, level: Detail, quotes: Quotes) -> list[dict[str, Any]]:
    """Why the newest actions were chosen, by whom they were, and what was meant by them."""
    rows = []
    for h in sit.state.history[-level.records :]:
        if decision := sit.earlier_decision(h.iteration):
            words = {"reason": decision.reason, "intent": decision.intent}
            where = f"iterations/{h.iteration:03d}/decision.json"
            said = {
                k: quotes.quote(f"{where}: {k}", text, 240) for k, text in words.items() if text
            }
            rows.append({"iteration": h.iteration, "by": decision.source, **said})
    return rows


def evaluations(sit: Situation, level: Detail, quotes: Quotes) -> dict[str, Any]:
    """Evaluations by iteration with what was measured on each structure."""
    return {
        str(e.iteration): {
            "model": e.model,
            "passed": e.passed[: level.subsystems],
            "failed": e.failed[: level.subsystems],
            "structures": {
                s.structure: {
                    "status": s.status,
                    "stop": s.stop and quotes.named(f"evaluations.{e.iteration}.stop", s.stop),
                    "picoseconds": s.picoseconds,
                    "compared_ps": s.compared_ps,
                    "energy_mae": s.energy_mae,
                    **({"diffusion": _diffusion(s)} if s.diffusion else {}),
                    "density_deviation": s.density_deviation,
                    "density": s.density,
                    "late_density": s.late_density,
                    "rdf_overlap": s.rdf_overlap,
                    **({"rdf_pair": s.rdf_pair} if s.rdf_pair else {}),
                    "force_mae": s.force_mae,
                    "fresh_force_mae": s.fresh_force_mae,
                }
                for s in e.structures[: level.structures]
            },
        }
        for e in sit.state.evaluations[-max(1, level.records // 2) :]
    }


def _diffusion(evaluated: EvaluatedStructure) -> dict[str, list[float]]:
    """By element: of the model and of the reference, cm2/s."""
    return {d.element: [d.model, d.reference] for d in evaluated.diffusion[:4]}


def structures(
    sit: Situation, level: Detail, quotes: Quotes, held_out: bool
) -> dict[str, dict[str, Any]]:
    """Structures of each subsystem with their descriptions."""
    rows: dict[str, dict[str, Any]] = {}
    for s in shown(sit, level):
        names = sit.held_out(s.name) if held_out else sit.training(s.name)
        of_it = [i for i in sit.structures if i.id in names]
        rows[s.name] = {
            i.id: quotes.quote(f"structures/index.yaml: {i.id}: description", i.description, 100)
            if i.description
            else None
            for i in of_it[: level.structures]
        }
    return rows
