"""The `planner` command: argument parsing only."""

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from campaign import __version__
from campaign.errors import GateError, UserError
from campaign.terminal import complain, say
from mtp.errors import MTPError
from mtpilot import converge_command, data_command, protocol_command
from preparation import command as preparation

UNCONVERGED, USAGE = 5, 64


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; the exit status is one of docs/commands.md."""
    arguments = planner_parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (UserError, MTPError) as error:
        complain(f"planner: {error}")
        return getattr(error, "status", 1)
    except OSError as error:
        complain(f"planner: {error.filename or 'file'}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt as signalled:
        complain("planner: interrupted; the same command goes on from here")
        return getattr(signalled, "status", 130)


class Parser(argparse.ArgumentParser):
    """Mistyped words have a status of their own: argparse's 2 is that of a plan that waits."""

    def error(self, message: str) -> NoReturn:
        """Say what was mistyped."""
        self.exit(USAGE, f"{self.prog}: {message}; {self.prog} --help\n")


def planner_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    parser = Parser(
        prog="planner", description="From a campaign's state to its next plan, audited and run."
    )
    parser.add_argument("--version", action="version", version=f"mtpilot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--campaign", type=Path, default=Path(), help="campaign folder (default: this one)"
        )
        return sub

    init = commands.add_parser("init", help="make a campaign folder")
    init.add_argument("source", help="name of a shipped example, or a folder with task.yaml")
    init.add_argument("folder", type=Path, help="where the campaign shall live")
    following = command("next", "decide and write the next iteration's plan")
    following.add_argument("--plan", type=Path, help="a plan of one's own, for the same gates")
    following.add_argument(
        "--again", action="store_true", help="decide anew in place of a plan that has not begun"
    )
    for name, text in (
        ("audit", "show what the waiting plan would do and cost"),
        ("status", "show where the campaign stands"),
        ("replay", "rebuild every plan from its record, offline"),
    ):
        command(name, text).add_argument("--json", action="store_true", help="for machines")
    commands.choices["audit"].add_argument(
        "--lookahead", type=int, default=0, metavar="K", help="what rules would do for K more"
    )
    reported = command("report", "how the campaign stands, as a page: report.html, model_card.md")
    reported.add_argument("--to", type=Path, metavar="FOLDER", help="default: report, or result")
    compared = commands.add_parser("compare", help="two campaigns, or one at two iterations")
    compared.add_argument("one", help="FOLDER, FOLDER@N after iteration N, or A,B,... to average")
    compared.add_argument("other", help="as the first")
    compared.add_argument("--json", action="store_true", help="for machines")
    fork = command("fork", "another campaign that goes on from a finalized iteration")
    fork.add_argument("new", type=Path, help="where it shall live")
    fork.add_argument("--at", type=int, required=True, metavar="N", help="last iteration to keep")
    command("approve", "let the waiting plan run as it stands")
    explained = command("explain", "one decision in words, from its record alone")
    explained.add_argument("iteration", type=int, metavar="N", help="the iteration it decided")
    explained.add_argument("--json", action="store_true", help="for machines")
    _doctor_options(command("doctor", "try out what a campaign rests on, and say how to mend it"))
    run = command("run", "next, audit and snakemake until the campaign ends")
    run.add_argument("--profile", help="Snakemake profile, e.g. slurm")
    protocol_command.add(commands)
    data_command.add(command)
    converge_command.add(command)
    preparation.add(commands, command)
    # its flags come from the builders' contracts, which the other commands need not load
    build = commands.add_parser(
        "build", help="build one structure", add_help=False, prefix_chars="\0"
    )
    build.add_argument("rest", nargs=argparse.REMAINDER)
    schemas = commands.add_parser("schema", help="write the JSON schemas of plan, state, ...")
    schemas.add_argument("folder", type=Path, help="where they shall lie")
    return parser


def _init(arguments: argparse.Namespace) -> int:
    from campaign.create import create

    campaign = create(arguments.source, arguments.folder)
    say(f"{campaign.folder}: campaign '{campaign.task.name}' is ready; planner run")
    return 0


