"""The rules planner: the first rule that fires decides.

Guidance and trace of the paper (appendices E and G) as a table of small functions; a rule returns
a draft or None, nothing else happens in it. Rules before exploration (R0-R8) settle what is
broken or owed, rules of the curriculum (R9-R16) say what is learnt next. Every way through them
is bounded: samplings by `rules.max_rounds`, retries by a count of one or two, and all of it by
`limits.decisions`.
"""

from collections.abc import Callable

from campaign.budget import decisions_left, left, purse, reached
from campaign.cost import price, steps_for
from campaign.errors import UserError
from campaign.evidence import evidence_at
from campaign.gates import limit_faults
from campaign.plan import Plan
from campaign.situation import Situation, unjudged
from campaign.state import SubsystemState
from campaign.verdict import DIFFUSIVE_PS, misses, shortfalls, unmeasured, unmet
from planner.policy import ending, parameters
from planner.policy.beginning import BEGINNING, without_reference
from planner.policy.capacity import CAPACITY
from planner.policy.comparison import given_up
from planner.policy.curriculum import (
    LAST_ROUNDS,
    Focus,
    barren,
    debris,
    dies_later,
    focus,
    hopeless,
    jobs_failed,
    labelled,
    lesson,
    passed_over,
    referred,
    run_at_use,
    sampled_since_evaluation,
    stopped_at_once,
    stuck,
    unproven,
    unstable,
    use_of,
    window,
    worth_accuracy,
)
from planner.policy.draft import Draft, keys_of
from planner.policy.parameters import FOLLOWED_PS
from planner.policy.recovery import RECOVERY, blown_up

Rule = Callable[[Situation], Draft | None]


def decide(situation: Situation) -> Plan:
    """The next plan; UserError once the campaign has ended."""
    if situation.state.verdict:
        raise UserError(
            f"{situation.state.campaign}: has ended ({situation.state.verdict.outcome}); "
            "nothing is left to decide"
        )
    name, draft = next((name, draft) for name, rule in RULES if (draft := rule(situation)))
    plan = _plan(situation, name, draft)
    if not (faults := limit_faults(plan, situation)):
        return plan
    plan = _plan(situation, "R0-budget", ending.wind_up(situation, faults[0]))
    if not (faults := limit_faults(plan, situation)):
        return plan
    last = ending.end(situation, "budget_exhausted", f"{faults[0]}.", ("iteration",))
    return _plan(situation, "R0-budget", last)


def _plan(sit: Situation, rule: str, draft: Draft) -> Plan:
    return Plan.model_validate(
        {
            "iteration": sit.iteration,
            "action": draft.action,
            "reason": draft.reason[:600],
            "rule": rule,
            "evidence": evidence_at(sit.state, draft.keys),
            "state_sha256": sit.state_sha256,
            draft.action: draft.parameters,
        }
    )


def _here(sit: Situation) -> Focus:
    return focus(sit, sit.model.id if sit.model else None)


def budget(sit: Situation) -> Draft | None:
    """Close to a limit: evaluate what there is and end."""
    limit = reached(sit)
    return ending.wind_up(sit, limit) if limit else None


def proven(sit: Situation) -> Draft | None:
    """Nothing that can be judged is open any more: what was sampled to show it needs no label."""
    if sit.model is None or not sit.pending or unmet(sit.state, sit.model.id):
        return None
    if ending.missed(sit, sit.model.id):
        return finish(sit)
    keys = keys_of(sit.targets, "evaluation", "evaluated_model", "early_stop_fraction")
    reason = f"{sit.model.id} meets every target, and holds as far above its use as asked."
    return ending.end(sit, "converged", reason, keys)


def select(sit: Situation) -> Draft | None:
    """Label from fresh trajectories: more where runs stopped early."""
    if not sit.pending or sit.model is None:
        return None
    if decisions_left(sit) <= 3 or (sit.pending and not affordable(sit)):
        return None
    section = parameters.select_data(sit)
    if section is None:
        return ending.wind_up(sit, "no label is left for the sampled snapshots")
    keys = [f"subsystems.{g.subsystem}.early_stop_fraction" for g in section.groups]
    shares = ", ".join(
        f"{g.count or f'{100 * (g.fraction or 0):g} %'} of {g.subsystem}" for g in section.groups
    )
    by = sit.pending[-1].model or sit.pending[-1].method
    reason = f"Fresh trajectories by {by}: label up to {shares}."
    return Draft(section, reason, (*keys, "samples.count", "spent.labels"))


