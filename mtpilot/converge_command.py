"""`planner converge`: cutoff, k-points and smearing on the campaign's own structures."""

import argparse
from collections.abc import Callable

from campaign.errors import UserError
from campaign.terminal import complain, say


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Declare its arguments."""
    converge = command("converge", "error against cost of the reference's numerical settings")
    converge.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=V1,V2,...",
        help="cutoff, kpoints, smearing or a path among reference.options, with its values"
        " (default: the three that are set, around what is configured)",
    )
    converge.add_argument(
        "--structures", default="", help="ids (default: the smallest of each subsystem)"
    )
    converge.add_argument("--stress", type=float, default=0.1, help="tolerance, GPa (default: 0.1)")
    converge.add_argument(
        "--write", action="store_true", help="put the chosen values into config.yaml"
    )


def run(arguments: argparse.Namespace) -> int:
    """Label, compare, show; the status is 0 where every setting has a value within tolerance."""
    from campaign.converge import converge, render, write_chosen
    from campaign.files import write_text
    from campaign.folder import Campaign
    from campaign.report.figures import convergence_figure

    campaign = Campaign.at(arguments.campaign)
    asked = dict(_series(text) for text in arguments.vary)
    names = [name for name in arguments.structures.split(",") if name]
    result = converge(campaign, asked, names, arguments.stress, complain)
    say(render(result))
    figure = campaign.folder / "converge/convergence.svg"
    write_text(figure, convergence_figure(result.series, result.tolerances))
    say(f"{figure}: errors against cost")
    for change in write_chosen(campaign, result) if arguments.write else ():
        say(f"config.yaml: reference.options.{change}")
    return 0 if all(one.chosen is not None for one in result.series) else 1


def _series(text: str) -> tuple[str, list[float]]:
    """`cutoff=20,30,40` as a name and its values."""
    name, _, values = text.partition("=")
    try:
        numbers = [float(word) for word in values.split(",")]
    except ValueError:
        numbers = []
    if not name or len(set(numbers)) < 2 or not all(0 < n < 1e6 for n in numbers):
        raise UserError(
            f"--vary={text!r:.60}: give a name and two or more numbers: cutoff=20,30,40"
        )
    return name, numbers