def _fork(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.fork import fork

    made = fork(Campaign.at(arguments.campaign), arguments.at, arguments.new)
    say(f"{made.folder}: goes on after iteration {arguments.at}; change config.yaml, planner run")
    return 0


def _next(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.lock import locked
    from campaign.provenance import source
    from campaign.terminal import plain
    from planner.decide import next_plan

    campaign = Campaign.at(arguments.campaign)
    with locked(campaign.folder, "planner next"):
        plan = next_plan(campaign, arguments.plan, arguments.again)
    path = campaign.iteration(plan.iteration) / "plan.yaml"
    say(f"{path}: {plan.action}  (source: {source(campaign, plan)})")
    say(f"  reason    {plain(plan.reason, 600)}")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from planner.audit import audit, render

    campaign = Campaign.at(arguments.campaign)
    audited = audit(campaign)
    if arguments.lookahead:
        from planner.lookahead import lookahead
        from planner.lookahead import render as projected

        ahead = lookahead(campaign, audited.plan, arguments.lookahead)
    if arguments.json:
        steps = {k: [vars(s) for s in v] for k, v in ahead.items()} if arguments.lookahead else {}
        text = json.dumps({**json.loads(audited.as_json()), "lookahead": steps}, indent=1)
    else:
        text = render(audited)
        text += "\n" + projected(ahead) if arguments.lookahead else ""
    say(text)
    if audited.denied:
        raise GateError("; ".join(audited.denied))
    return 0


def _approve(arguments: argparse.Namespace) -> int:
    from campaign.approval import approve
    from campaign.folder import Campaign

    given = approve(Campaign.at(arguments.campaign))
    say(f"plan {given['plan_sha256'][:12]} approved by {given['by']}; planner run")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from planner.replay import render, replay

    findings = replay(Campaign.at(arguments.campaign))
    text = json.dumps([vars(f) for f in findings], indent=1) if arguments.json else render(findings)
    say(text)
    return 1 if any(f.faults for f in findings) else 0


def _explain(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.provenance import source_now
    from planner.explain import explain
    from planner.record import load

    folder = Campaign.at(arguments.campaign).iteration(arguments.iteration)
    data = load(folder)
    try:
        source = source_now(data, folder)
        text = json.dumps(data, indent=1) if arguments.json else explain(data, source)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/decision.json: no whole record ({error!r})") from None
    say(text)
    return 0


def _doctor_options(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument(
        "--llm", action="store_true", help="only the server of the planner LLM (a few tokens)"
    )
    doctor.add_argument(
        "--cells",
        action="store_true",
        help="compare one crystal in two cells by a program too (two labels, up to an hour each)",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from mtpilot.doctor import doctor

    campaign = Campaign.at(arguments.campaign)
    return 0 if doctor(campaign, arguments.llm, say, arguments.cells) else 1


def _status(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.status import as_json, render, status

    standing = status(Campaign.at(arguments.campaign))
    say(as_json(standing) if arguments.json else render(standing))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.report.document import write_now

    campaign = Campaign.at(arguments.campaign)
    page = write_now(campaign, arguments.to)
    say(f"{page}: {campaign.task.name} after {campaign.finalized} iterations")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from campaign.report.compare import compare, render, sides

    rows = compare(sides(arguments.one), sides(arguments.other))
    names = (arguments.one, arguments.other)
    say(
        json.dumps([row._asdict() for row in rows], indent=1)
        if arguments.json
        else render(rows, names)
    )
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from campaign.folder import Campaign
    from campaign.status import closing
    from planner.loop import run

    campaign = run(Campaign.at(arguments.campaign).folder, arguments.profile, say)
    say(closing(campaign))
    verdict = campaign.state().verdict
    return 0 if verdict and verdict.outcome in ("converged", "fitted") else UNCONVERGED


def _import(arguments: argparse.Namespace) -> int:
    taken = data_command.take(arguments)
    return _run(arguments) if arguments.run else taken


def _schema(arguments: argparse.Namespace) -> int:
    from mtpilot.schema import write_schemas

    write_schemas(arguments.folder)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from preparation.build_command import main

    return main(arguments.rest)


_COMMANDS = {
    "converge": converge_command.run,
    "build": _build,
    "deposit": data_command.keep,
    "export": data_command.give,
    "import": _import,
    "init": _init,
    "next": _next,
    "audit": _audit,
    "approve": _approve,
    "replay": _replay,
    "explain": _explain,
    "doctor": _doctor,
    "status": _status,
    "report": _report,
    "compare": _compare,
    "fork": _fork,
    "run": _run,
    "protocol": protocol_command.run,
    "schema": _schema,
    **preparation.COMMANDS,
}

if __name__ == "__main__":
    sys.exit(main())
