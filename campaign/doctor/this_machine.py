"""`planner doctor` where it is typed: `mlp`, reference method, disk and file locks."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.doctor.finding import Finding, fail, note
from campaign.doctor.two_cells import two_cells
from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.slurm.profile import Profile

if TYPE_CHECKING:
    from ase import Atoms

    from atomistics.reference.methods import ReferenceCalculator

PROGRAMS = {"vasp": "ASE_VASP_COMMAND", "cp2k": "ASE_CP2K_COMMAND"}
LABELLED_BY_PROGRAM = ("vasp", "cp2k", "espresso", "orca")
CELLS_SECONDS = 3600.0  # each of the two labels that --cells asks for
SECONDS = 60.0  # that one answer of `mlp` or of the reference may take


def workplace(campaign: Campaign, cells: bool = False) -> Iterator[Finding]:
    """What every action needs, tried out with the PATH that the Snakefile gives to every job.

    `cells`: compare a crystal in two cells by a reference that is a program, too.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    yield _mlp(campaign)
    reference = _reference(campaign)
    yield reference
    program = campaign.config.reference.method in LABELLED_BY_PROGRAM
    if cells or (reference.level != "FAIL" and not program):
        yield two_cells(campaign, CELLS_SECONDS if cells else SECONDS)
    if campaign.config.md.engine == "lammps":
        yield _lammps()
    yield _disk("folder", campaign.folder)
    yield _disk("scratch", Path(tempfile.gettempdir()))
    yield _locks(campaign.folder)


def _mlp(campaign: Campaign) -> Finding:
    """Energies of a small crystal by a random potential, through the configured `mlp`."""
    import numpy as np
    from ase.build import bulk

    from mtp.configuration import from_atoms
    from mtp.errors import MTPError
    from mtp.formats.almtp import write_potential
    from mtp.formats.cfg import write_cfg
    from mtp.potential import untrained
    from mtp.runner.mlp_program import MlpProgram
    from mtp.training.starting_point import with_random_functions

    mlp = campaign.config.mlp
    with tempfile.TemporaryDirectory() as folder:
        names = ("potential.almtp", "in.cfg", "out.cfg", "log")
        potential, given, converted, log = (Path(folder) / name for name in names)
        start = with_random_functions(untrained(2, 1, 2.0, 5.0, 4), np.random.default_rng(1))
        write_potential(potential, start)
        write_cfg(given, [from_atoms(bulk("Cu", cubic=True), ["Cu"])])
        try:
            words = tuple(shlex.split(mlp.command))
            MlpProgram(mlp.flavour, words, timeout=SECONDS).calculate_efs(
                potential, given, converted, log
            )
        except MTPError as error:
            remedy = "set mlp.command and mlp.flavour in config.yaml"
            return fail("mlp", f"{mlp.command} as {mlp.flavour}: {error}", remedy)
    return Finding("mlp", f"{mlp.command} answers as {mlp.flavour}")


def _lammps() -> Finding:
    """A LAMMPS that can step the MD of a model."""
    from atomistics.md.lammps import loaded

    try:
        lammps = loaded()
    except UserError as error:
        what, _, remedy = str(error).partition("; ")
        return fail("lammps", what, remedy)
    version = lammps.version()
    lammps.close()
    return Finding("lammps", f"LAMMPS {version} steps the MD of a model")


def _reference(campaign: Campaign) -> Finding:
    """Labels of the smallest structure; of a program only whether it can be found."""
    settings = campaign.config.reference
    if settings.method in LABELLED_BY_PROGRAM:
        return _program(campaign, settings.method)
    from atomistics.reference.convergence import LabelFailedError
    from atomistics.reference.methods import reference_calculator
    from atomistics.structure_index import read_index
    from atomistics.structures import load
    from mtp.errors import MTPError

    title = settings.title
    quick = settings.model_copy(update={"timeout": min(SECONDS, settings.timeout)})
    try:
        structures = [load(entry) for entry in read_index(campaign.folder / "structures")]
        calculator = reference_calculator(quick, campaign.folder)
        try:
            calculator.check(any(atoms.pbc.all() for atoms in structures))
            return _labelled_twice(title, min(structures, key=len), calculator)
        finally:
            calculator.close()
    except LabelFailedError as error:
        if error.kind == "timeout":
            return note("reference", f"{title}: no label of the smallest structure in {SECONDS} s")
        return fail("reference", f"{title}: {error.kind}: {error.detail}", "see reference.options")
    except (UserError, MTPError, ValueError, OSError) as error:
        return fail("reference", f"{title}: {error}", "mend config.yaml or structures/")


def _labelled_twice(title: str, atoms: "Atoms", calculator: "ReferenceCalculator") -> Finding:
    """What a call takes, and whether a geometry labelled again has the same bits.

    Another geometry comes between, so that nothing is answered from memory; the first call pays
    for what is loaded once.
    """
    from atomistics.reference.methods import label

    between = atoms.copy()
    between.rattle(0.02, seed=1)
    first, began = label(atoms, calculator), time.monotonic()
    label(between, calculator)
    seconds = time.monotonic() - began
    again = label(atoms, calculator)
    results = zip(first.calc.results.values(), again.calc.results.values(), strict=True)
    size = f"{len(atoms)} atoms"
    timing = f"{title} labels the smallest structure ({size}) in {seconds:.2g} s"
    if all((one == other).all() if hasattr(one, "all") else one == other for one, other in results):
        return Finding("reference", f"{timing}, and again with the same bits")
    force = abs(first.get_forces() - again.get_forces()).max()
    return note(
        "reference",
        f"{timing}; again, forces differ by up to {force:.1e} eV/Å",
        "labels depend on what was computed before; set reference.reuse: false, or tighten the"
        " convergence in reference.options",
    )


def _program(campaign: Campaign, method: str) -> Finding:
    """Whether the program is there once the site's own line of shell has been run."""
    options = campaign.config.reference.options
    command = str(options.get("command") or os.environ.get(PROGRAMS.get(method, ""), ""))
    if not command:
        where = f" or {PROGRAMS[method]}" if method in PROGRAMS else ""
        return fail("reference", f"{method}: no command", f"set reference.options.command{where}")
    try:
        setup = Profile.at(campaign.folder).setup
    except UserError:
        setup = "true"
    words = [word for word in command.split() if not word.startswith("-")]
    look = f'{setup}; for word in "$@"; do command -v "$word" >/dev/null || echo "$word"; done'
    done = subprocess.run(
        ["bash", "-c", look, "doctor", words[0]], capture_output=True, text=True, check=False
    )
    if done.stdout.strip():
        remedy = "correct reference.options.command, or load its module in slurm/setup.sh"
        return fail("reference", f"{method}: {words[0]} is not found", remedy)
    return Finding("reference", f"{method}: {words[0]} is found; a label was not tried")


def _disk(what: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free // 2**20
    if not os.access(folder, os.W_OK):
        return fail(what, f"{folder} is not writable", "choose another (TMPDIR for scratch)")
    if free < 500:
        return fail(what, f"{folder}: {free} MB free", "make room (TMPDIR for scratch)")
    return Finding(what, f"{folder}: {free} MB free")


def _locks(folder: Path) -> Finding:
    """What `planner.lock` and every file of a campaign rest on."""
    lock, other = folder / ".doctor.tried", folder / ".doctor.renamed"
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            lock.replace(other)
            return Finding("locks", "a lock file is made once; renaming replaces")
        return fail("locks", f"{folder}: a lock file was made twice", "use another file system")
    except OSError as error:
        return fail("locks", f"{folder}: {error.strerror}", "use another file system")
    finally:
        lock.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
