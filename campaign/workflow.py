"""What the Snakefile reads: the pending plan of a campaign as params for the rules."""

import hashlib
import json
import math
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from atomistics.yaml_files import read_text
from campaign.actions import ACTIONS
from campaign.actions.section import Items
from campaign.approval import as_judged, overtime, refusal
from campaign.config import Config
from campaign.cost import bare_calls, seconds_per_call, settling_calls
from campaign.errors import UserError
from campaign.files import read, sha256
from campaign.folder import Campaign
from campaign.gates import require
from campaign.integrity import FORK, require_unchanged
from campaign.plan import Plan
from campaign.starts import single_points, unsettled
from campaign.state import State

WORTH = 60.0  # core-seconds, what the start of a job is small beside
LONGEST = 100_000  # characters of the items of a job
COMMAND = 125_000  # characters of items and section; Linux refuses a line of 131,072


@dataclass(frozen=True)
class Jobs:
    """One iteration for Snakemake: its folder, and by action the plan's section and the chunks.

    A section is one JSON object, a chunk that of the items of one job by name. They go over as
    params, so that Snakemake sees an edit of the plan and the job's log shows what it did.
    `datasets` are the files of labelled frames that the plan's method gives.
    """

    folder: Path
    name: str = ""
    action: str = "none"
    iteration: int = 0
    previous: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=lambda: dict.fromkeys(ACTIONS, "{}"))
    chunks: dict[str, dict[str, str]] = field(
        default_factory=lambda: {a: {} for a in ("settle", *ACTIONS)}
    )
    datasets: dict[str, list[str]] = field(default_factory=lambda: {a: [] for a in ACTIONS})
    model: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    refusal: str = ""

    def chunk_files(self, action: str) -> list[str]:
        """Outputs of the jobs of one action that work on items."""
        return [f"{action}/chunks/{name}.json" for name in self.chunks[action]]


def jobs(folder: Path, begins: bool = False) -> Jobs:
    """The pending iteration of the campaign in `folder`; nothing to do where there is none.

    `begins`: by whom it is started, not in one of its jobs: what has begun in time may end.
    """
    if not (folder / "task.yaml").is_file():
        return Jobs(folder)
    try:
        return _pending_jobs(Campaign.at(folder), begins)
    except UserError as error:
        sys.exit(f"mtpilot: {error}")


def _pending_jobs(campaign: Campaign, begins: bool) -> Jobs:
    plan = campaign.pending
    if plan is None:
        return Jobs(campaign.iteration(campaign.last) if campaign.last else campaign.folder)
    state, situation = campaign.state(), campaign.situation()
    if begins:
        require_unchanged(campaign, plan)
    # what has begun in time may end
    require(as_judged(campaign, plan), replace(situation, wall_hours=0.0))
    config = read(Config, campaign.iteration(plan.iteration) / "config.yaml")
    section, per_job = plan.parameters.argument(), plan.parameters.items_per_job(config)
    room = min(LONGEST, COMMAND - len(section))
    if room < LONGEST // 10:
        place = f"iterations/{plan.iteration:03d}/plan.yaml"
        raise UserError(
            f"{place}: {plan.action}: {len(section)} characters of parameters, a command line takes"
            f" {COMMAND - LONGEST // 10}; name fewer structures, data sets or frames in one plan"
        )
    table, settling = items(plan, state, config), starts(plan, state, config)
    single = single_points(plan.parameters, state, campaign.structures)
    calls = settling_calls(plan.parameters, situation), bare_calls(plan, situation)
    dataset = [f"{plan.action}/dataset.h5"] if plan.parameters.gives_dataset() else []
    none = Jobs(campaign.iteration(plan.iteration))
    return replace(
        none,
        name=_name(campaign, plan),
        action=plan.action,
        iteration=plan.iteration,
        previous=_previous(campaign),
        sections={**none.sections, plan.action: section},
        chunks={
            **none.chunks,
            "settle": chunked(settling, _worth_a_job(settling, calls[0], campaign), LONGEST)
            | _of_single_points(single),
            plan.action: chunked(
                table, max(per_job, _worth_a_job(table, calls[1], campaign)), room
            ),
        },
        datasets={**none.datasets, plan.action: dataset},
        model=_model(plan),
        targets=["state.yaml"],
        refusal=refusal(campaign, plan) or (begins and overtime(campaign)) or "",
    )


