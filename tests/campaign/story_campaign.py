"""A whole campaign of fifteen iterations on graphite/h-BN, folded by the planner's own code."""

import json
from pathlib import Path

import numpy as np
import yaml
from ase.build import graphene

from campaign.actions.end import conclude
from campaign.config import Task
from campaign.files import write_record, write_text
from campaign.folder import Campaign
from campaign.ledger import gather, totals
from campaign.plan import SECTIONS, Plan
from campaign.reduce import after
from campaign.results import Verdict
from campaign.state import State, start

SUBSYSTEMS = {"graphite": "component", "h-bn": "component", "graphite-h-bn": "target"}
HOLD = {name: f"{name}-held-out" for name in SUBSYSTEMS}
DESCRIPTION = (
    "Graphite on hexagonal boron nitride, friction at 300 K <script>alert('task')</script>"
)


def task() -> dict:
    subsystems = [
        {"name": name, "stage": 1 + (role == "target"), "role": role, "max_temperature": 1000}
        for name, role in SUBSYSTEMS.items()
    ]
    targets = {
        "force_mae": 0.12,
        "energy_mae": 0.006,
        "density_deviation": 0.03,
        "rdf_overlap": 0.9,
        "stable_ps": 10.0,
    }
    return {
        "name": "graphite-h-bn",
        "description": DESCRIPTION,
        "species": ["B", "C", "N"],
        "temperature": 300,
        "subsystems": subsystems,
        "targets": targets,
    }


def errors(scale: float, frames: int) -> list[dict]:
    return [
        {
            "subsystem": name,
            "split": split,
            "frames": frames if split == "train" else 50,
            "energy_mae": 0.002 * factor,
            "energy_rmse": 0.003 * factor,
            "force_mae": 0.06 * factor,
            "force_rmse": 0.09 * factor,
        }
        for i, name in enumerate(SUBSYSTEMS)
        for split, more in (("train", 1.0), ("held_out", 1.3))
        for factor in [scale * more * (1 + 0.3 * i)]
    ]


def groups_of(names: list[str], temperatures: list[int]) -> list[dict]:
    return [
        {
            "subsystem": name,
            "structures": [f"{name}-a", f"{name}-b"],
            "temperatures": temperatures,
            "ensembles": ["nvt", "npt"],
        }
        for name in names
    ]


def sampled(name: str, high: int, stops: dict[str, int], grade: float | None = None) -> dict:
    return {
        "subsystem": name,
        "temperature_low": 300,
        "temperature_high": high,
        "runs": 8,
        "early_stops": sum(stops.values()),
        "failed_runs": 0,
        "snapshots": 60,
        "atoms": 96,
        "stops": [{"kind": k, "count": n} for k, n in stops.items()],
        "max_grade": grade,
        "stopped_runs": [
            {
                "structure": f"{name}-a",
                "ensemble": "npt",
                "temperature": high,
                "kind": kind,
                "picoseconds": 0.37,
                "limit": f"{kind} beyond its limit",
            }
            for kind in stops
        ],
    }


def chosen(name: str, labels: int, failed: dict[str, int] | None = None) -> dict:
    return {
        "subsystem": name,
        "candidates": 60,
        "rejected": [{"kind": "distance", "count": 4}],
        "reference_calls": labels + sum((failed or {}).values()),
        "labels": labels,
        "failed": [{"kind": k, "count": n} for k, n in (failed or {}).items()],
        "calibration": {
            "frames": 40,
            "rank_correlation": 0.62,
            "probability": 0.0001,
            "lower_half": 0.8,
            "upper_half": 2.4,
        },
    }


