"""Parameters of each action from configuration, curriculum and what is left of the budget."""

from collections.abc import Iterable, Mapping, Sequence

from atomistics.contract import Ensemble
from atomistics.properties.asked import Kind
from campaign import starts
from campaign.actions.model_eval import ModelEval
from campaign.actions.reference_calc import ReferenceCalc
from campaign.actions.sample import Sample, SampleGroup
from campaign.actions.section import MeasuredStructure
from campaign.actions.select_data import SelectData, SelectGroup
from campaign.actions.train import Train
from campaign.budget import left, overdrawn, purse, reserved_seconds
from campaign.config import ReferenceSample
from campaign.cost import price, seconds_per_call, settling_calls, settling_labels, steps_for
from campaign.results import EvaluatedStructure
from campaign.situation import Situation
from campaign.state import SubsystemState
from campaign.verdict import meets_errors, misses
from planner.policy.comparison import given_up
from planner.policy.curriculum import CHEAP, FEWEST_A_ROUND, early_stops, ladder, severe, unstable

SHARE_OF_FIRST_DATA = 0.75
FOLLOWED_PS = 1.0  # of reference MD, over which more than a start shows
MOST_FRAMES = 500  # of a reference MD that is made long
FOLLOWED, FRAMES_OF_EACH = 3, 40  # structures whose reference MD is learnt from, labels of each


def seed(sit: Situation) -> int:
    """Seed of the iteration's action."""
    return (sit.config.seed + 1000 * sit.iteration) % 2**31


