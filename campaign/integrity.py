"""What the planner has written and a hand has changed since: named before anything runs.

Plans may be edited (and are called EDITED then); states, ledgers, decision records, frozen
configurations and data may not, for everything later rests on them unseen. `task.yaml` is the
user's own, but what a campaign is for is fixed when it begins.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from atomistics.structure_index import INDEX, digest, read_index
from atomistics.yaml_files import read_text
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import canonical_json, read, read_json, sha256
from campaign.folder import Campaign
from campaign.ledger import closed_with, intact, totals
from campaign.plan import Plan
from campaign.starts import single_points
from campaign.state import State

PRODUCTS = (
    "settle/runs/*.h5",
    "reference_calc/runs/*.h5",
    "sample/runs/*.h5",
    "sample/dataset.h5",
    "select_data/dataset.h5",
    "train/model.almtp",
    "train/model.almtp.core",
)
# by their hashes, with the state and the action's result
CLOSING = ("plan.yaml", "config.yaml", "decision.json", "approval.json")
PUT_BACK = "put it back as it was"
STARTS = ("reference_calc", "settle")
QUICKLY = 100_000_000  # bytes that are hashed in less than a second
FORK = "fork.json"
NO_MATTER = re.compile(  # how a program is started, spread over cores, brought to convergence
    r"command|profile|directory|label|txt|verbosity|parallel|mpi|n?core|npar|kpar|nsim|nprocs|nelm\w*"
    r"|algo|[ab]mix|electron_maxstep|mixing_(?:beta|mode)|mixer|diagonalization|max_?iter\w*|max_scf",
    re.IGNORECASE,
)


class Made(NamedTuple):
    """A file that an iteration has made, with the hash it had."""

    path: Path
    number: str
    was: str


def products(folder: Path) -> dict[str, str]:
    """SHA-256 of an iteration's models, data sets, trajectories and settled starts, by name."""
    paths = (path for pattern in PRODUCTS for path in folder.glob(pattern))
    return {p.relative_to(folder).as_posix(): file_sha256(p) for p in sorted(paths)}


def begun_from(campaign: Campaign, plan: Plan, state: State) -> dict[str, str]:
    """SHA-256 of the structure files that have been used, by id, as they were when first used."""
    section, folder = plan.parameters, campaign.folder / "structures"
    names = {name for name, _ in section.named_structures()}
    names |= set(single_points(section, state, campaign.structures))
    entries = read_index(folder, files=False)
    return {s.id: digest(s.path) for s in entries if s.id in names} | state.structures


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(record: dict[str, Any]) -> dict[str, str]:
    """Hash of every part of a decision record, so that a change names the part it was made in."""
    parts = {key: value for key, value in record.items() if key != "hashes"}
    return {key: sha256(json.dumps(value, sort_keys=True)) for key, value in parts.items()}


def changed_parts(record: dict[str, Any]) -> list[str]:
    """Parts of a decision record that are not what was written."""
    written, now = record.get("hashes"), hashes(record)
    before = written if isinstance(written, dict) else {}
    return [key for key in dict.fromkeys([*now, *before]) if now.get(key) != before.get(key)]


def require_unchanged(campaign: Campaign, plan: Plan | None = None) -> None:
    """Raise UserError for what was changed: of the finalized iterations, and of `plan`'s own."""
    for fault in changes(campaign, plan):
        raise UserError(fault)


def changes(campaign: Campaign, plan: Plan | None = None, data: bool = True) -> Iterator[str]:
    """Every change with its file and remedy, one line each; `data`: read models and frames too."""
    yield from _task(campaign)
    yield from _structures(campaign)
    for number in range(1, campaign.finalized + 1):
        yield from _finalized(campaign, number)
    yield from _method(campaign)
    if plan:
        yield from _record(campaign.iteration(plan.iteration))
        yield from _decided_for(campaign, campaign.iteration(plan.iteration) / "decision.json")
        yield from _used(campaign, plan, campaign.state()) if data else ()
        yield from _sources(campaign, plan)


def _task(campaign: Campaign) -> Iterator[str]:
    """What the campaign is for, against the state it began with."""
    state, task = campaign.state(), campaign.task
    begun = {s.name: s for s in state.subsystems}
    for s in task.subsystems:
        before = begun.get(s.name)
        for key in ("stage", "role", "max_temperature", "properties") if before else ():
            if getattr(s, key) != getattr(before, key):
                yield (
                    f"{campaign.folder}/task.yaml: subsystems: {s.name}: {key}: changed since the"
                    f" campaign began, which goes on for what stands in its state; {PUT_BACK}"
                )
    for key in state.unlike(task):
        yield (
            f"{campaign.folder}/task.yaml: {key}: changed since the campaign began, which goes"
            f" on for what stands in its state; {PUT_BACK}, or begin another campaign"
        )