def _worth_a_job(table: Items, calls: int, campaign: Campaign) -> int:
    """Items of one job where a reference call is cheap beside the start of a job.

    So many that the job has a minute's work, by what a call has cost so far, but never less than
    two jobs of them all; as many as the configuration says where they cost more, or none was made.
    """
    least = campaign.config.reference_runs_per_job
    if not calls or not table or not campaign.core_seconds():
        return least
    each = calls / len(table) * seconds_per_call(campaign.situation())
    return max(least, min(math.ceil(len(table) / 2), int(WORTH / each)))


def _name(campaign: Campaign, plan: Plan) -> str:
    """What the jobs of this plan are called in a queue: equal for a repetition, else different."""
    frozen = campaign.iteration(plan.iteration) / "config.yaml"
    forked = campaign.folder / FORK  # a fork's jobs are not those of where it comes from
    apart = read_text(forked) if forked.is_file() else ""
    digest = sha256(plan.model_dump_json() + frozen.read_text(encoding="utf-8") + apart)
    task = re.sub(r"\W+", "-", campaign.task.name, flags=re.ASCII)[:30]
    return f"{task}-{plan.iteration:03d}-{digest[:8]}"


def items(plan: Plan, state: State, config: Config) -> Items:
    """The independent pieces of work of a plan by name, each with its seed where it needs one."""
    table = plan.parameters.items(state, config)
    seed = getattr(plan.parameters, "seed", None)
    if seed is None:
        return table
    return {name: {**item, "seed": _seed(seed, name)} for name, item in table.items()}


def _previous(campaign: Campaign) -> list[str]:
    """The state before, seen from the iteration; none where nothing was done or imported yet."""
    there = campaign.finalized or campaign.state_file(0).is_file()
    return [f"../{campaign.finalized:03d}/state.yaml"] if there else []


def starts(plan: Plan, state: State, config: Config) -> Items:
    """Structures this plan is the first to use, to be settled before its own items."""
    section = plan.parameters
    seed = getattr(section, "seed", 0)
    return {
        name: {
            "structure": name,
            "held_out": section.held_out,
            "seed": _seed(seed, f"settle/{name}"),
        }
        for name in unsettled(section.named_structures(), state, config.settle)
    }


def _of_single_points(names: list[str]) -> dict[str, str]:
    """One job for all of them, as each is one call; numbered beyond those of settling."""
    table = {name: {"structure": name, "held_out": False, "seed": 0} for name in names}
    chunks = chunked(table, max(1, len(table)), LONGEST)
    return {f"9{key[1:]}": chunk for key, chunk in chunks.items()}


def _model(plan: Plan) -> list[str]:
    model = getattr(plan.parameters, "model", None)
    return [f"../{int(model[1:]):03d}/train/model.almtp"] if model else []


def _seed(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def chunked(table: Items, size: int, longest: int = LONGEST) -> dict[str, str]:
    """The items as one JSON object a job, `size` of them or as many as `longest` characters."""
    names = list(table)
    if not names:
        return {}
    length = sum(len(json.dumps({name: item})) for name, item in table.items())
    count = max(math.ceil(len(names) / size), math.ceil(length / longest))
    chunks = [names[i::count] for i in range(count)]
    return {
        f"{i + 1:04d}": json.dumps({name: table[name] for name in chunk}, sort_keys=True)
        for i, chunk in enumerate(chunks)
    }