def affordable(sit: Situation) -> bool:
    """Whether any subsystem on offer may still have labels."""
    names = {g.subsystem for s in sit.pending for g in s.groups if g.snapshots}
    return any(purse(sit, s) for s in sit.state.subsystems if s.name in names)


def train(sit: Situation) -> Draft | None:
    """Take new labels in, continuing unless there is no model or its errors have blown up."""
    unused, pruned = [d.id for d in sit.unused], sit.last("prune") > sit.last("train")
    if sit.model and (given_up(sit) or not (unused or pruned)):
        return None
    effort = "accurate" if worth_accuracy(sit, None) else "quick"
    keys = ("models.count", *(f"datasets.{name}.active" for name in unused))
    if sit.model is None:
        reason = f"No usable model: first fit to {', '.join(unused)}."
        return Draft(parameters.train(sit, "scratch", effort), reason, keys)
    what = ", ".join(unused) or "pruned data"
    rolled_back = bool(sit.state.models) and sit.state.models[-1].status == "rolled_back"
    if rolled_back and sit.last("prune") == sit.state.iteration:
        reason = f"{sit.state.models[-1].id} was rolled back: fit {what} from scratch."
        return Draft(parameters.train(sit, "scratch", effort), reason, keys)
    if blown := blown_up(sit):
        reason = f"Take in {what}, from scratch: {blown.reason}"
        return Draft(parameters.train(sit, "scratch", effort), reason, (*keys, *blown.keys))
    reason = f"{what} not yet in {sit.model.id}: continue from it."
    return Draft(parameters.train(sit, "continue", effort), reason, keys)


def give_up(sit: Situation) -> Draft | None:
    """A subsystem that did not become stable in all its rounds ends the campaign, but for a part
    of a target that holds."""
    lost = [s for s in sit.state.subsystems if hopeless(sit, s) and not passed_over(sit, s)]
    if not lost or _here(sit).need == "evaluate":  # never before a good fit was put to the test
        return None
    unstable = ", ".join(
        f"{s.name} (early stops in {100 * (s.early_stop_fraction or 0):.0f} % of runs)"
        for s in lost
    )
    reason = f"Not stable after {sit.config.rules.max_rounds} rounds: {unstable}."
    return ending.end(sit, "failed", reason, keys_of(lost, "rounds", "early_stop_fraction"))


def lost_jobs(sit: Situation) -> Draft | None:
    """Twice no trajectory at all: the machine is at fault, not the model."""
    lost = [s for s in sit.state.subsystems if jobs_failed(sit, s) >= 2]
    if not lost:
        return None
    reason = f"No run of {', '.join(s.name for s in lost)} gave a trajectory, twice: see the logs."
    return ending.end(sit, "blocked", reason, keys_of(lost, "rounds"))


def rescue(sit: Situation) -> Draft | None:
    """Unstable and nothing could be learnt from it, or hardly anything twice: sample by reference,
    once; and before it is given up run it where it will be used, and nowhere hotter."""
    here = _here(sit)
    lost = [s for s in here.subsystems if here.need == "sample" and stuck(sit, s)]
    if not lost:
        return _by_reference(sit, here.subsystems) if here.need == "sample" else None
    keys = keys_of(lost, "rounds", "early_stop_fraction", "selection.labels")
    names = ", ".join(s.name for s in lost)
    again = any(referred(sit, s) >= 2 for s in lost)
    section = None if again else parameters.first_sample(sit, lost, 0.5)
    if section is None and not again:
        return ending.wind_up(sit, f"no room to sample {names} by reference")
    if section is None and (hot := [s for s in lost if not run_at_use(sit, s)]):
        at_use = {s.name: (use_of(sit, s), use_of(sit, s)) for s in hot}
        reason = f"{names}: no label came of hot runs; run it where it will be used."
        return Draft(parameters.model_sample(sit, at_use), reason, keys)
    if section is None:
        reason = f"{names}: unstable, and its trajectories gave no label to learn from."
        return ending.end(sit, "failed", reason, keys)
    reason = f"{names}: unstable, and no label came of it; sample by {section.method} instead."
    return Draft(section, reason, keys)


