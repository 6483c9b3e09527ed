"""A calculation that a killed job has begun, gone on with from its density or wavefunctions.

The folder in which a program runs is named by program, geometry, input and the item of the job for
which it is. A job that comes back finds the folder of the one that was killed, keeps what the code
can begin from, takes away all else and runs the code there with the same settings of convergence:
the label differs by what the self-consistent field's own threshold leaves. A calculation that fails
when it begins so is done again from nothing.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ase import Atoms

from atomistics.contract import Keep
from atomistics.reference import outputs
from atomistics.reference.catalog import Recipe
from atomistics.reference.per_structure import joined_sections

# What a code begins from: ORCA (orca.gbw) and VASP (WAVECAR) by themselves where it is there. pw.x
# 6.7 is not among them: killed amidst a self-consistent field it leaves no density, at any disk_io.
STARTS: Mapping[str, tuple[str, ...]] = {
    "CP2K": ("**/*-RESTART.wfn", "**/*-RESTART.kp"),
    "Vasp": ("WAVECAR",),
    "ORCA": ("*.gbw",),
    "GPAW": ("restart.gpw",),
}
GPAW_INTERVAL = 10  # iterations of the self-consistent field between two files to begin from
CP2K_INTERVAL = """&FORCE_EVAL
&DFT
&SCF
&PRINT
&RESTART
&EACH
QS_SCF 5
&END EACH
&END RESTART
&END PRINT
&END SCF
&END DFT
&END FORCE_EVAL
"""

_items = [""]


@contextmanager
def for_item(name: str) -> Iterator[None]:
    """Calculations inside belong to an item of a job, which one process at a time works on."""
    _items.append(name)
    try:
        yield
    finally:
        _items.pop()


def current_item() -> str:
    """The item that this process works on; empty outside a job."""
    return _items[-1]


def folder_for(recipe: Recipe, atoms: Atoms | None, item: str) -> Path:
    """A folder to run in: that of a killed job with what can be begun from in it, or a new one.

    Parameters
    ----------
    recipe
        The calculator.
    atoms
        The structure (Å).
    item
        Of the job, as `current_item` gives it.

    Returns
    -------
    Path
        `outputs/.PROGRAM-GEOMETRY-INPUT-ITEM-HOST-PROCESS-*`.
    """
    outputs.FOLDER.mkdir(exist_ok=True)
    program = recipe.calculator.rpartition(":")[2].lower()
    names = [_short(item)]
    if atoms is not None:
        digest = outputs.input_digest(recipe.calculator, recipe.options, atoms)
        names = [outputs.geometry_digest(atoms)[:12], digest[:8], *names]
    prefix = "-".join((f".{program}", *names, ""))
    here = f"{prefix}{_short(socket.gethostname())}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=here, dir=outputs.FOLDER))
    for left in sorted(outputs.FOLDER.glob(f"{prefix}*")) if atoms is not None else ():
        if left != folder and _abandoned(left.name.removeprefix(prefix), item):
            with contextlib.suppress(OSError):  # another process was faster
                left.rename(folder)  # onto the empty one
                _link(left).unlink(missing_ok=True)
                _keep_starts(recipe, folder)
    return folder


def short_path(folder: Path) -> Path:
    """A link to a folder: CP2K takes 80 characters of path and project, its first shell of both
    paths that it loads together. It goes with the folder (`removed`).
    """
    link = _link(folder)
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    return link


def _link(folder: Path) -> Path:
    return folder.with_name(f".{folder.name[-8:]}")


def removed(folder: Path) -> None:
    """Take away a folder and the link to it, if there is one."""
    _link(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _short(name: str) -> str:
    """A name by six digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def _abandoned(owner: str, item: str) -> bool:
    """Whether the process HOST-PROCESS-* is gone. On another host it is where it had our item."""
    host, process, _ = owner.rsplit("-", 2)
    if host != _short(socket.gethostname()):
        return bool(item)
    try:
        return psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _keep_starts(recipe: Recipe, folder: Path) -> None:
    kept = set(starts(recipe, folder))
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # something is kept in it
                path.rmdir()
        elif path not in kept:
            path.unlink()


def starts(recipe: Recipe, folder: Path) -> list[Path]:
    """Files in `folder` that the code can begin from."""
    patterns = STARTS.get(recipe.calculator.rpartition(":")[2], ())
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    return [path for path in files if path.is_file() and path.stat().st_size]


def emptied(folder: Path) -> None:
    """Take away all that lies in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def beginning(recipe: Recipe, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Options with which a code begins from what lies in its folder, and leaves such itself.

    Parameters
    ----------
    recipe
        The calculator.
    options
        Of its constructor, for one structure; changed where they nest.
    folder
        Where the program will run.

    Returns
    -------
    dict
        The options; with them as they were where there is nothing to begin from.
    """
    name, files = recipe.calculator.rpartition(":")[2], starts(recipe, folder)
    if name == "CP2K":
        given = str(options.get("inp", ""))
        if "QS_SCF" not in given.upper():
            options["inp"] = joined_sections(given, CP2K_INTERVAL)
        if files and "SCF_GUESS" not in given.upper():
            lines = ["&FORCE_EVAL", "&DFT", f"WFN_RESTART_FILE_NAME {files[0].resolve()}"]
            lines += ["&SCF", "SCF_GUESS RESTART", "&END SCF", "&END DFT", "&END FORCE_EVAL", ""]
            options["inp"] = joined_sections(options["inp"], "\n".join(lines))
    if name == "GPAW" and files:
        return {"restart": str(files[0]), **{k: options[k] for k in ("txt",) if k in options}}
    return options


def leave_starts(recipe: Recipe, calculator: Any, folder: Path) -> None:
    """Have GPAW write from time to time what can be begun from; the others do so by themselves."""
    if recipe.calculator == "gpaw:GPAW" and hasattr(calculator, "attach"):
        target = str(folder / "restart.gpw")
        calculator.attach(calculator.write, GPAW_INTERVAL, target, mode="all")


def sweep(kept: Keep) -> None:
    """Take away what killed jobs have left below `outputs/`, packed unless none is to be kept.

    The calculations of processes that still run here stay.
    """
    for folder in sorted(outputs.FOLDER.glob(".*-*-*-*")):
        words = folder.name.removeprefix(".").split("-")
        if not (folder.is_dir() and _abandoned("-".join(words[-3:]), "any")):
            continue
        if kept != "none" and len(words) >= 7 and any(folder.iterdir()):
            record = {"kind": "killed", "detail": "its job ended before it did"}
            outputs.pack(folder, "-".join(words[:3]), record)
        removed(folder)
    with contextlib.suppress(OSError):  # something is kept, or nothing was ever there
        outputs.FOLDER.rmdir()
