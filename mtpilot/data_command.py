"""`planner import` and `planner export`: labels that exist already, in and out of a campaign."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.errors import UserError
from campaign.terminal import say

EXPORTS = ("extxyz", "xyz", "cfg", "db", "json", "traj")


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Declare the arguments of both."""
    taken = command("import", "take labelled frames into a campaign before its first decision")
    taken.add_argument("files", type=Path, nargs="+", help="OUTCAR, vasprun.xml, extxyz, .db, ...")
    taken.add_argument("--subsystem", required=True, help="of task.yaml, that the frames belong to")
    taken.add_argument("--test", type=Path, nargs="+", default=[], help="files to hold out whole")
    taken.add_argument("--held-out", type=float, default=0.1, help="fraction (default: 0.1)")
    taken.add_argument("--format", help="outcar, extxyz, ..., where no name tells")
    taken.add_argument("--species", default="", help="elements in the order of types: Li,C,O")
    taken.add_argument("--keys", default="", help="where labels stand: energy=KEY,stress=none")
    taken.add_argument("--units", default="", help="energy=Ha,forces=Ha/Bohr,stress=GPa,length=A")
    taken.add_argument("--voigt", default="", help="order of six components: xx,yy,zz,xy,yz,zx")
    taken.add_argument("--recompute", type=int, default=0, metavar="N", help="frames to compare")
    for flag, purpose in (
        ("--same-method", "the labels are of the campaign's reference; the files do not say so"),
        (
            "--keep-outliers",
            "keep labels whose energy is far from all others or not that of the forces",
        ),
        ("--nonconverged", "keep steps whose electronic loop ended at its limit"),
        ("--new", "make the campaign folder from these frames alone"),
        ("--run", "carry the campaign on at once, as planner run does"),
    ):
        taken.add_argument(flag, action="store_true", help=purpose)
    taken.add_argument("--profile", help="of --run: Snakemake profile, e.g. slurm")
    taken.add_argument("--temperature", type=int, default=300, help="of --new, K (default: 300)")
    given = command("export", "write the campaign's labels for other programs")
    given.add_argument("file", type=Path, help=f"NAME.{{{','.join(EXPORTS)}}}, or a folder: DeePMD")
    kept = command("deposit", "the campaign as a folder for a data repository")
    kept.add_argument("folder", type=Path, help="a new folder")
    given.add_argument("--datasets", default="", help="d000,d003 (default: all that are active)")


def take(arguments: argparse.Namespace) -> int:
    """`planner import`: read, check, split, record."""
    from campaign.folder import Campaign
    from campaign.from_data import campaign_of
    from campaign.imported import Wanted, read_files, take_in
    from campaign.lock import locked

    options = _read_options(arguments)
    files = read_files(arguments.files, options, arguments.format)
    tests = read_files(arguments.test, options, arguments.format)
    wanted = _wanted(arguments, Wanted)
    if arguments.new:
        frames, held_out = (
            [atoms for reading in readings.values() for atoms in reading.frames]
            for readings in (files, tests)
        )
        campaign_of(arguments.campaign, wanted.subsystem, frames, held_out, arguments.temperature)
        wanted = wanted.model_copy(update={"alone": True})
    campaign = Campaign.at(arguments.campaign)
    try:
        with locked(campaign.folder, "planner import"):
            say("\n".join(take_in(campaign, files, tests, wanted)))
    except UserError:
        if arguments.new:  # the remedy is the same command with another flag
            shutil.rmtree(campaign.folder)
        raise
    return 0


def _read_options(arguments: argparse.Namespace) -> Any:
    from ase.data import atomic_numbers

    from mtp.errors import MTPError
    from mtp.reading.frames import ReadOptions, order_of, pairs_of

    species = tuple(arguments.species.replace(",", " ").split())
    if strange := [word for word in species if word not in atomic_numbers]:
        raise UserError(f"--species: {strange[0]!r:.20} is no element")
    try:
        return ReadOptions(
            species,
            pairs_of("keys", arguments.keys),
            pairs_of("units", arguments.units),
            order_of(arguments.voigt),
            arguments.nonconverged,
        )
    except MTPError as error:
        raise UserError(str(error)) from None


def _wanted(arguments: argparse.Namespace, record: type) -> Any:
    from campaign.files import parse

    keys = ("subsystem", "held_out", "recompute", "same_method", "keep_outliers")
    return parse(record, {key: getattr(arguments, key) for key in keys}, "planner import")


def give(arguments: argparse.Namespace) -> int:
    """`planner export`: energy (eV), forces (eV/Å), stress (eV/Å^3) of the active data sets."""
    from campaign.export import export
    from campaign.folder import Campaign

    names = [name for name in arguments.datasets.split(",") if name]
    say(export(Campaign.at(arguments.campaign), arguments.file, names))
    return 0


def keep(arguments: argparse.Namespace) -> int:
    """`planner deposit`: potential, data, decisions, hashes and how to do it again."""
    from campaign.deposit import deposit
    from campaign.folder import Campaign

    say(deposit(Campaign.at(arguments.campaign), arguments.folder))
    return 0
