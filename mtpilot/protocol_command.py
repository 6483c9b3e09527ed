"""`planner protocol check|try|approve`: a protocol from a file to a person's approval."""

import argparse
from pathlib import Path
from typing import Any

from campaign.errors import UserError
from campaign.terminal import say

DRAFT = "write a protocol from words, by the planner LLM or by a table, to be tried and approved"


def add(commands: Any) -> None:
    """Declare the command's arguments."""
    text = "an MD protocol of one's own: validate, try, approve"
    verbs = commands.add_parser("protocol", help=text, description=text).add_subparsers(
        dest="verb", required=True
    )
    draft = verbs.add_parser("draft", help=DRAFT, description=DRAFT)
    draft.add_argument("file", type=Path, help="protocols/NAME.yaml, to be written")
    draft.add_argument("words", help='like "annealed at 800 K for 20 ps, then held at 300 K"')
    draft.add_argument(
        "--campaign", type=Path, default=Path(), help="campaign folder (default: this one)"
    )
    for verb, purpose in (
        ("check", "validate a protocol file and show its stages"),
        ("try", "a few steps of every stage on a structure of the campaign, with the price"),
        ("approve", "let plans use the file as it stands"),
    ):
        sub = verbs.add_parser(verb, help=purpose, description=purpose)
        sub.add_argument("file", type=Path, help="protocols/NAME.yaml")
        if verb != "check":
            sub.add_argument(
                "--campaign", type=Path, default=Path(), help="campaign folder (default: this one)"
            )
        if verb == "try":
            sub.add_argument("structure", help="an id of structures/index.yaml")
            sub.add_argument("--steps", type=int, default=5, help="of every stage (default: 5)")
            sub.add_argument("--model", help="a model of the campaign instead of its reference")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one verb; what it found goes to standard output."""
    verbs = {"draft": _draft, "check": _check, "try": _try, "approve": _approve}
    say("\n".join(verbs[arguments.verb](arguments)))
    return 0


def _draft(arguments: argparse.Namespace) -> list[str]:
    from campaign.folder import Campaign
    from campaign.protocol_files import protocol_name
    from preparation.protocol_draft import drafted

    protocol_name(arguments.file)
    campaign = Campaign.at(arguments.campaign)
    source = drafted(
        campaign.folder, arguments.file, arguments.words, campaign.task, campaign.config
    )
    return [
        f"{arguments.file}: drafted by {source}",
        *_check(arguments),
        f"read and edit it; then planner protocol try {arguments.file} STRUCTURE, and approve",
    ]


def _check(arguments: argparse.Namespace) -> list[str]:
    from campaign.protocol_files import read_protocol, table

    protocol = read_protocol(arguments.file)
    total = f"{protocol.steps} steps of {protocol.timestep:g} fs, up to {protocol.highest} K"
    return [f"{arguments.file}: valid: {total}", *table(protocol)]


def _try(arguments: argparse.Namespace) -> list[str]:
    from campaign.folder import Campaign
    from campaign.protocol_files import read_protocol, table
    from campaign.protocol_trial import trial_run

    if not 1 <= arguments.steps <= 1000:
        raise UserError(f"--steps: {arguments.steps}: give 1 to 1000 steps of every stage")
    protocol, campaign = read_protocol(arguments.file), Campaign.at(arguments.campaign)
    trial = trial_run(campaign, protocol, arguments.structure, arguments.steps, arguments.model)
    minutes = [trial.seconds_per_step * steps / 60 for steps in protocol.lengths]
    lines = []
    for whole, report, price in zip(table(protocol), trial.stages, minutes, strict=False):
        went = f"{report.steps} steps tried at {report.temperature:.0f} K"
        lines.append(f"{whole}; {went}; {price:.2g} core-min in all")
    if trial.stop:
        raise UserError(
            f"{arguments.file}: stage {len(trial.stages)}: {trial.stop}: {trial.detail}"
        )
    lines.append(
        f"{protocol.steps} steps, about {sum(minutes):.2g} core-min a structure"
        f" ({trial.seconds_per_step:.2g} core-s a step); if that is what you want:"
        f" planner protocol approve {arguments.file}"
    )
    return lines


def _approve(arguments: argparse.Namespace) -> list[str]:
    from campaign.folder import Campaign
    from campaign.protocols import approve

    given = approve(Campaign.at(arguments.campaign).folder, arguments.file)
    return [f"{arguments.file}: {given['sha256'][:12]} approved by {given['by']}"]
