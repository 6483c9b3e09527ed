"""Verbs of active learning: calculate_grade, select_add, cut_extrapolative_nbh."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import IO

import numpy as np

from mtp.arguments import Arguments, Option, Verb
from mtp.commands.evaluation import log_stream, naming
from mtp.configuration import Configuration
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import iterate_cfg, write_cfg
from mtp.geometry import cut_sphere
from mtp.selection.maxvol import INITIAL, THRESHOLD
from mtp.selection.selector import MODES, Graded, RowWeights, Selector

CUT_THRESHOLD = 1.1


def calculate_grade(arguments: Arguments) -> int:
    """Write configurations with their grades (and those of their atoms in neighbourhood mode)."""
    potential = read_potential(arguments["potential"])
    if "train_set" in arguments.files:
        selector = Selector(potential, RowWeights.of_mode("cfg"))
        _add(selector, arguments["train_set"])
        if arguments["als_filename"]:
            write_potential(arguments["als_filename"], selector.with_active_set())
    else:
        selector = Selector.stored(potential, arguments["potential"])
    graded = _graded(selector, arguments["structures"])
    broken: list[str] = []
    with log_stream(arguments["log"]) as log:
        written = write_cfg(arguments["output"], _logged(graded, arguments, log, broken))
    print(f"Grade evaluation complete: {written} configurations in {arguments['output']}")
    if broken:
        raise MTPError(broken[0])
    return 0


def _graded(selector: Selector, path: str) -> Iterator[Graded]:
    with naming(path):
        yield from selector.grade(iterate_cfg(path))


def _add(selector: Selector, path: str, *how: float | None) -> None:
    with naming(path):
        selector.add(iterate_cfg(path), *how)


def _logged(
    graded: Iterator[Graded], arguments: Arguments, log: IO[str] | None, broken: list[str]
) -> Iterator[Configuration]:
    number = -1
    for number, item in enumerate(graded):
        if log:
            print(f"Sampling: cfg# {number}\tgrade: {item.grade:g}", file=log)
        features = item.configuration.features | {"ID": str(number)}
        if arguments["add_grade_feature"]:
            features = features | {"MV_grade": f"{item.grade:.6f}"}
        if item.grade >= arguments["threshold_save"]:
            yield replace(item.configuration, grades=item.grades, features=features)
        if 0 < arguments["threshold_break"] < item.grade:
            broken.append(
                f"Breaking threshold exceeded (cfg# {number}, grade: {item.grade:g}); "
                f"{arguments['output']} holds the configurations up to it"
            )
            return
    if number < 0:
        raise MTPError(f"{arguments['structures']}: holds no configuration")


def select_add(arguments: Arguments) -> int:
    """Choose the candidates that enlarge the active set, and write them; as MLIP-3, see there.

    With --number=N exactly N: those that entered with the largest grades, or, where fewer do, more
    from active sets of what is left, one after the other.
    """
    for name in ("force_weight", "stress_weight"):
        if arguments[name]:
            raise MTPError(
                f"mlp select_add: --{name} must be 0: grades here are of energies and site energies"
            )
    selector = _start(arguments)
    train = arguments["train_set"]
    _add(selector, train)
    print(f"{len(selector.sources)} configurations selected from training set")
    first = selector.next_key
    limit = arguments["swap_limit"] or None
    _add(selector, arguments["candidates"], arguments["threshold"], limit)
    keys = range(first, selector.next_key)
    if not keys:
        raise MTPError(f"{arguments['candidates']}: holds no configuration")
    _add(selector, train, arguments["threshold"])
    with log_stream(arguments["log"]) as log:
        _log_swaps(selector, log)
    chosen = selector.taken(keys)
    if arguments["number"]:
        chosen = _of_number(selector, arguments, keys)
    write_cfg(arguments["output"], chosen)
    if arguments["save_to"]:
        write_potential(arguments["save_to"], selector.with_active_set())
    if arguments["save_selected_to"]:
        write_cfg(arguments["save_selected_to"], selector.taken(range(selector.next_key)))
    print(f"Training set was increased by {len(chosen)} configurations")
    return 0


def _of_number(selector: Selector, arguments: Arguments, keys: range) -> list[Configuration]:
    """The N best candidates; `keys` are the candidates' in `selector`, in the order of the file."""
    number, taken = arguments["number"], {}
    left = dict(enumerate(keys))
    while True:
        grades = selector.entry_grades()
        inside = {place: key for place, key in left.items() if key in selector.sources}
        best = sorted(inside, key=lambda place: (-grades[inside[place]], place))
        for place in best[: number - len(taken)]:
            (taken[place],) = selector.taken(range(inside[place], inside[place] + 1))
        left = {place: key for place, key in left.items() if place not in taken}
        if len(taken) == number or not left:
            break
        candidates = enumerate(iterate_cfg(arguments["candidates"]))
        selector = Selector(selector.potential, selector.weights, arguments["init_value"])
        selector.add((c for place, c in candidates if place in left), arguments["threshold"])
        left = {place: key for key, place in enumerate(left)}
        if not selector.sources:
            break
    if len(taken) < number:
        raise MTPError(
            f"--number={number}: {arguments['candidates']} offers {len(taken)} configurations "
            "whose environments differ; ask for no more"
        )
    return [taken[place] for place in sorted(taken)]