def evaluated(name: str, **changes: object) -> dict:
    return {
        "structure": HOLD[name],
        "subsystem": name,
        "status": "ok",
        "picoseconds": 10.0,
        "temperature": 300,
        "density": 2.213,
        "density_deviation": 0.008,
        "rdf_overlap": 0.962,
        "energy_mae": 0.0031,
        "force_mae": 0.094,
        "fresh_frames": 10,
        "compared_ps": 2.5,
        "fresh_energy_mae": 0.0036,
        "fresh_force_mae": 0.101,
        "standard_errors": {"force_mae": 0.0042, "density": 0.0061},
        "force_mae_by_element": {"B": 0.071, "C": 0.102, "N": 0.083},
        "diffusion": [
            {
                "element": "C",
                "model": 2.1e-7,
                "model_error": 4e-8,
                "reference": 1.9e-7,
                "reference_error": 5e-8,
            }
        ],
        **changes,
    }


def train(n: int, sets: list[int], scale: float, parent: int | None, **refusal: str) -> tuple:
    ids = [f"d{i:03d}" for i in sets]
    effort = "accurate" if n == 12 else "quick"
    first = {} if parent is None else {"model": f"m{parent:03d}"}
    section = {
        "start": "continue" if parent else "scratch",
        **first,
        "effort": effort,
        "datasets": ids,
        "seed": n,
    }
    result = {
        "model": f"m{n:03d}",
        "effort": effort,
        "status": "ok",
        "datasets": ids,
        "frames": 120 + 30 * len(sets),
        "atoms": 9000,
        "iterations": 60,
        "loss": 0.1,
        "errors": errors(scale, 40 + 10 * len(sets)),
        "outliers": [{"dataset": "d002", "frames": [3, 17]}],
        **refusal,
    }
    return "train", "T1", section, result | ({"parent": f"m{parent:03d}"} if parent else {})


def sample(n: int, names: list[str], high: int, model: int, stops: dict[str, int]) -> tuple:
    section = {
        "method": "model",
        "model": f"m{model:03d}",
        "groups": groups_of(names, [300, high]),
        "steps": 5000,
        "interval": 50,
        "seed": n,
    }
    result = {
        "method": "model",
        "model": f"m{model:03d}",
        "reference_calls": 0,
        "groups": [sampled(name, high, stops, 7.4) for name in names],
        "md_steps": 320000,
    }
    return "sample", "S2", section, result


def select(n: int, model: int, groups: list[dict]) -> tuple:
    share = [{"subsystem": g["subsystem"], "fraction": 0.175} for g in groups]
    section = {
        "method": "grade",
        "model": f"m{model:03d}",
        "samples": [f"s{n - 1:03d}"],
        "groups": share,
        "max_labels": 500,
    }
    result = {
        "method": "grade",
        "model": f"m{model:03d}",
        "samples": [f"s{n - 1:03d}"],
        "groups": groups,
        "dataset": f"d{n:03d}",
    }
    return "select_data", "D1", section, result


def evaluate(n: int, model: int, structures: list[dict]) -> tuple:
    section = {
        "model": f"m{model:03d}",
        "structures": [s["structure"] for s in structures],
        "temperature": 300,
        "steps": 10000,
        "interval": 50,
        "fresh_frames": 10,
        "seed": n,
    }
    result = {
        "model": f"m{model:03d}",
        "structures": structures,
        "reference_calls": 10 * len(structures),
        "md_steps": 10000 * len(structures),
    }
    return "model_eval", "E1", section, result


