"""Choice of level, radial basis, cutoff and regularisation by the errors of held-out frames.

One setting at a time is varied from the cheapest on, around the best found so far, until nothing is
gained: coordinate descent. Every fit is a row of a table, which a later run goes on from.
"""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from math import inf, sqrt
from pathlib import Path

from mtp.atomic import atomic_open
from mtp.configuration import Configuration
from mtp.engine import Engine
from mtp.error_report import ErrorReport
from mtp.errors import MTPError
from mtp.parallel import Ranks
from mtp.potential import Potential, untrained
from mtp.repulsion import RepulsiveCore
from mtp.training.fit import Log, TrainingOptions, train

HEAD = "# mlp tune "


@dataclass(frozen=True)
class Setting:
    """What is chosen: level, polynomials per radial function, cutoff (Å), ridge of the loss."""

    level: int
    radial_basis: int
    cutoff: float
    regularisation: float


@dataclass(frozen=True)
class Trial:
    """A row of the table: a setting, what it costs, its held-out RMS errors.

    energy eV/atom, force eV/Å (norm of a vector), stress GPa (norm of the tensor); cpu_s: seconds
    of the fit; score: root of energy times force error, or the one there is.
    """

    level: int
    radial_basis: int
    cutoff: float
    regularisation: float
    coefficients: int
    energy: float
    force: float
    stress: float
    score: float
    cpu_s: float

    @property
    def setting(self) -> Setting:
        """What was tried."""
        return Setting(self.level, self.radial_basis, self.cutoff, self.regularisation)


@dataclass
class Table:
    """Trials on disk, written whole after each; `mark` tells data and options they belong to."""

    path: Path
    mark: str
    trials: dict[Setting, Trial]

    @classmethod
    def opened(cls, path: Path, mark: str) -> "Table":
        """The table to go on with; MTPError where it is damaged or of other data or options."""
        if not path.exists():
            return cls(path, mark, {})
        lines = path.read_text("utf-8", "replace").splitlines()
        if not lines or lines[0] != HEAD + mark:
            raise MTPError(
                f"{path}: is a table of other data or options; take it away or name another --table"
            )
        names = [f.name for f in fields(Trial)]
        trials = {}
        rows = [line for line in lines[1:] if not line.startswith("#")]
        for number, row in enumerate(csv.DictReader(rows), 3):
            try:
                trial = Trial(**{f.name: f.type(row[f.name]) for f in fields(Trial)})
            except (KeyError, TypeError, ValueError):
                raise MTPError(f"{path}:{number}: needs the columns {','.join(names)}") from None
            trials[trial.setting] = trial
        return cls(path, mark, trials)

    def add(self, trial: Trial) -> None:
        """Take a trial in and write the table."""
        self.trials[trial.setting] = trial
        self._write()

    def choose(self, trial: Trial) -> None:
        """Write the table with what was chosen under it."""
        s = trial.setting
        self._write(
            f"# chosen: --level={s.level} --radial_basis={s.radial_basis} --cutoff={s.cutoff:g} "
            f"--regularisation={s.regularisation:g}\n"
        )

    def _write(self, ending: str = "") -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(f.name for f in fields(Trial))
        writer.writerows(map(astuple, self.trials.values()))
        with atomic_open(self.path) as stream:
            stream.write(f"{HEAD}{self.mark}\n{text.getvalue()}{ending}")


