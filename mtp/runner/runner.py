"""Calls any `mlp` (embedded, MLIP-3, MLIP-2) and believes its files, never its exit code alone."""

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from mtp.atomic import atomic_open
from mtp.errors import MTPError
from mtp.formats.cfg import write_cfg
from mtp.potential import read_potential
from mtp.report import Errors, parse_report
from mtp.runner import dialects
from mtp.runner.files import SiteError, check_trained, ended, joined, merge, read_output, stamp
from mtp.runner.program import program, signal_of, wait_for
from mtp.runner.training_log import TrainingLog, parse_training_log

SPECIES_WORDS = ("not present in the training set", "unknown species", "Atomic number")
NOT_FINITE = re.compile(r"not finite|\b(nan|inf|infinity)\b", re.IGNORECASE)
INCREASED = ("Training set was increased by", "TS increased by")


@dataclass(frozen=True)
class Site:
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
            found = parse_training_log(text, self.flavour)
            if found.diverged:
                raise SiteError("diverged", f"the loss or an error is not finite; see {log}")
            if not found.complete or stamp(result) == before_run:
                raise SiteError("silent", ended(log, text, "no closing line, or no new potential"))
            check_trained(result, before, train_set)
            if result != output:
                shutil.move(result, output)
        return found

    def check_errors(self, potential: Path, labelled: Path, log: Path) -> dict[str, Errors]:
        """Errors of a potential on labelled configurations, by quantity (see mtp.report)."""
        with self._workplace(log) as work:
            inputs = self._inputs(work, potential, labelled)
            words = dialects.check_errors(self.flavour, *inputs)
            text = self._run(words, log, work, launched=self.flavour != "embedded")
        errors = parse_report(text)
        if len(errors) < 5:
            raise SiteError("silent", ended(log, text, "no error report"))
        if not any(e.count for e in errors.values()):
            raise SiteError("silent", f"{labelled}: no label was compared; it has no energies")
        figures = [x for e in errors.values() for x in (e.maximum, e.average, e.rms)]
        if not np.isfinite(figures).all():
            raise SiteError("diverged", f"{potential}: errors are not finite; see {log}")
        return errors

    def calculate_efs(self, potential: Path, structures: Path, output: Path, log: Path) -> int:
        """Energies, forces, stresses of structures into `output`; returns how many."""
        with self._workplace(output) as work:
            inputs = self._inputs(work, potential, structures)
            words = dialects.calculate_efs(self.flavour, *inputs, work / "efs.cfg")
            text = self._run(words, log, work, launched=self.flavour == "mlip3")
            found = joined(work / "efs.cfg", log, text)
        return merge(structures, found, output, "energy")

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
            found = joined(work / "graded.cfg", log, text)
        return merge(structures, found, output, "grade")

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
                raise SiteError("silent", ended(log, text, "no closing line, or no output"))
            selected = read_output(places[3], log)
            if str(len(selected)) != counts[-1]:
                raise SiteError(
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
        return [
            Path(shutil.copyfile(file, work / f"in{index}{Path(file).suffix}"))
            for index, file in enumerate(files)
        ]

    def _run(self, words: Sequence[str], log: Path, work: Path, launched: bool) -> str:
        """Run to the end with output to `log`; its text, or SiteError by the exit status."""
        argv = [*program(self.launcher if launched else ()), *program(self.command), *words]
        folder = None if self.flavour == "embedded" else work
        try:
            with Path(log).open("wb") as stream:
                status = wait_for(argv, stream, folder, self.timeout)
        except subprocess.TimeoutExpired:
            raise SiteError("timeout", f"{argv[0]} ran longer than {self.timeout:g} s") from None
        except OSError as error:
            raise SiteError(
                "missing", f"{argv[0]!r}: {error.strerror}; check the command"
            ) from None
        text = Path(log).read_text("utf-8", "replace")
        if signalled := signal_of(status, text):
            raise SiteError(
                "killed",
                f"signal {signalled} ended it; see {log}. If it was memory, ask for more; the same"
                " command goes on",
            )
        if status and any(word in text for word in SPECIES_WORDS):
            raise SiteError("species", ended(log, text, "a species is missing"))
        if status:
            why = ended(log, text, f"exit status {status}")
            kind = "diverged" if NOT_FINITE.search(why.partition(" ends: ")[2]) else "failed"
            raise SiteError(kind, why)
        return text


def _increased(line: str) -> bool:
    return any(words in line for words in INCREASED)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m mtp.runner.runner", description=__doc__)
    parser.add_argument("verb", choices=sorted(VERBS))
    parser.add_argument("--flavour", default="embedded", choices=dialects.FLAVOURS)
    parser.add_argument("--command", default="mlp", help="words, quoted as in a shell")
    parser.add_argument("--launcher", default="", help='such as "mpiexec -n 2" or "srun"')
    parser.add_argument("--timeout", type=float, help="seconds")
    for name in ("potential", "set", "output", "log", "train-set", "candidates", "summary"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--swap-limit", type=int)
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of train, MLIP-3 name"
    )
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MTPError(message)


def _files(given: argparse.Namespace, *names: str) -> tuple[Path, ...]:
    for name in names:
        if getattr(given, name) is None:
            raise MTPError(f"{given.verb} needs --{name.replace('_', '-')}")
    return tuple(getattr(given, name) for name in names)


def _options(words: Sequence[str]) -> dict[str, dialects.Value]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, equals, _ in pairs if not (name and equals)]:
        raise MTPError(f"--option {bad[0]!r}: write NAME=VALUE")
    switches = {"true": True, "false": False}
    return {name: switches.get(value.lower(), value) for name, _, value in pairs}


def _train(site: Site, given: argparse.Namespace) -> dict:
    files = _files(given, "potential", "set", "output")
    found = site.train(files, _options(given.option), given.log)
    return asdict(found)


def _check_errors(site: Site, given: argparse.Namespace) -> dict:
    found = site.check_errors(*_files(given, "potential", "set"), given.log)
    return {name: asdict(errors) for name, errors in found.items()}


def _calculate_efs(site: Site, given: argparse.Namespace) -> dict:
    files = _files(given, "potential", "set", "output")
    return {"configurations": site.calculate_efs(*files, given.log)}


def _calculate_grade(site: Site, given: argparse.Namespace) -> dict:
    files = _files(given, "potential", "set", "output")
    return {"configurations": site.calculate_grade(files, given.log, given.train_set)}


def _select_add(site: Site, given: argparse.Namespace) -> dict:
    files = _files(given, "potential", "train_set", "candidates", "output")
    return {"selected": site.select_add(files, given.log, given.swap_limit)}


VERBS = {
    "train": _train,
    "check_errors": _check_errors,
    "calculate_efs": _calculate_efs,
    "calculate_grade": _calculate_grade,
    "select_add": _select_add,
}


def main(argv: Sequence[str] | None = None) -> int:
    """One call as a rule of a workflow makes it; its JSON summary goes to --summary or stdout."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        given = _parser().parse_args(argv)
        if given.log is None:
            given.log = Path(f"{given.output or _files(given, 'log')[0]}.log")
        command, launcher = (tuple(shlex.split(w)) for w in (given.command, given.launcher))
        site = Site(given.flavour, command, launcher, given.timeout)
        text = json.dumps(VERBS[given.verb](site, given), indent=1) + "\n"
        if given.summary is None:
            sys.stdout.write(text)
        else:
            with atomic_open(given.summary) as stream:
                stream.write(text)
    except (MTPError, ValueError, OSError) as error:
        print("ERROR:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
