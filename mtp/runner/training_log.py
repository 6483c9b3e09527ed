"""What a training log of any `mlp` says: the loss of every step, the errors, how it ended."""

import math
import re
from dataclasses import dataclass, field

from mtp.error_report import QuantityErrors, parse_report

STEP = re.compile(r"BFGS iter (\d+): f=(\S+)")
ENDINGS = (
    "step limit reached",
    "BFGS ended due to small decr.",
    "BFGS has exceeded the linesearch limit",
    "early stop",
    "time limit reached",
)
COMPLETE = {"embedded": "training complete", "mlip3": "training complete", "mlip2": "TRAIN ERRORS"}


@dataclass(frozen=True)
class TrainingLog:
    """losses: (step, loss) as printed, step restarts after pre-training; errors by quantity."""

    losses: tuple[tuple[int, float], ...] = ()
    errors: dict[str, QuantityErrors] = field(default_factory=dict)
    ending: str = ""
    complete: bool = False
    last_line: str = ""

    @property
    def diverged(self) -> bool:
        """Whether a loss or an error is not a finite number."""
        figures = [loss for _, loss in self.losses]
        figures += [x for e in self.errors.values() for x in (e.maximum, e.average, e.rms)]
        return not all(math.isfinite(figure) for figure in figures)


def parse_training_log(text: str, flavour: str) -> TrainingLog:
    """Read a log; a truncated one gives what it holds, with `complete` false."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    steps = [match.groups() for match in map(STEP.search, lines) if match]
    endings = [word for line in lines for word in ENDINGS if word in line]
    return TrainingLog(
        losses=tuple((int(number), _number(loss)) for number, loss in steps),
        errors=parse_report(text),
        ending=endings[-1] if endings else "",
        complete=any(COMPLETE[flavour] in line for line in lines),
        last_line=lines[-1] if lines else "",
    )


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