def steps() -> list[tuple[str, str, dict, dict]]:
    """Action, rule, section of the plan, result."""
    components, target = ["graphite", "h-bn"], "graphite-h-bn"
    reference = [
        {
            "structure": HOLD[name],
            "subsystem": name,
            "status": "ok",
            "temperature": 300,
            "frames": 100,
            "density": {"low": 2.19, "high": 2.24},
            "energy": {"low": -57.012, "high": -56.941},
            "min_distance": 1.31,
        }
        for name in SUBSYSTEMS
    ]

    first = {
        "method": "reference",
        "groups": groups_of(list(SUBSYSTEMS), [300, 600]),
        "steps": 200,
        "interval": 10,
        "compression": [0.94, 1.06],
        "rattle": 5,
        "seed": 2,
    }
    first_result = {
        "method": "reference",
        "groups": [sampled(name, 600, {}) for name in SUBSYSTEMS],
        "dataset": "d002",
        "reference_calls": 4860,
        "md_steps": 4800,
    }
    everything = {
        "structures": list(HOLD.values()),
        "temperature": 300,
        "ensemble": "npt",
        "steps": 500,
        "interval": 5,
        "seed": 1,
    }
    return [
        (
            "reference_calc",
            "R1",
            everything,
            {"structures": reference, "reference_calls": 1500, "md_steps": 1500},
        ),
        ("sample", "S1", first, first_result),
        train(3, [2], 3.0, None),
        sample(4, components, 600, 3, {"distance": 2, "grade": 1}),
        select(5, 3, [chosen(name, 10, {"unconverged": 1}) for name in components]),
        train(6, [2, 5], 2.0, 3),
        evaluate(7, 6, [evaluated(name, force_mae=0.19) for name in components]),
        sample(8, [target], 800, 6, {"temperature": 5}),
        select(9, 6, [chosen(target, 18, {"forces_too_large": 2})]),
        train(10, [2, 5, 9], 9.0, 6, status="refused", failure="diverged"),
        (
            "prune",
            "P1",
            {"frames": [{"dataset": "d002", "frames": [3, 17]}]},
            {
                "models": [],
                "datasets": [],
                "frames": [{"dataset": "d002", "frames": [3, 17]}],
                "restored": False,
            },
        ),
        train(12, [2, 5, 9], 1.2, 6),
        sample(13, [target], 800, 12, {}),
        evaluate(
            14,
            12,
            [
                evaluated("graphite-h-bn"),
                evaluated(
                    "h-bn", status="early_stop", stop="density", picoseconds=4.2, rdf_overlap=0.71
                ),
            ],
        ),
    ]


def observables(seed: int) -> dict:
    """Made-up but plausible: RDF shells, density and energy noise, ballistic MSD, parity."""
    random = np.random.default_rng(seed)
    r = np.linspace(0.5, 6, 220)
    shells = {
        "B-N": (1.45, 2.9, 3.8),
        "C-C": (1.42, 2.46, 3.7),
        "B-C": (3.4, 4.3, 5.1),
        "B-B": (2.5, 4.3, 5.0),
        "N-N": (2.5, 4.3, 5.0),
        "C-N": (3.4, 4.4, 5.2),
    }

    def rdf(centres: tuple[float, ...], width: float) -> list[float]:
        peaks = [np.exp(-((r - c) ** 2) / (2 * width**2)) * 4 / i for i, c in enumerate(centres, 1)]
        return (sum(peaks) + 0.8 / (1 + np.exp(-(r - 4) * 3))).round(4).tolist()

    t, short = np.linspace(0, 10, 200), np.linspace(0, 0.5, 100)

    def noise(n: int, mean: float, size: float) -> list[float]:
        return (mean + size * random.standard_normal(n)).round(6).tolist()

    forces = random.standard_normal(9000) * 1.2

    def msd(time: np.ndarray, slope: float) -> list[float]:
        return (0.05 * (1 - np.exp(-time * 9)) + slope * time).round(6).tolist()

    return {
        "time_ps": t.tolist(),
        "reference_time_ps": short.tolist(),
        "density": {"model": noise(200, 2.213, 0.008), "reference": noise(100, 2.22, 0.008)},
        "energy_per_atom": {
            "model": noise(200, -56.98, 0.004),
            "reference": noise(100, -56.977, 0.004),
        },
        "rdf": {
            "r": r.tolist(),
            "pairs": {
                p: {"model": rdf(c, 0.11), "reference": rdf(c, 0.1)} for p, c in shells.items()
            },
        },
        "msd": {
            e: {
                "time_ps": t[:100].tolist(),
                "model": msd(t[:100], 0.01 * k),
                "reference": msd(short, 0.011 * k),
                "reference_time_ps": short.tolist(),
            }
            for k, e in enumerate(("B", "C", "N"), 1)
        },
        "force_parity": {
            "reference": forces.round(4).tolist(),
            "model": (forces + 0.1 * random.standard_normal(9000)).round(4).tolist(),
        },
    }