@dataclass(frozen=True)
class Tuner:
    """Fits settings to one part of the data and judges them by another.

    species: number of types; most: coefficients that a potential may have; seconds: CPU that all
    trials of the table may take together.
    """

    training: Sequence[Configuration]
    held_out: Sequence[Configuration]
    species: int
    options: TrainingOptions
    table: Table
    core: RepulsiveCore | None = None
    most: float = inf
    seconds: float = inf
    log: Log = print

    def best(self, choices: dict[str, list[float]]) -> list[Trial]:
        """Descend from the first value of each choice.

        Parameters
        ----------
        choices : values by the names of `Setting`, level last, so that the rest is chosen cheaply

        Returns
        -------
        the trials, the one of the lowest score first

        Raises
        ------
        MTPError
            Not even the first setting is within the limits, or a fit is refused.
        """
        here = self._trial(Setting(**{name: values[0] for name, values in choices.items()}))
        if here is None:
            raise MTPError("the first setting is beyond --coefficients or --cpu_budget; raise them")
        unchanged = 0
        for name in self._rounds(list(choices)):
            tried = [self._trial(replace(here.setting, **{name: value})) for value in choices[name]]
            better = min(filter(None, tried), key=lambda t: t.score)
            unchanged = unchanged + 1 if better.score >= here.score else 0
            here = min(here, better, key=lambda t: t.score)
            if unchanged >= len(choices):
                break
        return sorted(self.table.trials.values(), key=lambda t: t.score)

    @staticmethod
    def _rounds(names: list[str]) -> Sequence[str]:
        return names * 8

    def _trial(self, setting: Setting) -> Trial | None:
        """The trial of a setting, from the table or made; None where the limits forbid it."""
        if trial := self.table.trials.get(setting):
            return trial
        template = blank(setting, self.species, self.core)
        size = template.parameter_count
        if size > self.most or self._expected(size) > self.seconds - self.spent:
            return None
        began = time.process_time()
        fitted = train(Ranks(), template, self.training, [], self._options(setting), lambda _: None)
        errors = held_out_errors(fitted, self.held_out)
        trial = Trial(
            *astuple(setting),
            size,
            *(float(f"{e:.5g}") for e in errors),
            float(f"{_score(errors):.5g}"),
            round(time.process_time() - began, 2),
        )
        self.table.add(trial)
        self.log(described(trial))
        return trial

    def _options(self, setting: Setting) -> TrainingOptions:
        weights = replace(self.options.weights, regularisation=setting.regularisation)
        return replace(self.options, weights=weights)

    @property
    def spent(self) -> float:
        """CPU seconds of all trials so far."""
        return sum(trial.cpu_s for trial in self.table.trials.values())

    def _expected(self, size: int) -> float:
        """CPU seconds of a fit of so many coefficients, from the nearest that has been made."""
        trials = self.table.trials.values()
        near = min(trials, key=lambda t: abs(t.coefficients - size), default=None)
        return near.cpu_s * (size / near.coefficients) ** 1.5 if near else 0.0


def _score(errors: tuple[float, float, float]) -> float:
    energy, force, stress = errors
    return sqrt(energy * force) if energy and force else energy or force or stress


def blank(setting: Setting, species: int, core: RepulsiveCore | None) -> Potential:
    """A template of this setting.

    Parameters
    ----------
    setting : level, radial basis, cutoff (Å)
    species : number of types
    core : what it stands on

    Returns
    -------
    a potential without coefficients
    """
    near = min(1.9, 0.5 * setting.cutoff)
    template = untrained(setting.level, species, near, setting.cutoff, setting.radial_basis)
    return replace(template, core=core)


def held_out_errors(
    potential: Potential, configurations: Sequence[Configuration]
) -> tuple[float, float, float]:
    """RMS errors of energy per atom (eV), force vector (eV/Å) and stress tensor (GPa).

    Parameters
    ----------
    potential : trained
    configurations : labelled (Å, eV, eV/Å)

    Returns
    -------
    the three; 0 where there is no such label
    """
    report = ErrorReport()
    for labelled, prediction in zip(
        configurations, Engine(potential).evaluate(configurations), strict=True
    ):
        report.add(labelled, prediction)
    errors = report.errors()
    return errors["energy_per_atom"].rms, errors["forces"].rms, errors["stress"].rms


def cheapest_of(trials: Sequence[Trial], within: float) -> Trial:
    """The trial with the fewest coefficients whose score is near the best.

    Parameters
    ----------
    trials : not empty
    within : fraction by which its score may exceed the lowest

    Returns
    -------
    one of them
    """
    lowest = min(trial.score for trial in trials)
    good = [trial for trial in trials if trial.score <= (1 + within) * lowest]
    return min(good, key=lambda t: (t.coefficients, t.cutoff, t.score))


def described(trial: Trial) -> str:
    """One line of a trial."""
    return (
        f"level {trial.level:2d}  radial_basis {trial.radial_basis:2d}  cutoff {trial.cutoff:g} A"
        f"  regularisation {trial.regularisation:g}:  {trial.coefficients} coefficients,"
        f" {1000 * trial.energy:.3g} meV/atom, {trial.force:.4g} eV/A, {trial.stress:.3g} GPa,"
        f" {trial.cpu_s:.1f} s"
    )
