"""The verb tune: level, radial basis, cutoff and regularisation by held-out errors in a budget."""

from dataclasses import astuple, replace
from itertools import chain
from math import inf
from pathlib import Path

import numpy as np

from mtp.arguments import Arguments, Option, Verb, parse
from mtp.commands import train as training_command
from mtp.commands.train import balances, loss_weights, repulsive_core
from mtp.configuration import Configuration
from mtp.errors import MTPError
from mtp.formats.cfg import read_cfg
from mtp.parallel import Ranks
from mtp.training.checkpoint import fingerprint
from mtp.training.fit import TrainingOptions, check_labels
from mtp.training.tuning import Setting, Table, Trial, Tuner, blank, cheapest_of, described
from mtp.training.weighting import balanced_weights

CHOICES = {"cutoff": float, "radial_basis": int, "regularisation": float, "level": int}
LISTS = {
    "cutoff": "cutoffs",
    "radial_basis": "radial_bases",
    "regularisation": "regularisations",
    "level": "levels",
}
LOWEST = {"cutoff": 0.5, "radial_basis": 2, "regularisation": 0.0, "level": 2}
HELD_OUT = 5  # every fifth frame where no validation set is given


def tune(arguments: Arguments) -> int:
    """Try settings, tell which is best and which is enough, fit that one to all data."""
    training, held_out = _sets(arguments)
    types = {int(kind) for c in chain(training, held_out) for kind in c.types}
    core = repulsive_core(arguments)
    options = TrainingOptions(
        weights=loss_weights(arguments),
        iteration_limit=arguments["trial_passes"],
        seed=arguments["seed"],
    )
    choices = {name: _values(arguments, name, kind) for name, kind in CHOICES.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        if balances(arguments):
            first = Setting(**{name: values[0] for name, values in choices.items()})
            start = blank(first, max(types) + 1, core)
            _, weights = balanced_weights(Ranks(), start, training, options, print)
            options = replace(options, weights=weights)
        mark = _mark(training, held_out, options, arguments)
        table = Table.opened(Path(arguments["table"]), mark)
        seconds, most = arguments["cpu_budget"] or inf, arguments["coefficients"] or inf
        tuner = Tuner(training, held_out, max(types) + 1, options, table, core, most, seconds)
        trials = tuner.best(choices)
    chosen = cheapest_of(trials, arguments["within"])
    print(f"best:   {described(trials[0])}\nchosen: {described(chosen)}")
    table.choose(chosen)
    return _fit(arguments, chosen, max(types) + 1) if arguments["save_to"] else 0


def _sets(arguments: Arguments) -> tuple[list[Configuration], list[Configuration]]:
    training = read_cfg(arguments["train_set"])
    check_labels(training, arguments["train_set"])
    if arguments["validation"]:
        held_out = read_cfg(arguments["validation"])
        check_labels(held_out, arguments["validation"])
        return training, held_out
    judges = training[HELD_OUT - 1 :: HELD_OUT]
    fitted = [c for i, c in enumerate(training) if i % HELD_OUT != HELD_OUT - 1]
    kinds = [{int(kind) for c in part for kind in c.types} for part in (fitted, judges)]
    if not judges or kinds[1] - kinds[0]:
        raise MTPError(
            f"{arguments['train_set']}: every fifth configuration held out leaves too few, or a "
            "species that no other has; name held-out ones by --validation=FILE"
        )
    return fitted, judges


def _values(arguments: Arguments, name: str, kind: type) -> list[float]:
    option, lowest = LISTS[name], LOWEST[name]
    text = arguments[option]
    try:
        values = [kind(word) for word in text.split(",")]
    except ValueError:
        raise MTPError(f"--{option}={text!r:.40}: numbers with commas between are needed") from None
    if wrong := [value for value in values if not lowest <= value < inf]:
        raise MTPError(f"--{option}: {wrong[0]:g} is below {lowest:g}, or not finite")
    return values


def _mark(
    training: list[Configuration],
    held_out: list[Configuration],
    options: TrainingOptions,
    arguments: Arguments,
) -> str:
    """Hash of what a trial depends on beside its setting."""
    data = [
        value
        for c in chain(training, held_out)
        for value in (c.cell, c.types, c.positions, c.energy, c.forces, c.virial, c.features)
    ]
    core = repulsive_core(arguments)
    given = [list(astuple(options.weights)), options.iteration_limit, options.seed]
    return fingerprint(*given, core.tag if core else "", len(training), *data)[:16]


def _fit(arguments: Arguments, chosen: Trial, species: int) -> int:
    """The chosen setting on all data, by `mlp train`."""
    words = [arguments["train_set"], f"--species={species}", f"--save_to={arguments['save_to']}"]
    words += [f"--{name}={getattr(chosen, name)}" for name in CHOICES]
    passed = (o.name for o in training_command.SHARED if o.name in arguments.given)
    words += [f"--{name}={arguments[name]}" for name in passed]
    return training_command.run(parse(training_command.VERBS[0], words))


VERBS = (
    Verb(
        "tune",
        "choose level, radial basis, cutoff and regularisation by held-out errors",
        tune,
        (("train_set",),),
        (
            Option("save_to", "fit the chosen setting to all data and write it here."),
            Option("table", "one row a fit; a later run goes on from it.", default="tune.csv"),
            Option("validation", "held-out .cfg; else every fifth configuration is."),
            Option("cpu_budget", "CPU seconds of all trials; 0: no limit.", float, 0.0, minimum=0),
            Option("coefficients", "most that the potential may have.", int, minimum=1),
            Option("within", "the chosen may be worse than the best by this.", float, 0.02),
            Option("trial_passes", "passes over the data of a trial.", int, 200, minimum=1),
            Option("levels", "to try, the first to begin with.", default="8,12,16,20"),
            Option("radial_bases", "polynomials to try.", default="8,12"),
            Option("cutoffs", "to try, Å.", default="5,4.5,6"),
            Option("regularisations", "to try, as of mlp train.", default="1e-10,1e-6"),
            *training_command.SHARED,
        ),
    ),
)