def _by_reference(sit: Situation, subsystems: list[SubsystemState]) -> Draft | None:
    """First data once more, of what the model's own MD stops in before it has seen anything new."""
    brief = [s for s in subsystems if stopped_at_once(sit, s) and referred(sit, s) < 2]
    section = parameters.first_sample(sit, brief, 0.5) if brief else None
    if section is None:
        return None
    names = ", ".join(s.name for s in brief)
    reason = f"{names}: two rounds of runs stopped as they began: sample by {section.method}."
    return Draft(section, reason, keys_of(brief, "rounds", "early_stop_fraction", "labels"))


def begin(sit: Situation) -> Draft | None:
    """Subsystems whose stage has come and of which there is no label, by the reference.

    No model that never saw them may explore them. Not before: labels of large stacks are dear, and
    every fit of the stages before would carry them. What gave none is tried once more before.
    """
    here = _here(sit)
    bare = [s for s in here.subsystems if here.need == "sample" and s.name not in labelled(sit)]
    if not bare:
        return None
    fresh, keys = [s for s in bare if not referred(sit, s)], keys_of(bare, "labels")
    if fresh and (section := parameters.first_sample(sit, fresh, 0.5)):
        names = ", ".join(s.name for s in fresh)
        reason = f"Stage {here.stage}: {names}: no label yet; sample by {section.method}."
        return Draft(section, reason, keys)
    names = ", ".join(s.name for s in bare)
    if any(barren(sit, s) for s in bare):
        reason = (
            f"Two samplings by the reference left no label of {names}: mend what they failed of."
        )
        return ending.end(sit, "blocked", reason, keys)
    return ending.wind_up(sit, f"no room for the first data of {names}")


def sample(sit: Situation) -> Draft | None:
    """What the stage has not learnt yet: first round, hotter once stable, again where unstable."""
    here = _here(sit)
    if here.need != "sample":
        return None
    windows = {s.name: window(sit, s) for s in here.subsystems}
    windows_text = ", ".join(
        f"{s.name} {_stability(sit, s)}: {windows[s.name][0]}-{windows[s.name][1]} K"
        for s in here.subsystems
    )
    keys = keys_of(here.subsystems, "rounds", "early_stop_fraction", "sampled_temperature")
    return Draft(
        parameters.model_sample(sit, windows), f"Stage {here.stage}: {windows_text}.", keys
    )


def _stability(sit: Situation, s: SubsystemState) -> str:
    if not s.rounds:
        return "never sampled"
    if s.early_stop_fraction is None:
        return "without a trajectory"
    if debris(s):
        return "mostly unphysical"
    return f"{'unstable' if unstable(sit, s) else 'stable'} ({100 * s.early_stop_fraction:.0f} %)"


def sharpen(sit: Situation) -> Draft | None:
    """An evaluation is made of an accurate fit, but a component's where that costs much."""
    if sit.model is None or sit.model.effort == "accurate":
        return None
    if not worth_accuracy(sit, sit.model.id):
        return None
    reason = f"An evaluation is due and {sit.model.id} is a quick fit: fit accurately first."
    return Draft(
        parameters.train(sit, "continue", "accurate"), reason, (f"models.{sit.model.id}.effort",)
    )


def evaluate(sit: Situation) -> Draft | None:
    """Held-out structures of a stage that is stable now, before the next stage or the verdict."""
    here = _here(sit)
    if here.need != "evaluate" or sit.model is None:
        return None
    names = [name for s in here.subsystems for name in sit.baselines(s.name)]
    good = all(unproven(sit, s, sit.model.id) for s in here.subsystems)
    why = "errors meet the targets" if good else "stable"
    reason = (
        f"{', '.join(s.name for s in here.subsystems)}: {why}; hold {sit.model.id} against the "
        f"reference{'' if here.stage else ' for the verdict'}."
    )
    keys = keys_of(here.subsystems, "early_stop_fraction", "evaluated_model", "evaluation")
    return Draft(parameters.model_eval(sit, sit.model.id, names), reason, keys)


def _without_value(sit: Situation) -> list[str]:
    """Targets that have no number, where all that have one are met."""
    improving = sit.model is not None and _here(sit).need == "improve"
    return unmeasured(sit.state, sit.model.id) if sit.model and improving else []