def _structures(campaign: Campaign) -> Iterator[str]:
    """What was sampled or judged by may not change sides: frames of it are in the fits, or not."""
    state, index = campaign.state(), {s.id: s for s in campaign.structures}
    sampled = {h.iteration for h in state.history if h.action == "sample"}
    sides = {r.structure: (r.subsystem, True) for r in state.reference}
    settled = ((s, (s.subsystem, s.iteration not in sampled)) for s in state.settled if s.iteration)
    sides |= {s.structure: side for s, side in settled}
    for name, (subsystem, held_out) in sides.items():
        entry = index.get(name)
        if entry and (entry.subsystem, entry.held_out) != (subsystem, held_out):
            yield (
                f"{campaign.folder}/structures/{INDEX}: {name}: {subsystem},"
                f" held_out: {str(held_out).lower()} when it was used; {PUT_BACK}, or give what is"
                " new an id of its own"
            )
    for entry in read_index(campaign.folder / "structures", files=False):
        was = state.structures.get(entry.id)
        if was and not entry.path.is_file():
            yield f"{entry.path}: {entry.id}: missing, MD of it is in the campaign; put it back"
        elif was and digest(entry.path) != was:
            yield (
                f"{entry.path}: {entry.id}: changed since it was used, whatever {INDEX} says;"
                f" {PUT_BACK}, or give what is new an id of its own"
            )


def _method(campaign: Campaign) -> Iterator[str]:
    """What labels: those of two methods, or of two settings of one, are not labels of one thing.

    What only says how a program is started, spread or brought to the same result may change. A
    fork is where a person changes a setting on purpose.
    """
    frozen = campaign.iteration(campaign.finalized) / "config.yaml"
    if not campaign.state().spent.reference_calls or not frozen.is_file():
        return
    now = campaign.config.reference
    try:
        was = read(Config, frozen).reference
    except UserError:
        return  # edited into what is no configuration, and named for it
    forked = campaign.folder / FORK
    on_purpose = forked.is_file() and read_json(forked, "at")["at"] == campaign.finalized
    before = {"method": was.title, **({} if on_purpose else _settings("options", was.options))}
    after = {"method": now.title, **({} if on_purpose else _settings("options", now.options))}
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            fork = f"`planner fork --at {campaign.finalized} NEW` and change it there"
            other = "begin another campaign" if key == "method" else fork
            yield (
                f"{campaign.folder}/config.yaml: reference.{key}: {after.get(key, 'absent')}, was"
                f" {before.get(key, 'absent')} for the labels so far, which do not mix with others;"
                f" {PUT_BACK}, or {other}"
            )


def _settings(key: str, value: Any) -> dict[str, str]:
    """Leaves of a calculator's options that its labels depend on, as text by their path."""
    if NO_MATTER.fullmatch(key.rpartition(".")[2]):
        return {}
    if isinstance(value, dict):
        leaves = (_settings(f"{key}.{name}", inner) for name, inner in value.items())
        return dict(item for leaf in leaves for item in leaf.items())
    moved = isinstance(value, str) and value.startswith(("/", "./", "~"))
    return {key: Path(value).name if moved else json.dumps(value)[:80]}


def _finalized(campaign: Campaign, number: int) -> Iterator[str]:
    """A finalized iteration: what it was made from, its ledger, record and configuration."""
    folder = campaign.iteration(number)
    ledger = folder / "ledger.jsonl"
    if not folder.is_dir():
        yield f"{folder}: missing, later iterations rest on it; put it back"
        return
    totals(ledger)  # whole, or an error of its own
    if not intact(ledger):
        yield (
            f"{ledger}: changed since it was written; {PUT_BACK}, or delete it with"
            " state.yaml beside it: the next run finalizes the iteration again"
        )
        return
    whose, closes = closed_with(ledger)
    if whose not in (None, number):
        yield f"{ledger}: is that of iteration {whose}; {PUT_BACK}"
        return
    for name, was in closes.items():
        path = folder / name
        if not path.is_file() and name != "approval.json":  # a fork leaves it behind
            yield f"{path}: missing, iteration {number} was finalized with it; {PUT_BACK}"
        elif path.is_file() and file_sha256(path) != was:
            yield f"{path}: changed since iteration {number} was finalized with it; {PUT_BACK}"
    if not closes and number == campaign.finalized:
        yield from _unsealed(campaign, number)


