"""Argument lists of the three `mlp` programs: this package's, MLIP-3's and MLIP-2's.

Names are MLIP-3's throughout; a program that lacks an option is refused, never left to ignore it.
"""

from collections.abc import Mapping
from pathlib import Path

from mtp.arguments import unknown
from mtp.errors import MTPError

FLAVOURS = ("embedded", "mlip3", "mlip2")
Value = str | int | float | bool
MLIP3_TRAIN = (
    *("energy_weight", "force_weight", "stress_weight", "weight_scaling", "weight_scaling_forces"),
    *("scale_by_force", "iteration_limit", "tolerance", "init_random", "no_mindist_update"),
    *("al_mode", "skip_preinit", "penalty_weight", "select_factor"),
)
MLIP2_TRAIN = {
    "energy_weight": "energy-weight",
    "force_weight": "force-weight",
    "stress_weight": "stress-weight",
    "scale_by_force": "scale-by-force",
    "iteration_limit": "max-iter",
    "tolerance": "bfgs-conv-tol",
    "skip_preinit": "skip-preinit",
}
MLIP2_WEIGHTING = {("1", "0"): "vibrations", ("0", "0"): "molecules", ("2", "1"): "structures"}


def check_flavour(flavour: str) -> None:
    """Refuse a flavour that does not exist."""
    if flavour not in FLAVOURS:
        raise unknown("mlp flavour", flavour, FLAVOURS)


def train(
    flavour: str, potential: Path, train_set: Path, output: Path, options: Mapping[str, Value]
) -> list[str]:
    """Words after `mlp` that train `potential` on `train_set` into `output`."""
    words = ["train", str(potential), str(train_set)]
    if flavour == "mlip2":
        return [*words, f"--trained-pot-name={output}", *_mlip2_train(dict(options))]
    if flavour == "mlip3":
        _refuse(flavour, options, MLIP3_TRAIN)
        options = {name: value for name, value in options.items() if value is not False}
    return [*words, f"--save_to={output}", *(f"--{k}={_text(v)}" for k, v in options.items())]


def _mlip2_train(options: dict[str, Value]) -> list[str]:
    words = []
    scaling = (
        _text(options.pop("weight_scaling", 1)),
        _text(options.pop("weight_scaling_forces", 0)),
    )
    if scaling not in MLIP2_WEIGHTING:
        pairs = ", ".join("/".join(pair) for pair in MLIP2_WEIGHTING)
        raise MTPError(
            f"MLIP-2 has no weight_scaling={scaling[0]} with weight_scaling_forces={scaling[1]}; "
            f"it knows the pairs {pairs}"
        )
    words.append(f"--weighting={MLIP2_WEIGHTING[scaling]}")
    if options.pop("init_random", False) in {True, "true"}:
        words.append("--init-params=random")
    if options.pop("no_mindist_update", False) not in {True, "true"}:
        words.append("--update-mindist")
    if options.pop("al_mode", "cfg") != "cfg":
        raise MTPError("MLIP-2 has no al_mode=nbh; use al_mode=cfg or another mlp")
    _refuse("mlip2", options, tuple(MLIP2_TRAIN))
    bare = {name for name, value in options.items() if value in {True, "true"}}
    for name, value in options.items():
        if name in bare:
            words.append(f"--{MLIP2_TRAIN[name]}")
        elif value is not False:
            words.append(f"--{MLIP2_TRAIN[name]}={_text(value)}")
    return words


def _refuse(flavour: str, options: Mapping[str, Value], accepted: tuple[str, ...]) -> None:
    for name in options:
        if name not in accepted:
            raise unknown(f"option of a {flavour} mlp train", name, accepted)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_errors(flavour: str, potential: Path, labelled: Path) -> list[str]:
    """Words that compare a potential with labels."""
    verb = "calc-errors" if flavour == "mlip2" else "check_errors"
    return [verb, str(potential), str(labelled)]


def calculate_efs(flavour: str, potential: Path, structures: Path, output: Path) -> list[str]:
    """Words that write energies, forces and stresses of structures into another file."""
    if flavour == "mlip2":
        return ["calc-efs", str(potential), str(structures), str(output)]
    return ["calculate_efs", str(potential), str(structures), f"--output_filename={output}"]


def calculate_grade(
    flavour: str, potential: Path, structures: Path, output: Path, train_set: Path | None
) -> list[str]:
    """Words that write extrapolation grades; MLIP-2 builds its active set from `train_set`."""
    if flavour == "mlip2":
        if train_set is None:
            raise MTPError("MLIP-2 grades need the training set: give --train-set")
        return ["calc-grade", str(potential), str(train_set), str(structures), str(output)]
    return ["calculate_grade", str(potential), str(structures), str(output)]


def select_add(
    flavour: str, files: tuple[Path, Path, Path, Path], swap_limit: int | None = None
) -> list[str]:
    """Words that select among candidates; files: potential, training set, candidates, output."""
    words = ["select-add" if flavour == "mlip2" else "select_add", *map(str, files)]
    if swap_limit is not None:
        name = "selection-limit" if flavour == "mlip2" else "swap_limit"
        words.append(f"--{name}={swap_limit}")
    return words