def longer_reference(sit: Situation) -> Draft | None:
    """What is missed needs but more reference MD of the targets: for diffusion, or for density and
    structure of what flows, which take picoseconds to form. Once.

    It costs thousands of calls, and is spent when all else is right; then the same model is held
    against it.
    """
    missed = _without_value(sit)
    wanted = {"diffusion_deviation": (DIFFUSIVE_PS, LONG_PS)}
    if (asked := sit.state.targets.compared_ps) is not None:
        wanted["compared_ps"] = (asked, asked)
    keys_missed = {text.split()[0] for text in missed}
    if sit.model is None or not keys_missed or not keys_missed <= wanted.keys():
        return None
    names = sorted({name for s in sit.targets for name in sit.baselines(s.name)})
    keys = keys_of(sit.targets, "evaluation", "evaluated_model")
    if any(h.rule == "R14-longer" and h.action == "reference_calc" for h in sit.state.history):
        if sit.last("reference_calc") < sit.last("model_eval"):
            return None
        reason = f"Hold {sit.model.id} against the longer reference MD."
        return Draft(parameters.model_eval(sit, sit.model.id, names), reason, keys)
    shortest, longest = zip(*(wanted[key] for key in keys_missed), strict=True)
    section = parameters.reference_calc(sit, names, (max(shortest), max(longest)))
    if section is None or price(section, sit).core_seconds > left(sit).core_seconds / 2:
        return None
    reason = (
        f"{sit.model.id} meets all but {', '.join(missed[:3])}, which the reference MD is too short"
        f" for: {section.steps * sit.config.md.timestep / 1000:g} ps of it."
    )
    return Draft(section, reason, keys)


def without_value(sit: Situation) -> Draft | None:
    """All that was measured is met, and a target has no number: that is for a person.

    Whether something diffuses as fast as it should shows only beside a reference that ran as long.
    """
    missed = _without_value(sit)
    if not missed:
        return None
    reason = (
        f"No value of {', '.join(missed[:3])}, and every other target is met: lengthen the"
        " reference MD (reference_calc.steps, limits), mend what measures it or take the target"
        " out of task.yaml, then fork."
    )
    return ending.end(sit, "blocked", reason, keys_of(sit.targets, "evaluation", "evaluated_model"))


LONG_PS = 10.0  # of reference MD that diffusion is taken from
OF_STRUCTURE = {"density_deviation", "rdf_overlap"}
OF_REFERENCE = OF_STRUCTURE | {"force_mae", "energy_mae", "diffusion_deviation"}  # on its frames
FOLLOWS = 2  # samplings by reference MD where a model builds another structure
A_ROUND = 5  # decisions: sample, label, fit, evaluate, end
LESSONS = 3  # samplings that teach properties before something else is tried


def teach(sit: Situation) -> Draft | None:
    """Errors and MD are right, a property is not: sample by reference what it is made of.

    MD near equilibrium visits neither strained cells nor slabs nor vacancies, however long.
    """
    here = _here(sit)
    if here.need != "improve" or sit.model is None:
        return None
    before = sum(h.rule == "R15-teach" for h in sit.state.history)
    lessons = {s.name: lesson(sit, s) for s in here.subsystems if sit.training(s.name)}
    lessons = {name: kinds for name, kinds in lessons.items() if kinds}
    section = parameters.teach(sit, lessons, before) if lessons and before < LESSONS else None
    if section is None:
        return None
    named = "; ".join(f"{', '.join(kinds)} of {name}" for name, kinds in lessons.items())
    keys = keys_of(
        [s for s in here.subsystems if s.name in lessons], "evaluation", "evaluated_model"
    )
    return Draft(section, f"{sit.model.id} misses {named}: label what teaches it.", keys)


