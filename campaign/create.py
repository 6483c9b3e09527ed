"""`planner init`: a campaign folder from a shipped example or from one's own task folder."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from campaign import TOOLKIT
from campaign.config import Config
from campaign.errors import UserError
from campaign.files import write_text
from campaign.folder import Campaign, configuration
from campaign.material import ReferenceChoice
from campaign.terminal import say
from mtp.atomic import atomic_folder

SNAKEFILE = """\
# Written by `planner init`. The rules live in the toolkit; this folder holds the campaign.
from campaign import TOOLKIT


include: TOOLKIT / "Snakefile"


rule campaign:
    input:
        rules.all.input,
"""


def examples() -> dict[str, Path]:
    """The shipped examples by name."""
    return {p.parent.name: p.parent for p in (TOOLKIT / "config/examples").glob("*/task.yaml")}


def create(source: str, folder: Path) -> Campaign:
    """Make the campaign `folder` from an example's name or a folder with task.yaml.

    Everything is copied into a neighbour and renamed, so a folder is a whole campaign or none.
    """
    origin = examples().get(source, Path(source))
    if not (origin / "task.yaml").is_file():
        names = ", ".join(sorted(examples()))
        raise UserError(f"{source}: neither an example ({names}) nor a folder with task.yaml")
    if not (origin / "structures").is_dir():
        raise UserError(f"{origin}/structures: no such folder; put structures and index.yaml there")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists and is not empty; choose another name")
    with atomic_folder(folder) as partial:
        shutil.copy(origin / "task.yaml", partial)
        if (origin / "config.yaml").exists():
            shutil.copy(origin / "config.yaml", partial)
        shutil.copytree(
            origin / "structures", partial / "structures", ignore_dangling_symlinks=True
        )
        for method in methods(configuration(origin)):
            copy_own_files(method, origin, partial)
        for path in sorted(origin.glob("protocols/*.yaml")):  # to be approved anew
            (partial / "protocols").mkdir(exist_ok=True)
            shutil.copy(path, partial / "protocols")
        try:
            take_over(partial)
        except UserError as error:  # what is to be mended lies where it was copied from
            said = str(error).replace(str(partial.resolve()), str(origin))
            raise UserError(said.replace(str(partial), str(origin))) from None
    return Campaign.at(folder)


def methods(config: Config) -> list[ReferenceChoice]:
    """The reference, and the explorer if there is one."""
    return [config.reference, *([config.explorer] if config.explorer else [])]


def copy_own_files(reference: ReferenceChoice, origin: Path, folder: Path) -> None:
    """Copy the user's own module of the reference, and the files its options name; kept is kept."""
    from atomistics.reference.catalog import own_files

    for name in own_files(reference, origin):
        source, target = origin / name, folder / name
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def take_over(folder: Path) -> Campaign:
    """Make a folder that has task and structures a campaign; what is there is kept."""
    for origin, name in (("profiles/default", "profiles/default"), ("profiles/slurm", "slurm")):
        if not (folder / name).exists():
            shutil.copytree(TOOLKIT / origin, folder / name)
    write_text(folder / "Snakefile", SNAKEFILE)
    campaign = Campaign.at(folder)
    check(campaign)
    return campaign


def _has_dynamics(atoms: Any) -> None:
    """UserError for one atom alone, with which no molecular dynamics can be done."""
    if len(atoms) == 1:
        raise UserError(
            f"structure {atoms.info.get('structure')}: one atom alone has no dynamics to sample;"
            " say single_point: true in structures/index.yaml (labelled once), leave it out, or"
            " repeat its cell"
        )


def check(campaign: Campaign) -> None:
    """Every file a person wrote, and every structure, before the first decision."""
    from atomistics.formulas import mass
    from atomistics.structure_index import read_index
    from atomistics.structures import check as check_structure
    from atomistics.structures import load, unused

    task, config = campaign.task, campaign.config
    empty = {s.name for s in task.subsystems} - {s.subsystem for s in campaign.structures}
    if empty:
        raise UserError(
            f"{campaign.folder}/structures/index.yaml: no structure of subsystem"
            f" {', '.join(sorted(empty))}; add one or remove the subsystem from task.yaml"
        )
    try:
        mass(Counter(task.species))
    except UserError as error:
        raise UserError(f"{campaign.folder}/task.yaml: species: {error}") from None
    periodic, held = False, set[str]()
    left: Counter[str] = Counter()
    constant: list[str] = []
    for structure in read_index(campaign.folder / "structures"):
        try:
            atoms = load(structure)
            check_structure(atoms, list(task.species), config.mlp.cutoff)
            held.update(atoms.symbols)
            periodic |= bool(atoms.pbc.all())
            if structure.single_point is None:
                _has_dynamics(atoms)
            if not (atoms.pbc.all() or structure.fixed_cell or structure.single_point):
                constant.append(structure.id)
        except UserError as error:
            fault = str(error)
            where = "" if str(structure.path) in fault else f"{structure.path}: "
            raise UserError(f"{where}{fault}") from None
        left.update(unused(structure))
    if none := [e for e in task.species if e not in held]:
        say(
            f"{campaign.folder}/task.yaml: species: no structure has {', '.join(none)}, and a fit"
            " to no label of an element is refused; add one, import data with it, or take it out"
        )
    if constant:
        say(
            f"not periodic in three directions, so at constant volume whatever a plan says:"
            f" {', '.join(constant)}"
        )
    if left:
        say(
            f"{campaign.folder}/structures: not used: "
            + ", ".join(f"{name} ({count})" for name, count in sorted(left.items()))
        )
    if not config.reference.fixed_kpoints:
        _check_kpoints(campaign)
    if config.md.engine == "lammps":
        _check_lammps(campaign)
    check_methods(campaign.folder, config, periodic)


def _check_lammps(campaign: Campaign) -> None:
    """UserError where LAMMPS, which the configuration asks for, cannot step an MD."""
    from atomistics.md.lammps import loaded

    try:
        loaded().close()
    except UserError as error:
        raise UserError(f"{campaign.folder}/config.yaml: {error}") from None


def _check_kpoints(campaign: Campaign) -> None:
    """UserError where one k-mesh stands for cells of different size."""
    from atomistics.reference.catalog import recipe_of
    from atomistics.reference.per_structure import fixed_mesh, unlike_meshes
    from atomistics.structure_index import read_index
    from atomistics.structures import load

    recipe = recipe_of(campaign.config.reference)
    if fixed_mesh(recipe) is None:
        return
    structures = [load(one) for one in read_index(campaign.folder / "structures")]
    if fault := unlike_meshes(recipe, structures):
        raise UserError(f"{campaign.folder}/config.yaml: {fault}")


def check_methods(folder: Path, config: Config, periodic: bool) -> None:
    """Whether reference and explorer can be built with their options; a bare name of ours can."""
    from atomistics.reference.catalog import recipe_of
    from atomistics.reference.methods import reference_calculator

    for choice in methods(config):
        if recipe_of(choice).program or not (choice.calculator or choice.options):
            continue
        calculator = reference_calculator(choice, folder)
        try:
            calculator.check(periodic)
        except UserError as error:
            raise UserError(f"{folder}/{error}") from None
        finally:
            calculator.close()