def _start(arguments: Arguments) -> Selector:
    """The stored active set, or an empty one where there is none or another mode is asked for."""
    potential = read_potential(arguments["potential"])
    weighted = {"energy_weight", "site_en_weight", "weight_scaling"} & arguments.given
    if potential.active_set is not None and not weighted and not arguments["al_mode"]:
        return Selector.stored(potential, arguments["potential"])
    weights = RowWeights.of_mode(arguments["al_mode"] or "cfg")
    if weighted:
        weights = RowWeights(
            arguments["energy_weight"], arguments["site_en_weight"], arguments["weight_scaling"]
        )
        if not (weights.energy or weights.site):
            raise MTPError("mlp select_add: energy_weight or site_en_weight must be above zero")
    return Selector(potential, weights, arguments["init_value"])


def _log_swaps(selector: Selector, log: IO[str] | None) -> None:
    for number, swap in enumerate(selector.maxvol.swaps, 1):
        left = "a dummy row" if swap.left is None else "cfg# {} eqn# {}".format(*swap.left)
        entered = "a dummy row" if swap.entered is None else "cfg# {} eqn# {}".format(*swap.entered)
        if log:
            print(
                f"MaxVol: swap {number}\t{entered} replaces {left}\tgrade: {swap.grade:g}", file=log
            )


def cut_extrapolative_nbh(arguments: Arguments) -> int:
    """Cut the sphere around the atom of largest grade out of every configuration."""
    spheres, number = [], -1
    for number, configuration in enumerate(iterate_cfg(arguments["structures"])):
        if configuration.grades is None:
            raise MTPError(
                f"{arguments['structures']}: configuration {number} has no nbh_grades; "
                "write them by mlp calculate_grade with an active set of al_mode=nbh"
            )
        centre = int(np.argmax(configuration.grades))
        grade = float(configuration.grades[centre])
        if grade < CUT_THRESHOLD:
            continue
        sphere = cut_sphere(configuration, centre, arguments["cutoff"])
        marks = {"cfg#": number, "nbh#": centre, "extrapolation_grade": f"{grade:.6f}"}
        spheres.append(replace(sphere, features={key: str(v) for key, v in marks.items()}))
        print(
            f"from cfg#{number + 1} cut nbh#{centre} with grade={grade:g} "
            f"(atoms count is {len(sphere)})"
        )
    if number < 0:
        raise MTPError(f"{arguments['structures']}: holds no configuration")
    write_cfg(arguments["output"], chain(spheres))
    print(f"{len(spheres)} neighbourhoods in {arguments['output']}")
    return 0


VERBS = (
    Verb(
        "calculate_grade",
        "calculate extrapolation grades with a stored active set",
        calculate_grade,
        (
            ("potential", "structures", "output"),
            ("potential", "train_set", "structures", "output"),
        ),
        (
            Option("log", "grade of each configuration: stdout, none or a file.", default="stdout"),
            Option("threshold_save", "write configurations from this grade on.", float, 0.0),
            Option("threshold_break", "stop with an error above this grade; 0: never.", float, 0.0),
            Option("add_grade_feature", "write Feature MV_grade.", bool, True),
            Option("als_filename", "with a training set: write the active set here (.almtp)."),
        ),
        ("calc_grade",),
    ),
    Verb(
        "select_add",
        "select candidates that enlarge the active set of a training set",
        select_add,
        (("potential", "train_set", "candidates", "output"),),
        (
            Option(
                "swap_limit",
                "most swaps among candidates; 0: no limit.",
                int,
                0,
                minimum=0,
                aliases=("selection_limit",),
            ),
            Option(
                "threshold",
                "grade above which a candidate enters.",
                float,
                THRESHOLD,
                minimum=1.0001,
                aliases=("select_threshold",),
            ),
            Option(
                "number", "exactly so many configurations; 0: as many as enter.", int, 0, minimum=0
            ),
            Option("al_mode", "start anew in this mode.", choices=MODES),
            Option("energy_weight", "weight of a configuration's energy.", float, 1.0, minimum=0),
            Option("site_en_weight", "weight of site energies.", float, 0.0, minimum=0),
            Option("force_weight", "only 0: forces are no equations here.", float, 0.0, minimum=0),
            Option(
                "stress_weight", "only 0: stresses are no equations here.", float, 0.0, minimum=0
            ),
            Option("batch_size", "accepted: a batch is what fits 48 MB.", int, 9999, minimum=1),
            Option("weight_scaling", "power of N^(1/2) dividing the energy.", int, 2, minimum=0),
            Option("init_value", "size of the dummy rows.", float, INITIAL, minimum=1e-12),
            Option(
                "save_to",
                "write the potential with the new active set here.",
                aliases=("als_filename",),
            ),
            Option(
                "save_selected_to",
                "write all configurations of the active set here.",
                aliases=("selected_filename",),
            ),
            Option("log", "swaps: stdout, none or a file."),
        ),
    ),
    Verb(
        "cut_extrapolative_nbh",
        "cut the most extrapolative neighbourhood out of each configuration",
        cut_extrapolative_nbh,
        (("structures", "output"),),
        (Option("cutoff", "radius of the sphere, Å.", float, 7.0, minimum=0.1),),
        refused={
            "threshold_save": "MLIP-3 does not read it; what is cut has a grade of 1.1 or more",
            "no_save_additional_atoms": "no atom beyond the sphere is ever saved",
        },
    ),
)