def follow(sit: Situation) -> Draft | None:
    """Beside picoseconds of reference MD something is off, and nothing on the model's own MD is:
    learn the way of the reference.

    Labels on the model's own MD say that forces and pressure are right there. What the reference
    comes to, a denser film, salt that dissolves, the model's MD does not visit, however much of it
    is labelled.
    """
    here = _here(sit)
    if here.need != "improve" or sit.model is None:
        return None
    past = [h.rule for h in sit.state.history if h.rule in ("R15-follow", "R15-improve")]
    targets, before = sit.state.targets, past.count("R15-follow")
    if before == FOLLOWS or past[-1:] == ["R15-follow"]:
        return None  # what the model's MD made of it is labelled in between
    for s in (s for s in here.subsystems if s.role == "target"):
        rows = [e for e in sit.evaluated(s.name, sit.model.id) if misses(e, s.role, targets)]
        keys = {c.key for e in rows for c in misses(e, s.role, targets)}
        shortest = min((e.compared_ps or 0.0 for e in rows), default=0.0)
        if not keys & OF_STRUCTURE or not keys <= OF_REFERENCE or shortest < FOLLOWED_PS:
            continue
        steps = steps_for(shortest, sit.config.md.timestep)
        if section := parameters.follow(sit, s, steps, before):
            missed = "; ".join(m for e in rows for m in shortfalls(e, s.role, targets))
            reason = (
                f"{missed}, and nothing on its own MD: sample {s.name} by the reference's own MD."
            )
            return Draft(section, reason, keys_of([s], "evaluation", "evaluated_model"))
    return None


def improve(sit: Situation) -> Draft | None:
    """A failed evaluation: sample what failed; a fit from scratch if that taught nothing.

    A quick fit is finished before, where that costs no more than the runs: what it misses may be
    in the labels already.
    """
    here = _here(sit)
    if here.need != "improve" or sit.model is None:
        return None
    fresh = [s for s in here.subsystems if not sampled_since_evaluation(sit, s)]
    names = ", ".join(s.name for s in here.subsystems)
    keys = keys_of(here.subsystems, "evaluation", "evaluated_model", "rounds", "selection.labels")
    rounds = sit.config.rules.max_rounds
    able = [
        s
        for s in fresh
        if sit.training(s.name) and decisions_left(sit) >= A_ROUND
        if s.rounds < rounds or (s.rounds < rounds + LAST_ROUNDS and dies_later(sit, s))
    ]
    if able:
        section = parameters.model_sample(sit, {s.name: window(sit, s) for s in able})
        failed = f"{names}: evaluation of {sit.model.id} failed"
        if sit.model.effort == "quick":
            fit = parameters.train(sit, "continue", "accurate")
            if price(fit, sit).core_seconds <= price(section, sit).core_seconds:
                unfinished = (*keys, f"models.{sit.model.id}.effort")
                return Draft(fit, f"{failed}, a quick fit: finish it first.", unfinished)
        reason = f"{failed}; sample where it failed."
        return Draft(section, reason, keys)
    if fresh and decisions_left(sit) < A_ROUND:
        return ending.wind_up(sit, f"{decisions_left(sit)} decisions make no round")
    if not fresh and sit.model.parent:
        reason = f"{names}: evaluation failed and sampling bought nothing; fit from scratch."
        return Draft(parameters.train(sit, "scratch", "accurate"), reason, keys)
    missed = "; ".join(ending.missed(sit, sit.model.id)[:3])
    reason = f"{names}: evaluation failed and nothing is left to learn it from: {missed}."
    return ending.end(sit, "failed", reason, keys)


def finish(sit: Situation) -> Draft:
    """Every stage learnt: converged if no target is open."""
    model = ending.best(sit)
    missed = ending.missed(sit, model) if model else ["no usable model"]
    keys = keys_of(sit.targets, "evaluation", "evaluated_model", "early_stop_fraction")
    if missed and (unseen := unjudged(sit)):
        reason = f"{'; '.join(unseen[:3])}: mend what its reference MD failed of, then fork."
        return ending.end(sit, "blocked", reason, keys)
    if missed:
        return ending.end(sit, "failed", f"Every stage done, yet: {'; '.join(missed[:3])}.", keys)
    reason = f"Every stage is stable and {model} meets every target."
    return ending.end(sit, "converged", reason, keys)


RULES: tuple[tuple[str, Rule], ...] = (
    ("R0-no-reference", without_reference),
    ("R0-budget", budget),
    *BEGINNING,
    *RECOVERY,
    *CAPACITY,
    ("R7-proven", proven),
    ("R7-select", select),
    ("R8-train", train),
    ("R9-give-up", give_up),
    ("R10-lost-jobs", lost_jobs),
    ("R11-rescue", rescue),
    ("R12-begin", begin),
    ("R12-sample", sample),
    ("R13-sharpen", sharpen),
    ("R14-evaluate", evaluate),
    ("R14-longer", longer_reference),
    ("R15-without-value", without_value),
    ("R15-teach", teach),
    ("R15-follow", follow),
    ("R15-improve", improve),
    ("R16-finish", finish),
)
