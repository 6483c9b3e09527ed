"""Tables of a prompt: models, data sets, samplings, evaluations and structures, newest last."""

from dataclasses import dataclass
from typing import Any

from campaign.results import EvaluatedStructure, SampleGroupResult
from campaign.situation import Situation
from campaign.state import SubsystemState
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
            "outliers": sum(len(o.frames) for o in m.outliers),
        }
        for m in sit.state.models[-level.records :]
    }


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
                    "rdf_overlap": s.rdf_overlap,
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
