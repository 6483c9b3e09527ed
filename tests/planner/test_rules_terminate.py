"""Whatever happens, a campaign ends, inside its limits, by plans no gate denies."""

import random
from collections import Counter

import pytest

from planner.policy.rules import RULES
from tests.planner.simulation import (
    SMALL,
    Run,
    World,
    campaign,
    config_of,
    structures_of,
    task_of,
)
from tests.planner.states import at, bent, decided

CAMPAIGNS, BATCHES = 1200, 8
TASKS = (
    SMALL,
    [("solid", 1, "target", 300)],
    [
        ("a", 1, "component", 900),
        ("b", 2, "interface", 800),
        ("c", 3, "target", 600),
        ("d", 3, "target", 250),
    ],
)
FAULTS = (
    "reference_fails",
    "job_fails",
    "no_snapshots",
    "label_fails",
    "refused",
    "blow_up",
    "misses",
    "evaluation_fails",
)


def simulated(seed: int) -> tuple[Run, object]:
    """One campaign in a world of random mishaps, limits and tasks."""
    dice = random.Random(seed)
    world = World(
        seed=seed,
        unstable=dice.choice([0, 0, 0.1, 0.3, 0.6, 1]),
        learning=dice.choice([0.2, 0.6, 0.9, 1.3]),
        selection=dice.choice([1, 1, 0.5, 0]),
        core_seconds=dice.choice([0, 1, 100]),
        fit_error=random.Random(-seed).choice([0.1, 0.16]),
        **{name: dice.choice([0] * 9 + [0.05, 0.3, 1]) for name in FAULTS},
    )
    contact = random.Random(7 * seed + 1)
    world.drifts = contact.choice([0, 0.5, 1])
    task = task_of(dice.choice(TASKS), compared_ps=contact.choice([None, 5.0]))
    config = config_of(
        limits={
            "labels": dice.choice([1, 20, 300, *[5000] * 6]),
            "reference_calls": dice.choice([5, 500, 3000, *[20000] * 3, *[200000] * 3]),
            "core_hours": dice.choice([0.01, *[1000.0] * 9]),
            "decisions": dice.choice([1, 2, 3, 5, 12, *[60] * 8, *[150] * 8]),
        },
        select_data={"method": dice.choice(["grade", "error"])},
        reference={"seconds_per_call": dice.choice([0.001, 0.1])},
    )
    counts = [0, *[1, 2] * 9]
    structures = structures_of(task, dice.choice(counts), dice.choice(counts))
    return campaign(world, task, config, structures), config


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_campaign_ends_inside_its_limits(batch: int) -> None:
    for seed in range(batch, CAMPAIGNS, BATCHES):
        run, config = simulated(seed)
        state, limits = run.states[-1], config.limits
        assert state.verdict, f"seed {seed} goes on after {len(run.plans)} decisions"
        assert not run.denied, f"seed {seed}: {run.denied}"
        assert len(run.plans) <= limits.decisions, seed
        assert state.spent.labels <= limits.labels, seed
        assert state.spent.reference_calls <= limits.reference_calls, seed
        assert all(s.rounds <= config.rules.max_rounds for s in state.subsystems), seed
        if state.verdict.outcome == "converged":
            assert all(s.evaluation == "passed" for s in state.subsystems if s.role == "target")


def test_the_simulations_meet_every_rule() -> None:
    fired = Counter(plan.rule for seed in range(400) for plan in simulated(seed)[0].plans)
    # R6-undone: a scratch fit that is worse for want of what was pruned, one campaign in a thousand
    rare = {"R4-labels-fail", "R5-evaluation-worse", "R10-lost-jobs", "R9-give-up", "R6-undone"}
    rare |= {"R6-offset", "R6-evaluation-short"}  # their energies are right, their runs whole
    rare |= {"R5-regression", "R6-fit-worse"}  # same window twice; scratch fits that blow up
    rare |= {"R15-teach", "R15-without-value"}  # no properties, no diffusion
    rare |= {"R1-imported", "R0-no-reference"}  # none begins with labels, or lacks a reference
    assert {name for name, _ in RULES} - rare <= set(fired)


@pytest.mark.parametrize(("unstable", "least"), [(0.0, 1.0), (0.3, 0.7)])
def test_most_campaigns_of_a_learnable_world_converge(unstable: float, least: float) -> None:
    outcomes = [
        campaign(World(seed=seed, unstable=unstable, learning=0.5), task_of(SMALL), config_of())
        .states[-1]
        .verdict.outcome
        for seed in range(40)
    ]
    assert outcomes.count("converged") >= least * len(outcomes)


REPORTS = ("history", "samples", "datasets", "models", "reference", "evaluations")


@pytest.mark.parametrize("missing", REPORTS)
@pytest.mark.parametrize("number", range(2, 12))
def test_missing_reports_never_stop_the_planner(number: int, missing: str) -> None:
    decided(bent(at(number), **{missing: []}))


def test_names_do_not_matter() -> None:
    other = [(name[::-1], *rest) for name, *rest in SMALL]
    first = campaign(World(seed=5, unstable=0.4), task_of(SMALL), config_of())
    second = campaign(World(seed=5, unstable=0.4), task_of(other), config_of())
    assert [(p.action, p.rule) for p in first.plans] == [(p.action, p.rule) for p in second.plans]