def reference_calc(
    sit: Situation, structures: Sequence[str], lengths: tuple[float, float] | None = None
) -> ReferenceCalc | None:
    """Reference MD, shortened to a quarter of the reference calls there are.

    `lengths`: whatever is configured, no shorter than the first and up to the second, ps; to have
    the first it may take three quarters of the calls, since it is made when all else is right.
    """
    settings, explored = sit.config.reference_calc, sit.config.explorer is not None
    settling = 0 if explored else starts.calls_at_most(sit.config.settle)
    room = left(sit).reference_calls // (4 * len(structures)) - 1 - settling // 4
    steps = settings.steps if explored else min(settings.steps, room)
    labels = min(settings.labels, room) if explored else 0
    if lengths:
        shortest, longest = (steps_for(length, sit.config.md.timestep) for length in lengths)
        steps = min(longest, max(room, min(shortest, 3 * room)))
        interval = max(settings.interval, steps // MOST_FRAMES)
        if explored or steps < shortest:
            return None
        settings = settings.model_copy(update={"interval": interval, "least": steps})
    if steps < 2 * settings.interval or (explored and labels < 2):
        return None
    spare = left(sit).reference_calls - len(structures) * (steps + 1 + settling)
    return ReferenceCalc(
        structures=list(structures),
        temperature=sit.task.temperature,
        ensemble=settings.ensemble,
        steps=steps,
        least=min(settings.least, steps),
        interval=settings.interval,
        properties=affordable(measured(sit, structures), spare // 2),
        labels=labels,
        seed=seed(sit),
    )


def measured(sit: Situation, structures: Iterable[str]) -> list[MeasuredStructure]:
    """The properties that task.yaml asks of the subsystems of these structures."""
    asked = {s.name: s.properties for s in sit.state.subsystems if s.properties}
    places = {s.id: s.subsystem for s in sit.structures}
    return [
        MeasuredStructure(structure=name, **asked[places[name]].model_dump())
        for name in structures
        if places.get(name) in asked and asked[places[name]].kinds
    ]


def affordable(properties: list[MeasuredStructure], calls: int) -> list[MeasuredStructure]:
    """As many kinds as so many reference calls allow at most, those named last dropped first.

    What is dropped is measured of the model all the same, and held against numbers that a person
    gives with a target.
    """
    while properties and sum(m.calls() for m in properties) > calls:
        longest = max(len(m.kinds) for m in properties)
        fewer = [
            m.model_copy(update={"kinds": m.kinds[:-1]}) if len(m.kinds) == longest else m
            for m in properties
        ]
        properties = [m for m in fewer if m.kinds]
    return properties


def first_sample(
    sit: Situation, subsystems: Sequence[SubsystemState], share: float
) -> Sample | None:
    """Where no model can sample: by the explorer if there is one, else by the reference."""
    if sit.config.explorer is None:
        return reference_sample(sit, subsystems, share)
    settings = sit.config.explorer_sample
    able = [s for s in subsystems if sit.training(s.name)]
    if not able:
        return None
    return Sample(
        method="explorer",
        groups=_groups(sit, able, settings),
        steps=settings.steps,
        interval=settings.interval,
        compression=settings.compression,
        rattle=settings.rattle,
        amplitude=settings.amplitude,
        relax_steps=settings.relax_steps,
        seed=seed(sit),
    )


def first_labels(sit: Situation, share: float) -> SelectData | None:
    """A D-optimal choice of what the explorer made, within a share of the limits."""
    most, room = sit.config.explorer_sample.labels, left(sit)
    offered = {g.subsystem for s in sit.pending for g in s.groups if g.snapshots}
    names = [s.name for s in sit.state.subsystems if s.name in offered]
    count = min(most * len(names), int(share * min(room.labels, room.reference_calls)))
    if count < len(names) or not names:
        return None
    return SelectData(
        method="maxvol",
        samples=[s.id for s in sit.pending],
        groups=[SelectGroup(subsystem=name, count=most) for name in names],
        max_labels=count,
    )


def _groups(
    sit: Situation, able: Sequence[SubsystemState], settings: ReferenceSample, every: int = 1
) -> list[SampleGroup]:
    """One group a subsystem; of its structures every so many-th."""
    return [
        SampleGroup(
            subsystem=s.name,
            structures=sit.training(s.name)[::every],
            temperatures=[t for t in settings.temperatures if t <= s.max_temperature]
            or [s.max_temperature],
            ensembles=settings.ensembles,
        )
        for s in able
    ]


def reference_sample(
    sit: Situation, subsystems: Sequence[SubsystemState], share: float
) -> Sample | None:
    """Compression, rattle and MD with the reference, shortened until it fits its share.

    What settling the structures may cost comes first; its frames are labels too.
    """
    settings, room = sit.config.reference_sample, left(sit)
    able = [s for s in subsystems if sit.training(s.name)]
    still = settings.model_copy(update={"ensembles": []})
    for shorter in (1, 2, 4, 8, 16, 32) if able else ():
        steps = settings.steps // shorter
        moving = steps >= settings.interval
        middle = len(settings.compression) // 2 % shorter
        fewer = max(1, shorter // 2)  # structures too, each is settled first
        plan = Sample(
            method="reference",
            groups=_groups(sit, able, settings if moving else still, fewer),
            steps=steps if moving else 0,
            interval=settings.interval,
            compression=settings.compression[middle::shorter],
            rattle=settings.rattle // shorter,
            amplitude=settings.amplitude,
            relax_steps=settings.relax_steps,
            seed=seed(sit),
        )
        bound, settling = plan.cost(sit.state), settling_calls(plan, sit)
        if (
            not overdrawn(sit, plan.labels_by_subsystem(sit.state))
            and bound.labels + settling_labels(plan, sit) <= share * room.labels
            and bound.reference_calls + settling <= share * room.reference_calls
        ):
            return plan if bound.labels else None
    # too little for all of them: the first ones, rather than nothing of any
    return reference_sample(sit, able[:-1], share) if len(able) > 1 else None


def teach(sit: Situation, lessons: Mapping[str, Sequence[Kind]], before: int) -> Sample | None:
    """Strained and displaced cells, vacancies, slabs of these subsystems, by the reference.

    More of them each time (`before`); within half of what is left, or none.
    """
    room = left(sit)
    for copies in (12 * (1 + before), 6 * (1 + before), 3):
        plan = Sample(
            method="reference",
            groups=[
                SampleGroup(
                    subsystem=name,
                    structures=sit.training(name)[:3],
                    temperatures=[],
                    ensembles=[],
                    teach=list(kinds),
                )
                for name, kinds in lessons.items()
            ],
            steps=0,
            interval=1,
            copies=copies,
            seed=seed(sit),
        )
        bound, settling = plan.cost(sit.state), settling_calls(plan, sit)
        if (
            bound.labels <= room.labels // 2
            and bound.reference_calls + settling <= room.reference_calls // 2
        ):
            return plan
    return None


def follow(sit: Situation, subsystem: SubsystemState, steps: int, before: int) -> Sample | None:
    """MD by the reference at the temperature of use, as long as the one that a model was held
    against, of other structures each time (`before`).

    Three quarters of the calls that are left at most, for little but labels comes after it, and
    no more core time than a cheap fit: runs are made shorter by a third before a structure is left
    out.
    """
    training, hours = sit.training(subsystem.name), CHEAP * sit.config.limits.core_hours
    room = 3 * left(sit).reference_calls // 4
    room = min(room, int(3600 * hours / max(seconds_per_call(sit), 1e-9)))
    first = before * FOLLOWED % max(1, len(training))
    names = [*training[first:], *training[:first]][:FOLLOWED]
    while len(names) > 1 and room < len(names) * steps * 2 // 3:
        names = names[:-1]
    steps = min(steps, room // max(1, len(names)) - 1)
    interval = max(1, steps // FRAMES_OF_EACH)
    if not names or steps < FRAMES_OF_EACH:
        return None
    group = SampleGroup(
        subsystem=subsystem.name,
        structures=names,
        temperatures=[min(sit.task.temperature, subsystem.max_temperature)],
        ensembles=["npt"],
    )
    plan = Sample(
        method="reference", groups=[group], steps=steps, interval=interval, seed=seed(sit)
    )
    short = overdrawn(sit, plan.labels_by_subsystem(sit.state))
    return None if short or plan.cost(sit.state).labels > left(sit).labels else plan


def model_sample(sit: Situation, windows: Mapping[str, tuple[int, int]]) -> Sample:
    """MD with the newest model: every structure x ensemble x temperature of each window, K.

    As long as it takes to see what an evaluation died of, as short as core-hours ask for.
    """
    settings = sit.config.model_sample
    steps = max(settings.steps, *(lifetime(sit, name) for name in windows), 10)
    interval = max(1, settings.interval * steps // settings.steps)
    plan = Sample(
        method="model",
        model=sit.model.id if sit.model else None,
        groups=[
            SampleGroup(
                subsystem=name,
                structures=sit.training(name),
                temperatures=ladder(*window, settings.rungs),
                ensembles=ensembles(sit, name),
                protocol=(settings.protocols or {}).get(name),
            )
            for name, window in windows.items()
        ],
        steps=steps,
        interval=min(interval, steps),
        seed=seed(sit),
    )
    room = (left(sit).core_seconds - reserved_seconds(sit)) / 2  # labels and a fit come after it
    while price(plan, sit).core_seconds > room and plan.steps >= 2 * max(10, plan.interval):
        plan = plan.model_copy(update={"steps": plan.steps // 2})
    return plan


def lifetime(sit: Situation, subsystem: str) -> int:
    """MD steps until the last evaluation of a subsystem stopped early, and a fifth; where its
    density missed, all that it ran; 0 if neither.

    A failure that comes at 8 ps is not in runs of 3 ps, however many there are, nor is the
    density that a liquid comes to in 10.
    """
    s = sit.state.subsystem(subsystem)
    lives = [1.2 * picoseconds for picoseconds in early_stops(sit, s)]
    lives += [e.picoseconds for e in missing_density(sit, s) if e.status == "ok"]
    return steps_for(max(lives), sit.config.md.timestep) if lives else 0


def ensembles(sit: Situation, subsystem: str) -> list[Ensemble]:
    """Those configured; the one in which a density shows where only that was missed."""
    s, configured = sit.state.subsystem(subsystem), sit.config.model_sample.ensembles
    missed = missing_density(sit, s)
    alone = missed and all(e.status == "ok" for e in missed) and "npt" in configured
    return ["npt"] if alone else configured


def fraction(sit: Situation, s: SubsystemState) -> float:
    """How much is labelled: little of a stable subsystem, more of one that stopped or failed."""
    settings = sit.config.select_data
    if severe(sit, s):
        return settings.severe
    if unstable(sit, s) or s.evaluation == "failed":
        return settings.unstable
    return settings.stable


def most_labels(sit: Situation, s: SubsystemState, share: int) -> int:
    """Labels a round may bring: its share, but half as many as there are of a good fit.

    Where errors meet the targets only holes are left that MD falls into; a few labels mend each,
    and the next evaluation says whether they did before more is paid for.
    """
    if s.role != "target" or sit.model is None or not meets_errors(sit.state, s, sit.model):
        return share
    return min(share, max(FEWEST_A_ROUND, s.labels if severe(sit, s) else s.labels // 2))


def spaced(sit: Situation, s: SubsystemState) -> int:
    """Labels whatever their grade: where an evaluation failed, or the grade has run dry while
    errors are above target, extrapolation is not what is wrong. Four times as many where the
    density is: what teaches it is matter at the density of the model's own MD, whose grade is low.
    """
    model = sit.model
    if missing_density(sit, s):
        return 2 * FEWEST_A_ROUND
    dry = s.selection is not None and s.selection.labels < FEWEST_A_ROUND // 2
    poor = model is not None and not meets_errors(sit.state, s, model)
    return FEWEST_A_ROUND // 2 if s.evaluation == "failed" or (dry and poor) else 0


def missing_density(sit: Situation, s: SubsystemState) -> list[EvaluatedStructure]:
    """Structures of its newest evaluation whose pressure is not the reference's, or whose density
    beside MD of it that is long enough for one."""
    targets = sit.state.targets
    rows = sit.evaluated(s.name, s.evaluated_model or "") if s.evaluation == "failed" else []
    missed = [(e, {c.key for c in misses(e, s.role, targets)}) for e in rows]
    return [
        e
        for e, keys in missed
        if "density_bias" in keys
        or ("density_deviation" in keys and (e.compared_ps or 0.0) >= FOLLOWED_PS)
    ]


def select_data(sit: Situation) -> SelectData | None:
    """Labels from all trajectories nothing was bought from; by grade where errors cost too much."""
    on_offer: dict[str, int] = {}
    for group in (g for s in sit.pending for g in s.groups if g.snapshots):
        on_offer[group.subsystem] = on_offer.get(group.subsystem, 0) + group.snapshots
    able = [s for s in sit.state.subsystems if s.name in on_offer]
    able = [s for s in able if purse(sit, s)]
    explored = {g.subsystem for s in sit.pending if s.method == "explorer" for g in s.groups}
    groups = [
        SelectGroup(subsystem=s.name, count=sit.config.explorer_sample.labels)
        if s.name in explored
        else share_of(sit, s, on_offer[s.name])
        for s in able
    ]
    if not groups:
        return None
    plan = SelectData(
        method=sit.config.select_data.method,
        model=sit.model.id if sit.model else None,
        samples=[s.id for s in sit.pending],
        groups=groups,
        max_labels=1_000_000,
    )
    room = left(sit)
    if plan.method == "error" and plan.candidates(sit.state) > room.reference_calls:
        plan = plan.model_copy(update={"method": "grade"})
    most = sum(
        most_labels(sit, sit.state.subsystem(g.subsystem), g.quota(on_offer[g.subsystem]))
        for g in groups
    )
    labels = min(plan.cost(sit.state).labels, room.labels, most)
    if plan.method == "grade":
        labels = min(labels, room.reference_calls)
    plan = plan.model_copy(update={"max_labels": max(1, labels)})
    for _, asked, room in overdrawn(sit, plan.labels_by_subsystem(sit.state)):
        labels = min(labels, plan.max_labels * room // asked)
    return plan.model_copy(update={"max_labels": labels}) if labels else None


def share_of(sit: Situation, s: SubsystemState, offered: int) -> SelectGroup:
    """What is labelled of a subsystem: by grade, or a few over all runs where the grade is blind.

    Where most runs stopped at once they offer next to nothing, and two dozen may be labelled.

    A grade that told nothing of the error on the last labels chooses no better than chance, and
    few chosen evenly show whether it has come to tell something; where the density is wrong they
    are as many as that takes.
    """
    if s.calibration and s.calibration.blind:
        few = max(FEWEST_A_ROUND // 2, spaced(sit, s))
        return SelectGroup(subsystem=s.name, count=few, spaced=few)
    part = max(0.001, fraction(sit, s))
    if severe(sit, s) and part * offered < FEWEST_A_ROUND:
        few = min(offered, FEWEST_A_ROUND)
        return SelectGroup(subsystem=s.name, count=few, spaced=spaced(sit, s))
    return SelectGroup(subsystem=s.name, fraction=part, spaced=spaced(sit, s))


def train(sit: Situation, start: str, effort: str, **sizes: float) -> Train:
    """A fit to all active data, from the newest model or from scratch, once enlarged so large.

    Without labels that two fits of this size were taken back for.
    """
    labels = [d.id for d in sit.active]
    if sit.model and not sizes and given_up(sit):
        labels = [name for name in labels if name in sit.model.datasets] or labels
    parent = sit.model.id if start == "continue" and sit.model else None
    if sit.model and not parent:
        basis = {key: getattr(sit.model, key) for key in ("level", "radial_basis", "cutoff")}
        sizes = {key: value for key, value in basis.items() if value is not None} | sizes
    return Train(
        **sizes,
        start="continue" if parent else "scratch",
        model=parent,
        effort=effort,
        datasets=labels,
        seed=seed(sit),
    )


def model_eval(sit: Situation, model: str, structures: Sequence[str]) -> ModelEval:
    """MD as long as the targets ask for, at the temperature of use."""
    limits, spent = sit.config.limits, sit.state.spent
    calls = max(0, limits.reference_calls - spent.reference_calls)
    steps = steps_for(sit.state.targets.stable_ps, sit.config.md.timestep)
    return ModelEval(
        model=model,
        structures=list(structures),
        temperature=sit.task.temperature,
        steps=steps,
        most_steps=sit.config.model_eval.longest * steps,
        interval=min(sit.config.model_eval.interval, steps),
        fresh_frames=min(sit.config.model_eval.fresh_frames, calls // len(structures)),
        fresh_most=min(sit.config.model_eval.fresh_most, calls // len(structures)),
        protocol=sit.config.model_eval.protocol,
        properties=measured(sit, structures),
        seed=seed(sit),
    )