def _ledger(place: Path, action: str, number: int, result: dict) -> None:
    bought = [g["reference_calls"] for g in result.get("groups", []) if "labels" in g]
    cost = {
        "reference_calls": result.get("reference_calls", 0) + sum(bought),
        "md_steps": result.get("md_steps", 0),
        "core_seconds": 100.0 * number,
    }
    write_text(place / action / "one.cost.json", json.dumps(cost))
    carried = totals(place.with_name(f"{number - 1:03d}") / "ledger.jsonl")
    lines = [json.dumps(line) for line in gather(place, action, carried)]
    write_text(place / "ledger.jsonl", "\n".join(lines))


def _observed(place: Path, number: int, result: dict) -> None:
    for index, seen in enumerate(result["structures"]):
        content = json.dumps(observables(number + index))
        write_text(place / seen["structure"] / "observables.json", content)
        write_text(place / "runs" / f"{seen['structure']}.fresh.h5", "frames")


def structures(folder: Path) -> None:
    """A sheet of each kind in every file."""
    index = []
    for name in SUBSYSTEMS:
        for which in ("a", "b", "held-out"):
            file = f"{name}-{which}.extxyz"
            folder.mkdir(exist_ok=True, parents=True)
            graphene("C2" if name == "graphite" else "BN", size=(2, 2, 1), vacuum=3).write(
                folder / file
            )
            entry = {"id": f"{name}-{which}", "file": file, "subsystem": name}
            entry |= {"family": "solid", "held_out": which == "held-out"}
            index.append(entry | {"description": "a sheet"})
    write_text(folder / "index.yaml", yaml.safe_dump(index))


def build(folder: Path) -> tuple[Campaign, State, Verdict, Path]:
    """Write the campaign up to its end, which is not finalized; the potential lies in result/."""
    write_record(folder / "task.yaml", Task(**task()))
    write_text(folder / "config.yaml", "limits:\n  labels: 600\n")
    structures(folder / "structures")
    state = start(Task(**task()))
    table = steps()
    last = {"outcome": "converged", "model": "m012", "recommendation": "publish <script>x</script>"}
    for number, (action, rule, section, result) in enumerate(
        [*table, ("end", "X1", last, None)], 1
    ):
        plan = Plan(
            iteration=number,
            action=action,
            rule=rule,
            state_sha256="0" * 64,
            reason=f"the {action} that comes next <script>alert('plan')</script>",
            evidence=[{"key": "graphite.early_stop_fraction", "value": 0.375}],
            **{action: section},
        )
        place = folder / "iterations" / f"{number:03d}"
        write_record(place / "plan.yaml", plan)
        if result is None:
            break
        record = SECTIONS[action].result(**result)
        write_record(place / action / "result.yaml", record)
        _ledger(place, action, number, result)
        state = after(state, plan, record, ("0" * 64, "0" * 64))
        write_record(place / "state.yaml", state)
        if action == "model_eval":
            _observed(place / action, number, result)
    write_text(folder / "result/potential.almtp", POTENTIAL)
    return Campaign.at(folder), state, conclude(state, plan.end), folder / "result"


POTENTIAL = """MTP
version = 1.1.0
potential_name = MTP1m
species_count = 3
potential_tag =
radial_basis_type = RBChebyshev
\tmin_dist = 1.2
\tmax_dist = 5
\tradial_basis_size = 8
\tradial_funcs_count = 2
alpha_scalar_moments = 9
"""