def _unsealed(campaign: Campaign, number: int) -> Iterator[str]:
    """The last iteration where its ledger is of a version that did not hold those hashes."""
    folder, state = campaign.iteration(number), campaign.state(number)
    used = {
        folder / "plan.yaml": (state.plan_sha256, _hash(folder / "plan.yaml")),
        campaign.state_file(number - 1): (state.previous_sha256, campaign.state_sha256(number - 1)),
    }
    for path, (was, now) in used.items():
        if was is not None and was != now:
            yield f"{path}: changed since iteration {number} was finalized with it; {PUT_BACK}"
    yield from _record(folder)


def _record(folder: Path) -> Iterator[str]:
    """A decision record, in itself and against the configuration frozen with it."""
    path = folder / "decision.json"
    if not os.path.lexists(path):
        return  # a person's plan, laid there by hand
    record = read_json(path, "format")
    if record.get("iteration") != int(folder.name):
        yield f"{path}: is the record of iteration {record.get('iteration')}; {PUT_BACK}"
        return
    for part in changed_parts(record):
        yield f"{path}: {part}: changed since it was written; {PUT_BACK}"
    was = record.get("config_sha256")
    if "config_sha256" in record and was != _hash(folder / "config.yaml"):
        yield (
            f"{folder}/config.yaml: is not the configuration that was frozen with the decision;"
            f" {PUT_BACK}, or change config.yaml of the campaign and `planner next --again`"
        )


def _decided_for(campaign: Campaign, path: Path) -> Iterator[str]:
    """What the campaign is for, before there is a state that holds it: against the first record."""
    if campaign.finalized or not path.is_file():
        return
    was = read_json(path).get("task_sha256")
    if was not in (None, sha256(canonical_json(campaign.task.model_dump(mode="json")))):
        yield (
            f"{campaign.folder}/task.yaml: changed since the first plan was decided; {PUT_BACK}, or"
            " decide for what it says now with `planner next --again`"
        )


def _used(campaign: Campaign, plan: Plan, state: State) -> Iterator[str]:
    """Models, data, trajectories and starts of a plan, against their hashes in the state."""
    named = plan.parameters.model_dump_json()
    for name, was in state.files.items():
        number = name.partition("/")[0]
        starts = name.split("/")[1] in STARTS
        if not (starts or any(f'"{kind}{number}"' in named for kind in "msd")):
            continue
        yield from _as_made(campaign.folder / "iterations" / name, number, was)


def _as_made(path: Path, number: str, was: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path}: missing; put it back to go on"
    elif file_sha256(path) != was:
        yield f"{path}: is not what iteration {int(number)} has made; {PUT_BACK}"


def kept(campaign: Campaign) -> Iterator[str]:
    """What a next plan may use and that is missing or changed, as far as it is quickly read."""
    for path, number, was in _in_use(campaign)[0]:
        yield from _as_made(path, number, was)


def unread(campaign: Campaign) -> str:
    """What `kept` has not read, in words; empty where it has read everything."""
    left = [path for path, _, _ in _in_use(campaign)[1]]
    size = sum(path.stat().st_size for path in left)
    what = f"{len(left)} files in use, {size / 1e6:.0f} MB"
    return f"not read here: {what}; a plan that uses them checks them" if left else ""


def _in_use(campaign: Campaign) -> tuple[list[Made], list[Made]]:
    """Models, data sets, starts and trajectories not yet labelled from: the smallest, up to QUICKLY
    bytes in all, with those that are missing, and the others."""
    state, room = campaign.state(), QUICKLY
    used = {m.id for m in state.usable_models} | {d.id for d in state.datasets if d.active}
    used |= {s.id for s in state.samples if s.selected_by is None}
    files, near, far = [], [], []
    for name, was in state.files.items():
        number, action, *_ = name.split("/")
        path = campaign.folder / "iterations" / name
        kind = "s" if "/runs/" in name else path.name[0]  # model.almtp, dataset.h5
        if action in STARTS or f"{kind}{number}" in used:
            size = path.stat().st_size if path.is_file() else 0
            files.append((size, path, number, was))
    for size, *one in sorted(files):
        room -= size
        (near if room >= 0 else far).append(Made(*one))
    return near, far


def _sources(campaign: Campaign, plan: Plan) -> Iterator[str]:
    """Structure files, as the jobs of a plan that names some will read them."""
    if plan.parameters.named_structures():
        try:
            read_index(campaign.folder / "structures")
        except UserError as error:
            yield str(error)


def _hash(path: Path) -> str:
    return sha256(read_text(path)) if path.is_file() else "missing"
