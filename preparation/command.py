"""`planner prepare` and `planner structures`: from a sentence to a campaign folder."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.errors import UserError

if TYPE_CHECKING:
    from preparation.steps import Options

Add = Callable[[str, str], argparse.ArgumentParser]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", command: Add) -> None:
    """The two subcommands."""
    text = "ask what shall be simulated, plan and build structures, make the campaign folder"
    prepare = commands.add_parser("prepare", help=text, description=text)
    prepare.add_argument("sentence", nargs="?", help='like "SEI of lithium battery"')
    prepare.add_argument(
        "folder", nargs="?", type=Path, help="campaign folder (default: named after the sentence)"
    )
    prepare.add_argument("--answers", type=Path, metavar="FILE", help="answers; nothing is asked")
    prepare.add_argument("--config", type=Path, metavar="FILE", help="config.yaml of the campaign")
    prepare.add_argument(
        "--planner", choices=("rules", "anthropic"), help="who asks (default: as configured)"
    )
    prepare.add_argument(
        "--replay", type=Path, metavar="FOLDER", help="hold the recorded dialogue of FOLDER again"
    )
    prepare.add_argument(
        "--only", choices=("task", "plan"), help="stop once task.yaml or the plan is written"
    )
    _building(prepare)
    structures = command("structures", "plan, show, build or check the structures")
    structures.add_argument(
        "step", choices=("plan", "show", "build", "check"), help="what to do with them"
    )
    structures.add_argument(
        "--planner", choices=("rules", "anthropic"), help="who plans (default: as configured)"
    )
    _building(structures)


def _building(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cores", type=int, default=2, help="structures built at once")
    parser.add_argument(
        "--relax", type=int, default=0, metavar="N", help="steps downhill with the reference"
    )


def prepare(arguments: argparse.Namespace) -> int:
    """Dialogue, task, plan, structures, campaign; what is there already is kept."""
    from preparation import steps

    if arguments.replay:
        steps.replay(arguments.replay, steps.say)
        return 0
    sentence, folder = arguments.sentence, arguments.folder
    if sentence and not folder and (arguments.answers or Path(sentence, "dialogue.json").is_file()):
        sentence, folder = None, Path(sentence)  # one word beside answers is the folder
    folder = folder or steps.folder_for(sentence, arguments.answers)
    steps.prepare(folder, sentence, _options(arguments))
    return 0


def structures(arguments: argparse.Namespace) -> int:
    """One step of the structures of a folder."""
    from preparation import steps

    folder, options = arguments.campaign, _options(arguments)
    if arguments.step == "plan":
        steps.say(steps.plan_anew(folder, options))
    elif arguments.step == "show":
        steps.say(steps.shown(folder))
    else:
        failed = steps.build_or_check(folder, options, arguments.step == "build")
        if failed:
            raise UserError(f"{folder}/structures/report.yaml: {failed} structures failed")
    return 0


def _options(arguments: argparse.Namespace) -> "Options":
    from preparation.steps import Options

    names = {field.name for field in fields(Options)}
    return Options(**{k: v for k, v in vars(arguments).items() if k in names})


COMMANDS = {"prepare": prepare, "structures": structures}
