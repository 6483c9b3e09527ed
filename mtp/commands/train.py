"""The verb train: fit a potential to labelled configurations, alone or on the ranks of mpiexec."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np

from mtp.arguments import Arguments, Option, Verb, unknown
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.error_report import ErrorReport
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg
from mtp.parallel import Ranks, run_on_ranks
from mtp.potential import Potential, untrained
from mtp.repulsion import INNER, OUTER, RepulsiveCore, read_core
from mtp.selection.selector import MODES, RowWeights, Selector
from mtp.training.fit import MEAN_STRESS, OPTIMISERS, Log, TrainingOptions, check_labels, train
from mtp.training.loss import REGULARISATION, WEIGHT_FEATURE, LossWeights, configuration_weight
from mtp.training.objective import release, serve
from mtp.training.starting_point import level_for
from mtp.training.weighting import balanced_weights

WEIGHTINGS = {"vibrations": (1, 0), "molecules": (0, 0), "structures": (2, 1)}
GROUP_FEATURE = "config_type"
TEMPLATE = ("level", "species", "cutoff", "radial_basis")


def run(arguments: Arguments) -> int:
    """Train, report the errors, select the active set, write the potential."""
    return run_on_ranks(lambda ranks: _run(ranks, arguments))


def _run(ranks: Ranks, arguments: Arguments) -> int:
    if ranks.rank > 0:
        serve(ranks)
        return 0
    output, options = _output(arguments), _options(arguments)
    training = read_cfg(arguments["train_set"])
    check_labels(training, arguments["train_set"])
    potential, description = _potential(arguments, training)
    _check_species(potential, training, arguments)
    validation = read_cfg(arguments["validation"]) if arguments["validation"] else []
    if arguments["group_weights"]:
        training = _in_groups(training, arguments["group_weights"])
    with _log(arguments["log"]) as log, np.errstate(over="ignore", invalid="ignore"):
        if description:
            log(description)
        if balances(arguments):
            stresses = "stress_weight" not in arguments.given
            potential, options = _balanced(ranks, potential, training, options, log, stresses)
        trained = train(ranks, potential, training, validation, options, log)
        release(ranks)
        log(_errors(trained, training).text())
        if validation:
            log(_held_out(trained, validation))
        mode = arguments["al_mode"] or ("nbh" if output.suffix == ".almtp" else "")
        if mode:
            selector = Selector(trained, RowWeights.of_mode(mode))
            selector.add(training)
            selector.add_displaced(training, arguments["al_displacement"])
            trained = selector.with_active_set()
        write_potential(output, trained)
        if mode:
            log(f'Selection: state saved to "{output}"')
    if options.checkpoint:
        options.checkpoint.unlink(missing_ok=True)
    print("training complete")
    return 0


def balances(arguments: Arguments) -> bool:
    """Whether the fit finds the weights of its kinds of labels.

    With a potential file, MLIP's own form of the command, its weights hold. Those of forces and
    stresses stay where they are given beside --weights=auto.
    """
    values = sorted(arguments.given & {"energy_weight", "force_weight", "stress_weight"})
    if arguments["weights"] == "auto" and "energy_weight" in values:
        raise MTPError("--weights=auto finds what --energy_weight says; give only one")
    if arguments["weights"] == "auto" and not arguments["force_weight"]:
        raise MTPError("--weights=auto weighs energies against forces; --force_weight is 0")
    if arguments["weights"]:
        return arguments["weights"] == "auto"
    return not values and "potential" not in arguments.files


def _balanced(
    ranks: Ranks,
    potential: Potential,
    training: list[Configuration],
    options: TrainingOptions,
    log: Log,
    stresses: bool,
) -> tuple[Potential, TrainingOptions]:
    began = time.monotonic()
    start, weights = balanced_weights(ranks, potential, training, options, log, stresses)
    left = max(0.0, options.time_limit - (time.monotonic() - began))
    return start, replace(options, weights=weights, time_limit=left)


def _in_groups(training: list[Configuration], text: str) -> list[Configuration]:
    """The configurations with the weight of their group (Feature config_type) in Feature weight."""
    weights: dict[str, float] = {}
    for word in text.split(","):
        name, colon, value = word.rpartition(":")
        try:
            weights[name] = float(value)
        except ValueError:
            colon = ""
        if not colon or not 0 <= weights[name] < inf:
            raise MTPError(f"--group_weights: {word!r:.40}: write NAME:WEIGHT,NAME:WEIGHT")
    present = {c.features.get(GROUP_FEATURE, "") for c in training}
    if missing := sorted(set(weights) - present):
        raise unknown("--group_weights: group", missing[0], sorted(present - {""}))
    return [
        replace(c, features=c.features | {WEIGHT_FEATURE: repr(configuration_weight(c) * own)})
        if (own := weights.get(c.features.get(GROUP_FEATURE, ""))) is not None
        else c
        for c in training
    ]


def _output(arguments: Arguments) -> Path:
    given, target = arguments.files.get("potential"), arguments["save_to"]
    if not target and not (given and arguments["overwrite"]):
        raise MTPError(
            "mlp train: name the result by --save_to=FILE (or overwrite the input: --overwrite)"
        )
    path = Path(target or given)
    if path.is_dir() or not path.parent.is_dir():
        raise MTPError(f"--save_to={target}: name a file in a folder that exists")
    return path


def loss_weights(arguments: Arguments) -> LossWeights:
    """The weights of the loss that WEIGHT_OPTIONS ask for."""
    scaling = WEIGHTINGS.get(arguments["weighting"])
    if scaling and arguments.given & {"weight_scaling", "weight_scaling_forces"}:
        raise MTPError("--weighting sets weight_scaling and weight_scaling_forces; give only one")
    energy, forces = scaling or (arguments["weight_scaling"], arguments["weight_scaling_forces"])
    return LossWeights(
        arguments["energy_weight"],
        arguments["force_weight"],
        arguments["stress_weight"],
        energy,
        forces,
        arguments["scale_by_force"],
        arguments["penalty_weight"],
        arguments["regularisation"],
    )


def _options(arguments: Arguments) -> TrainingOptions:
    return TrainingOptions(
        weights=loss_weights(arguments),
        optimiser=arguments["optimizer"],
        iteration_limit=arguments["iteration_limit"],
        tolerance=arguments["tolerance"],
        patience=arguments["patience"],
        time_limit=arguments["time_limit"] or inf,
        seed=arguments["seed"],
        pretrain=not arguments["skip_preinit"],
        init_random=arguments["init_random"] or arguments["init_params"] == "random",
        update_min_dist=arguments["update_mindist"] and not arguments["no_mindist_update"],
        atom_energies=_atom_energies(arguments["atom_energies"]),
        mean_stress=arguments["mean_stress"],
        checkpoint=Path(arguments["checkpoint"]) if arguments["checkpoint"] else None,
    )


def _atom_energies(text: str | None) -> tuple[float, ...]:
    try:
        energies = tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError:
        energies = (inf,)
    if not all(-inf < energy < inf for energy in energies):
        raise MTPError(f"--atom_energies={text!r:.40}: an energy (eV) for each type is needed")
    return energies


def _potential(arguments: Arguments, training: list[Configuration]) -> tuple[Potential, str]:
    """What is fitted, and what the log says of it where it is new."""
    if "potential" in arguments.files:
        if extra := sorted(arguments.given & set(TEMPLATE)):
            raise MTPError(f"--{extra[0]} describes a new potential; leave the potential file out")
        return _with_core(read_potential(arguments["potential"]), arguments), ""
    species = arguments["species"] or 1 + max(int(c.types.max(initial=0)) for c in training)
    level = arguments["level"] or level_for(training, species, arguments["radial_basis"])
    template = untrained(
        level,
        species,
        max_dist=arguments["cutoff"],
        radial_basis_size=arguments["radial_basis"],
        min_dist=min(1.9, 0.5 * arguments["cutoff"]),
    )
    description = f"A new potential of level {level}: {template.parameter_count} coefficients"
    return _with_core(template, arguments), description


def repulsive_core(arguments: Arguments) -> RepulsiveCore | None:
    """The core that --zbl or --core describe."""
    if arguments["zbl"] and arguments["core"]:
        raise MTPError("--zbl and --core both describe the repulsive core; give only one")
    if arguments["core"]:
        return read_core(arguments["core"])
    if arguments["zbl"]:
        lengths = arguments["zbl_inner"], arguments["zbl_outer"]
        return RepulsiveCore.of_elements(arguments["zbl"].split(","), *lengths)
    if extra := sorted(arguments.given & {"zbl_inner", "zbl_outer"}):
        raise MTPError(f"--{extra[0]} is of the repulsive core: name the elements by --zbl=A,B")
    return None


def _with_core(potential: Potential, arguments: Arguments) -> Potential:
    """The potential on the core that is described, or on the one that it has."""
    core = repulsive_core(arguments) or potential.core
    if core is not None and (far := float(core.outer.max())) > potential.max_dist:
        raise MTPError(f"the repulsive core reaches {far:g} A, beyond the cutoff; shorten it")
    return replace(potential, core=core)


def _check_species(
    potential: Potential, training: list[Configuration], arguments: Arguments
) -> None:
    types = {int(kind) for c in training for kind in c.types}
    if types and "species" in arguments.given and max(types) + 1 != potential.species_count:
        raise MTPError(
            f"--species={potential.species_count}: {arguments['train_set']} has types up to "
            f"{max(types)}, that is {max(types) + 1} species"
        )
    species = max(potential.species_count, *(t + 1 for t in types)) if types else 0
    energies = _atom_energies(arguments["atom_energies"])
    if energies and len(energies) != species:
        raise MTPError(f"--atom_energies: {len(energies)} are given, there are {species} species")
    core = potential.core
    if core is not None and len(core) != species:
        raise MTPError(
            f"the repulsive core has {len(core)} elements, potential and {arguments['train_set']} "
            f"{species}; name all by --zbl=A,B"
        )


def _errors(potential: Potential, configurations: list[Configuration]) -> ErrorReport:
    report = ErrorReport()
    evaluations = Engine(potential).evaluate(configurations)
    for labelled, evaluation in zip(configurations, evaluations, strict=True):
        report.add(labelled, evaluation)
    return report


def _held_out(potential: Potential, configurations: list[Configuration]) -> str:
    errors = _errors(potential, configurations).errors()
    return (
        f"Validation set of {len(configurations)} configurations: RMS energy per atom "
        f"{errors['energy_per_atom'].rms:.6g} eV, RMS force {errors['forces'].rms:.6g} eV/A"
    )


@contextmanager
def _log(name: str) -> Iterator[Log]:
    """A function that writes one line at once to where `--log` says, so that it can be followed."""
    if name == "none":
        yield lambda _: None
    elif name == "stdout":
        yield lambda line: print(line, flush=True)
    else:
        with Path(name).open("w", encoding="utf-8") as stream:
            yield lambda line: print(line, file=stream, flush=True)


def _number(name: str, default: float, meaning: str, *aliases: str) -> Option:
    return Option(name, meaning, type(default), default, aliases=aliases, minimum=0)


WEIGHT_OPTIONS = (
    _number("energy_weight", 1.0, "weight of energies."),
    _number("force_weight", 0.01, "weight of forces."),
    _number("stress_weight", 0.001, "weight of stresses."),
    _number("weight_scaling", 1, "energies weigh 1 / N^this, N atoms."),
    _number("weight_scaling_forces", 0, "forces weigh 1 / N^this."),
    Option("weighting", "both scalings at once.", choices=tuple(WEIGHTINGS)),
    _number("scale_by_force", 0.0, "forces weigh this / (|F|^2 + this) if positive."),
    _number("penalty_weight", 1e-6, "weight of the normalisation of the radial functions."),
    _number("regularisation", REGULARISATION, "weight of the squares of the linear coefficients."),
)
SHARED = (
    *WEIGHT_OPTIONS,
    Option(
        "weights",
        "auto: energies and forces weigh alike by errors of frames not trained on, stresses a "
        "tenth unless --stress_weight is given; "
        "mlip: as above. Without a potential file and weights auto, else mlip.",
        choices=("auto", "mlip"),
    ),
    Option("group_weights", "NAME:W,NAME:W: frames whose Feature config_type is NAME weigh W."),
    _number("seed", 0, "of what is random in the start of an untrained potential."),
    Option("al_mode", "active set to store; nbh for an .almtp file.", choices=MODES),
    Option("atom_energies", "E,E: exact energies (eV) of a lone atom of each type."),
    Option("zbl", "repulsive core under the potential: the element of each type, as Li,C."),
    _number("zbl_inner", INNER, "it is whole up to this many sums of covalent radii."),
    _number("zbl_outer", OUTER, "and gone from this many on."),
    Option("core", "file of a repulsive core with lengths of your own; see docs/engine.md."),
)
OPTIONS = (
    Option("save_to", "file for the trained potential.", aliases=("trained_pot_name",)),
    Option("overwrite", "write over the input potential.", bool, False),
    *SHARED,
    Option("optimizer", "how to minimise.", default="gauss-newton", choices=tuple(OPTIMISERS)),
    _number("iteration_limit", 1000, "most passes over the data.", "max_iter"),
    _number("tolerance", 1e-3, "end when 50 iterations gain less, relative.", "bfgs_conv_tol"),
    _number("time_limit", 0.0, "end after this many seconds; 0: no limit."),
    Option("validation", "held-out .cfg; its best potential is kept.", aliases=("valid_cfgs",)),
    _number("patience", 30, "end after so many iterations without a better validation loss."),
    Option("no_mindist_update", "keep the potential's min_dist.", bool, False),
    Option("update_mindist", "set min_dist from the training set.", bool, True),
    Option("init_random", "start from random radial functions, not polynomials.", bool, False),
    Option("init_params", "random: the same as init_random.", choices=("random", "same")),
    Option("skip_preinit", "no pre-training on parts of the data.", bool, False),
    Option("checkpoint", "file to save progress in, and to continue from."),
    _number(
        "mean_stress",
        MEAN_STRESS,
        "share by which the loss may rise in the end for the mean stresses of frames with the "
        "same Feature mean_stress.",
    ),
    _number(
        "al_displacement",
        0.0,
        "active set: environments of species that have too few count displaced as well, by so many "
        "Å; 0, as MLIP: no.",
    ),
    Option("log", "progress: stdout, none or a file.", default="stdout"),
    Option("level", "of a new potential; else 6 to 20, by the number of labels.", int, minimum=2),
    Option("species", "of a new potential; else those of the training set.", int, minimum=1),
    Option("cutoff", "of a new potential, Å.", float, 5.0, minimum=0.5),
    Option("radial_basis", "Chebyshev polynomials of a new potential.", int, 8, minimum=2),
)
REFUSED = {
    "reprt_to": "a slip of MLIP-3's; the report is in --log",
    "select_factor": "only MLIP's linear regression uses it",
    "auto_minmax_magmom": "potentials with magnetic moments are not here",
}
VERBS = (
    Verb(
        "train",
        "fit a potential",
        run,
        (("potential", "train_set"), ("train_set",)),
        OPTIONS,
        refused=REFUSED,
    ),
)
