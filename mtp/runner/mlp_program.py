"""Calls any `mlp` (embedded, MLIP-3, MLIP-2) and believes its files, never its exit code alone."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtp.error_report import QuantityErrors, parse_report
from mtp.errors import MlpRunError, MTPError
from mtp.formats.almtp import read_potential
from mtp.formats.cfg import write_cfg
from mtp.potential_files import core_file
from mtp.runner import dialects
from mtp.runner.outputs import check_trained, ended, joined, merge, read_output, stamp
from mtp.runner.training_log import TrainingLog, parse_training_log

# MPICH's launcher ends with the signal as its exit status, Open MPI's with 128 more
SIGNALLED = re.compile(r"EXIT STRING: .*\(signal (\d+)\)|exited on signal (\d+)")
GRACE_SECONDS = 10.0
SPECIES_WORDS = ("not present in the training set", "unknown species", "Atomic number")
NOT_FINITE = re.compile(r"not finite|\b(nan|inf|infinity)\b", re.IGNORECASE)
INCREASED = ("Training set was increased by", "TS increased by")


@dataclass(frozen=True)
class MlpProgram:
    """How `mlp` is called here; command and launcher are words, never a line for a shell."""

    flavour: str = "embedded"
    command: tuple[str, ...] = ("mlp",)
    launcher: tuple[str, ...] = ()
    timeout: float | None = None

    def __post_init__(self) -> None:
        dialects.check_flavour(self.flavour)

    def train(
        self,
        files: tuple[Path, Path, Path],
        options: Mapping[str, dialects.Value],
        log: Path,
    ) -> TrainingLog:
        """Train; files: potential, training set, output. Names of options are MLIP-3's.

        The embedded `mlp` works on the real paths, so that its checkpoints survive this call;
        the others work on copies, because they overwrite inputs and leave files about.
        """
        potential, train_set, output = files
        before = read_potential(potential)
        with self._workplace(output) as work:
            result = output if self.flavour == "embedded" else work / "trained.almtp"
            inputs = self._inputs(work, potential, train_set)
            words = dialects.train(self.flavour, *inputs, result, options)
            before_run = stamp(result)
            text = self._run(words, log, work, launched=True)
            training_log = parse_training_log(text, self.flavour)
            if training_log.diverged:
                raise MlpRunError("diverged", f"the loss or an error is not finite; see {log}")
            if not training_log.complete or stamp(result) == before_run:
                raise MlpRunError(
                    "silent", ended(log, text, "no closing line, or no new potential")
                )
            check_trained(result, before, train_set)
            if result != output:
                shutil.move(result, output)
        return training_log

    def check_errors(self, potential: Path, labelled: Path, log: Path) -> dict[str, QuantityErrors]:
        """Errors of a potential on labelled configurations, by quantity (see mtp.error_report)."""
        with self._workplace(log) as work:
            inputs = self._inputs(work, potential, labelled)
            words = dialects.check_errors(self.flavour, *inputs)
            text = self._run(words, log, work, launched=self.flavour != "embedded")
        errors = parse_report(text)
        if len(errors) < 5:
            raise MlpRunError("silent", ended(log, text, "no error report"))
        if not any(e.count for e in errors.values()):
            raise MlpRunError("silent", f"{labelled}: no label was compared; it has no energies")
        figures = [x for e in errors.values() for x in (e.maximum, e.average, e.rms)]
        if not np.isfinite(figures).all():
            raise MlpRunError("diverged", f"{potential}: errors are not finite; see {log}")
        return errors

    def calculate_efs(self, potential: Path, structures: Path, output: Path, log: Path) -> int:
        """Energies, forces, stresses of structures into `output`; returns how many."""
        with self._workplace(output) as work:
            inputs = self._inputs(work, potential, structures)
            words = dialects.calculate_efs(self.flavour, *inputs, work / "efs.cfg")
            text = self._run(words, log, work, launched=self.flavour == "mlip3")
            calculated = joined(work / "efs.cfg", log, text)
        return merge(structures, calculated, output, "energy")

    def calculate_grade(
        self, files: tuple[Path, Path, Path], log: Path, train_set: Path | None = None
    ) -> int:
        """Extrapolation grades; files: potential with active set, structures, output."""
        potential, structures, output = files
        with self._workplace(output) as work:
            inputs = self._inputs(work, potential, structures, *([train_set] if train_set else []))
            words = dialects.calculate_grade(
                self.flavour, *inputs[:2], work / "graded.cfg", inputs[2] if train_set else None
            )
            text = self._run(words, log, work, launched=self.flavour != "embedded")
            graded = joined(work / "graded.cfg", log, text)
        return merge(structures, graded, output, "grade")

    def select_add(
        self, files: tuple[Path, Path, Path, Path], log: Path, swap_limit: int | None = None
    ) -> int:
        """Select; files: potential, training set, candidates, output. Returns how many."""
        *inputs, output = files
        with self._workplace(output) as work:
            places = (*self._inputs(work, *inputs), work / "selected.cfg")
            words = dialects.select_add(self.flavour, places, swap_limit)
            text = self._run(words, log, work, launched=self.flavour != "embedded")
            counts = [line.split()[-2] for line in text.splitlines() if _increased(line)]
            if not counts or not places[3].exists():
                raise MlpRunError("silent", ended(log, text, "no closing line, or no output"))
            selected = read_output(places[3], log)
            if str(len(selected)) != counts[-1]:
                raise MlpRunError(
                    "truncated", f"{counts[-1]} configurations announced, {len(selected)} written"
                )
        return write_cfg(output, selected)

    @contextmanager
    def _workplace(self, output: Path) -> Iterator[Path]:
        folder = Path(output).resolve().parent
        if not folder.is_dir():
            raise MTPError(f"{output}: its folder does not exist; create it")
        with tempfile.TemporaryDirectory(prefix=".mlp.", dir=folder) as work:
            yield Path(work)

    def _inputs(self, work: Path, *files: Path) -> list[Path]:
        missing = [str(file) for file in files if not Path(file).is_file()]
        if missing:
            raise MTPError(f"{missing[0]}: does not exist; an earlier step should have made it")
        if self.flavour == "embedded":
            return [Path(file).resolve() for file in files]
        if cores := [str(file) for file in files if core_file(file).exists()]:
            raise MTPError(
                f"{cores[0]}: stands on a repulsive core, which {self.flavour} does not know; "
                "use flavour embedded"
            )
        return [
            Path(shutil.copyfile(file, work / f"in{index}{Path(file).suffix}"))
            for index, file in enumerate(files)
        ]

    def _run(self, words: Sequence[str], log: Path, work: Path, launched: bool) -> str:
        """Run to the end with output to `log`; its text, or MlpRunError by the exit status."""
        argv = [*_absolute(self.launcher if launched else ()), *_absolute(self.command), *words]
        folder = None if self.flavour == "embedded" else work
        try:
            with Path(log).open("wb") as stream:
                status = _wait_for(argv, stream, folder, self.timeout)
        except subprocess.TimeoutExpired:
            raise MlpRunError("timeout", f"{argv[0]} ran longer than {self.timeout:g} s") from None
        except OSError as error:
            raise MlpRunError(
                "missing", f"{argv[0]!r}: {error.strerror}; check the command"
            ) from None
        text = Path(log).read_text("utf-8", "replace")
        if signalled := _signal_of(status, text):
            raise MlpRunError(
                "killed",
                f"signal {signalled} ended it; see {log}. If it was memory, ask for more; the same"
                " command goes on",
            )
        if status and any(word in text for word in SPECIES_WORDS):
            raise MlpRunError("species", ended(log, text, "a species is missing"))
        if status:
            why = ended(log, text, f"exit status {status}")
            kind = "diverged" if NOT_FINITE.search(why.partition(" ends: ")[2]) else "failed"
            raise MlpRunError(kind, why)
        return text


def _increased(line: str) -> bool:
    return any(words in line for words in INCREASED)


def _signal_of(status: int, text: str) -> int:
    """The signal that ended a program or one of its ranks, 0 if none did."""
    announced = SIGNALLED.search(text) if status else None
    if announced:
        return int(announced[1] or announced[2])
    return -status if status < 0 else status - 128 if 128 < status < 160 else 0


def _wait_for(argv: list[str], log: object, folder: Path | None, timeout: float | None) -> int:
    """Exit status; the child never outlives this call."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder
    )
    try:
        return process.wait(timeout)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _absolute(words: tuple[str, ...]) -> list[str]:
    """The words with a relative path made absolute, since the program runs in another folder."""
    if words and "/" in words[0]:
        return [str(Path(words[0]).absolute()), *words[1:]]
    return list(words)
