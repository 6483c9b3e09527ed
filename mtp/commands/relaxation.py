"""The verb relax: positions and cell to the minimum of enthalpy, grades watched on the way."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from mtp.arguments import Arguments, Option, Verb, unknown
from mtp.commands.evaluation import log_stream, mark_of
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.error_report import GPA
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import iterate_cfg, write_cfg
from mtp.neighbours import Neighbours
from mtp.relaxation import Relaxation, RelaxationSettings, UnrelaxedError
from mtp.selection.selector import Selector

DEFAULTS = RelaxationSettings()


def _setting(name: str, meaning: str, kind: type = float, minimum: float = 0.0) -> Option:
    default = getattr(DEFAULTS, name)
    return Option(name, meaning, kind, None if default == -np.inf else default, minimum=minimum)


SETTINGS = (
    _setting("pressure", "external pressure, GPa.", minimum=-np.inf),
    _setting("force_tolerance", "largest force, eV/Å; 0: atoms keep their places in the cell."),
    _setting("stress_tolerance", "largest stress, GPa; 0: cell stays."),
    _setting("energy_tolerance", "done too when the energy is below this, eV.", minimum=-np.inf),
    _setting("iteration_limit", "most steps.", int, 1),
    _setting("max_step", "farthest an atom or cell vector moves in a step, Å.", minimum=1e-6),
    _setting("min_step", "given up when a step is shorter than this, Å."),
    _setting("mindist", "no two atoms come nearer than this, Å."),
    Option(
        "init_mindist", "atoms are first pushed apart to this, Å; or radii {type:R,...}.", str, "0"
    ),
    _setting("bfgs_wolfe_c1", "sufficient decrease in the line search.", minimum=1e-12),
    _setting("bfgs_wolfe_c2", "decrease of the slope in the line search.", minimum=1e-6),
    _setting("use_gd_method", "steepest descent instead of BFGS.", bool),
    _setting("correct_cell", "reduced and lower triangular cell, before and after.", bool),
    _setting("forces_elasticity_scale", "first guess of force constants, eV/Å^2.", minimum=1e-6),
    _setting("stress_elasticity_scale", "first guess of elastic constants, GPa.", minimum=1e-6),
)
OTHERS = (
    Option("freeze_small_grads", "only false: atoms with small forces take part.", bool, False),
    Option("energy_der_wrt_magmom", "accepted: no potential here has moments.", float),
    Option("log", "a line per step: stdout, stderr, none or a file."),
)


@dataclass
class _Watch:
    """Grades of every geometry whose energy is calculated."""

    selector: Selector | None
    arguments: Arguments
    preselected: list[Configuration]

    def __call__(self, now: Configuration, near: Neighbours) -> None:
        if self.selector is None:
            return
        graded = self.selector.grade_neighbours([now], near)[0]
        if graded.grade > self.arguments["threshold_save"]:
            features = now.features | {"MV_grade": f"{graded.grade:.6f}"}
            unlabelled = {"energy": None, "forces": None, "virial": None, "site_energies": None}
            kept = replace(now, grades=graded.grades, features=features, **unlabelled)
            self.preselected.append(kept)
        if graded.grade > self.arguments["threshold_break"]:
            raise UnrelaxedError(f"Breaking threshold exceeded (MV-grade: {graded.grade:g})")


def relax(arguments: Arguments) -> int:
    """Relax every configuration of a file; those that fail are named, and kept when asked."""
    potential = read_potential(arguments["potential"])
    given = _settings(arguments)
    selector = None
    if arguments["extrapolation_control"]:
        selector = Selector.stored(potential, arguments["potential"])
    watch = _Watch(selector, arguments, [])
    relaxed, failed = [], []
    with log_stream(given.pop("log")) as log:
        runs = _runs(Engine(potential), _relaxation_settings(given), watch, log)
        for number, configuration in enumerate(iterate_cfg(arguments["structures"]), 1):
            try:
                relaxed.append(runs(number, configuration))
            except (UnrelaxedError, MTPError) as error:
                print(f"Relaxation of cfg#{number} failed: {error}")
                features = configuration.features | {"from": "relaxation_FAILED"}
                failed.append(replace(configuration, features=features))
    total = len(relaxed) + len(failed)
    if not total:
        raise MTPError(f"{arguments['structures']}: holds no configuration")
    write_cfg(arguments["output"], relaxed)
    if arguments["extrapolation_control"]:
        write_cfg(arguments["save_extrapolative_to"], watch.preselected)
    if arguments["save_unrelaxed"]:
        write_cfg(arguments["save_unrelaxed"], failed)
    print(f"From {total} configurations {len(relaxed)} were relaxed successfully")
    if failed and not arguments["save_unrelaxed"]:
        raise MTPError(
            f"{len(failed)} of {total} configurations were not relaxed and are not in "
            f"{arguments['output']}; keep them by --save_unrelaxed=FILE"
        )
    return 0


def _runs(
    engine: Engine, settings: RelaxationSettings, watch: _Watch, log: IO[str] | None
) -> Callable[[int, Configuration], Configuration]:
    """A function that relaxes configuration `number` of a file."""

    def run(number: int, configuration: Configuration) -> Configuration:
        def report(line: str) -> None:
            if log:
                print(f"cfg {number}\t{line}", file=log)

        own = settings
        if energy := configuration.features.get("relax:breaking_energy"):
            own = replace(settings, energy_tolerance=_number("relax:breaking_energy", energy))
        frozen = _frozen(configuration)
        if frozen.any():
            own = replace(own, correct_cell=False)
        relaxation = Relaxation(engine, configuration, own, frozen, watch, report)
        return _marked(relaxation.run(), settings.pressure, engine)

    return run


def _marked(relaxed: Configuration, pressure: float, engine: Engine) -> Configuration:
    features = relaxed.features | mark_of(engine) | {"from": "relaxation_OK"}
    if pressure:
        work = pressure / GPA * relaxed.volume
        features["external_pressure,[GPa]"] = f"{pressure:.6f}"
        features |= {"PV": f"{work:.6f}", "enthalpy": f"{relaxed.energy + work:.6f}"}
    return replace(relaxed, features=features)


def _frozen(configuration: Configuration) -> np.ndarray:
    """(N,) atoms that Feature relax:fixed_atoms names by their numbers from 0."""
    frozen = np.zeros(len(configuration), bool)
    for word in configuration.features.get("relax:fixed_atoms", "").split(","):
        if not word.strip():
            continue
        if not word.strip().isdecimal() or int(word) >= len(frozen):
            raise MTPError(f"Feature relax:fixed_atoms: {word!r:.20} is no atom from 0 on")
        frozen[int(word)] = True
    return frozen


def _number(name: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise MTPError(f"{name}: {word!r:.20} is not a number") from None


def _relaxation_settings(given: dict[str, Any]) -> RelaxationSettings:
    if given.pop("freeze_small_grads"):
        raise MTPError(
            "freeze_small_grads=true is refused: frozen forces grow while others relax, "
            "so that the end is no minimum; leave it out"
        )
    if given["min_step"] >= given["max_step"]:
        raise MTPError("min_step must be below max_step")
    if not 0 < given["bfgs_wolfe_c1"] < given["bfgs_wolfe_c2"] < 1:
        raise MTPError("the line search needs 0 < bfgs_wolfe_c1 < bfgs_wolfe_c2 < 1")
    names = {f.name for f in fields(RelaxationSettings)}
    values = {name: v for name, v in given.items() if name in names and v is not None}
    values["init_mindist"] = _init_mindist(values["init_mindist"])
    return RelaxationSettings(**values)


def _init_mindist(text: str) -> float | dict[int, float]:
    """A distance (Å), or the radii in {type:R,type:R}."""
    with contextlib.suppress(ValueError):
        if not text.startswith("{"):
            return float(text)
        pairs = (pair.split(":") for pair in text.strip("{}").split(","))
        return {int(kind): float(radius) for kind, radius in pairs}
    raise MTPError(f"init_mindist: {text!r:.40} is neither a distance nor {{type:radius,...}}")


def _settings(arguments: Arguments) -> dict[str, Any]:
    """Settings of the file, overruled by those of the command line."""
    options = {option.name: option for option in (*SETTINGS, *OTHERS)}
    settings = {name: arguments[name] for name in options}
    path = arguments["relaxation_settings"] or arguments.files.get("settings")
    if not path:
        return settings
    for number, words in _lines(path):
        name = words[0].removeprefix("relax:").replace("-", "_")
        if name not in options or len(words) != 2:
            raise unknown(f"{path}:{number}: relaxation setting", " ".join(words), list(options))
        if name not in arguments.given:
            try:
                settings[name] = options[name].convert(words[1])
            except MTPError as error:
                raise MTPError(f"{path}:{number}: {error}") from None
    return settings


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """Words of each line that holds a setting; # begins a comment."""
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        if words := line.partition("#")[0].replace("=", " ").split():
            yield number, words


VERBS = (
    Verb(
        "relax",
        "relax configurations",
        relax,
        (("potential", "structures", "output"),),
        (
            *SETTINGS,
            *OTHERS,
            Option("relaxation_settings", "file with the settings above, one per line."),
            Option("extrapolation_control", "watch grades.", bool, False),
            Option("threshold_save", "keep configurations above this grade.", float, 2.1),
            Option("threshold_break", "give up above this grade.", float, 10.0),
            Option("save_extrapolative_to", "where to keep them.", default="preselected.cfg"),
            Option("save_unrelaxed", "where to keep configurations that failed."),
        ),
        refused={
            **dict.fromkeys(("fit", "lotf"), "nothing is fitted while relaxing, as in MLIP-3"),
            **dict.fromkeys(("mlip", "calculate_efs"), "the potential is the first file"),
        },
    ),
)
