"""Which ASE calculator a reference method is, and how it wants to be treated.

Any calculator can be named by its import path; the methods with a name of their own are entries of
the same table. A new one is a line here and a word in `campaign.material.Method`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from atomistics.contract import Keep
from atomistics.errors import UserError


class Settings(Protocol):
    """What is read of a configuration's section `reference`; `calculator` and `reuse` if any."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def max_force(self) -> float: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Method:
    """A reference method by name, with its defaults: `Settings` made in code."""

    method: str
    calculator: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    reuse: bool | None = None
    keep: Keep = "failed"
    max_force: float = float("inf")
    timeout: float = 600.0


@dataclass(frozen=True)
class Recipe:
    """How the calculator of a method is made.

    `calculator` is `package.module:Name` of a class or of a function that returns a calculator.
    """

    calculator: str
    options: Mapping[str, Any] = field(default_factory=dict)  # ours, under those of the user
    reuse: bool = True  # one calculator for all geometries; False: a new one for each
    isolated: bool = True  # in a process that can be killed; False: cheap, pure Python
    program: bool = False  # runs a program in a folder of its own
    log: str | None = None  # the option of a library that names its output: it gets a folder too
    keep: Keep = "failed"  # whose files stay, packed
    needs: tuple[str, ...] = ()  # options without which it cannot start
    profile: str | None = None  # class beside the calculator that takes the options of `needs`
    package: str = ""  # what to install when the import fails
    where: str = "reference.options"  # how messages call the options


# tblite starts its self-consistent field from the last density it has seen: labels then depend on
# history (8e-6 eV/Å measured for BN). A new calculator per call takes 0.1 ms.
_TBLITE = Recipe("tblite.ase:TBLite", reuse=False, package="tblite")
_QUIET = {"verbosity": 0, "cache_api": False}
_PROGRAM: dict[str, Any] = {"reuse": False, "program": True}

RELAXING = ("opt", "copt", "tightopt", "looseopt", "verytightopt", "optts", "md", "neb", "goat")

NAMED: dict[str, Recipe] = {
    "gfn1-xtb": replace(_TBLITE, options={"method": "GFN1-xTB", **_QUIET}),
    "gfn2-xtb": replace(_TBLITE, options={"method": "GFN2-xTB", **_QUIET}),
    "chgnet": Recipe("atomistics.reference.catalog:chgnet", package="mtpilot[chgnet]"),
    "vasp": Recipe("ase.calculators.vasp:Vasp", **_PROGRAM),
    "cp2k": Recipe("ase.calculators.cp2k:CP2K", **_PROGRAM),
    "espresso": Recipe(
        "ase.calculators.espresso:Espresso",
        needs=("command", "pseudo_dir"),
        profile="EspressoProfile",
        **_PROGRAM,
    ),
    "orca": Recipe(
        "ase.calculators.orca:ORCA", needs=("command",), profile="OrcaProfile", **_PROGRAM
    ),
}
BY_PATH: dict[str, Recipe] = {
    recipe.calculator: recipe
    for recipe in (
        *NAMED.values(),
        _TBLITE,
        Recipe("calorine.calculators:CPUNEP", package="mtpilot[nep]"),
        # it continues from the density before
        Recipe("gpaw:GPAW", reuse=False, log="txt", package="gpaw"),
        Recipe("ase.calculators.emt:EMT", isolated=False),
        Recipe("ase.calculators.lj:LennardJones", isolated=False),
        Recipe("ase.calculators.morse:MorsePotential", isolated=False),
    )
}


def recipe_of(settings: Settings, folder: Path | None = None) -> Recipe:
    """Return the recipe of `settings` with the user's options in it.

    Option values that begin with `./` are paths from `folder`, the campaign's.

    Raises
    ------
    UserError
        for a method that is not known, or for `ase` without a calculator.
    """
    path, reuse = getattr(settings, "calculator", None), getattr(settings, "reuse", None)
    if settings.method == "ase":
        if not path:
            raise UserError(
                "config.yaml: reference.calculator: missing; method ase needs package.module:Name"
            )
        recipe = BY_PATH.get(path, Recipe(path))
    elif settings.method in NAMED:
        recipe = NAMED[settings.method]
    else:
        names = ", ".join((*NAMED, "ase"))
        raise UserError(
            f"config.yaml: reference.method: {settings.method!r} is unknown; use one of {names}"
        )
    for name in recipe.needs:
        if name not in settings.options:
            raise UserError(
                f"config.yaml: reference.options of {settings.method}: '{name}' is missing"
            )
    if moving := _moving(recipe, settings.options):
        raise UserError(
            f"config.yaml: reference.options: {moving} moves the atoms, and a label is of the"
            " structure it is given; ask for a single point"
        )
    options = {**recipe.options, **_paths(dict(settings.options), folder or Path())}
    reuse = recipe.reuse if reuse is None else reuse
    where = "reference.options" + (f" of {settings.method}" if settings.method != "ase" else "")
    kept = getattr(settings, "keep", recipe.keep)
    return replace(recipe, options=options, reuse=reuse, keep=kept, where=where)


def _moving(recipe: Recipe, options: Mapping[str, Any]) -> str | None:
    """The option with which a program relaxes or runs MD, and ends with another structure."""
    name = recipe.calculator.rpartition(":")[2]
    if name == "Vasp" and options.get("nsw"):
        return f"nsw: {options['nsw']}"
    if name == "Espresso" and isinstance(data := options.get("input_data"), Mapping):
        sections = [data, *(part for part in data.values() if isinstance(part, Mapping))]
        asked = {str(part["calculation"]) for part in sections if "calculation" in part}
        if asked - {"scf"}:
            return f"input_data.control.calculation: {sorted(asked - {'scf'})[0]}"
    if name == "ORCA":
        words = str(options.get("orcasimpleinput", "")).split()
        return next((f"orcasimpleinput: {w}" for w in words if w.lower() in RELAXING), None)
    return None


def _paths(value: Any, folder: Path) -> Any:
    """`value` with every text that begins with `./` made an absolute path below `folder`."""
    if isinstance(value, str) and value.startswith("./"):
        return str((folder / value).resolve())
    if isinstance(value, Mapping):
        return {key: _paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_paths(inner, folder) for inner in value]
    return value


def own_files(settings: Settings, folder: Path) -> list[Path]:
    """Files and folders below `folder` that the reference is made of, relative to it.

    They are the user's own module and the options that begin with `./`.
    """
    files: set[Path] = set()
    if path := getattr(settings, "calculator", None):
        top = path.partition(":")[0].partition(".")[0]
        files |= {Path(name) for name in (top, f"{top}.py") if (folder / name).exists()}
    for text in _texts(dict(settings.options)):
        path = Path(text)
        if text.startswith("./") and ".." not in path.parts and (folder / path).exists():
            files.add(path)
    return sorted(files - {Path()})


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )
    return [text for one in inner for text in _texts(one)]


def chgnet(model: str = "r2scan", **options: Any) -> Any:
    """CHGNet by the name of its weights, on the CPU: an ASE calculator (eV, eV/Å, eV/Å^3)."""
    import torch
    from chgnet.model import CHGNet, CHGNetCalculator

    torch.set_num_threads(1)
    weights = CHGNet.load(model_name=model, use_device="cpu", verbose=False)
    return CHGNetCalculator(model=weights, use_device="cpu", **options)
