"""Line search for the strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_EVALUATIONS = 25

ValueAndGradient = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


@dataclass(frozen=True)
class Wolfe:
    """Accepted: value below start + decrease * step * slope, |slope| below curvature * |slope|."""

    decrease: float
    curvature: float


EXACT, LOOSE = Wolfe(0.1, 0.5), Wolfe(1e-4, 0.9)


@dataclass(frozen=True)
class LinePoint:
    """A point on the line: step, value, slope along the line, and the full point with gradient."""

    step: float
    value: float
    slope: float
    x: NDArray[np.float64]
    gradient: NDArray[np.float64]


def wolfe_point(
    function: ValueAndGradient,
    start: LinePoint,
    direction: NDArray[np.float64],
    first_step: float = 1.0,
    wolfe: Wolfe = LOOSE,
    longest: float = np.inf,
) -> LinePoint | None:
    """A point along `direction` with the strong Wolfe conditions, or at least a lower value.

    Parameters
    ----------
    function : value and gradient (n,) at x (n,); a value that is not finite counts as infinitely
        high,
        so that a step into it is cut back
    start : where the line begins
    direction : (n,), downhill
    first_step, longest : multiples of `direction`; `longest` is taken too if the value still falls
    wolfe : the two constants of the conditions

    Returns
    -------
    the point; None where no step lowers the value: converged to rounding

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6.
    """
    return _Search(function, start, direction, wolfe, longest).run(min(first_step, longest))


class _Search:
    def __init__(
        self,
        function: ValueAndGradient,
        start: LinePoint,
        direction: NDArray[np.float64],
        wolfe: Wolfe,
        longest: float,
    ) -> None:
        self.function, self.start, self.direction, self.wolfe = function, start, direction, wolfe
        self.longest = longest
        self.evaluations = 0
        self.lowest = start

    def run(self, step: float) -> LinePoint | None:
        previous = self.start
        while self.evaluations < MOST_EVALUATIONS:
            point = self.evaluate(step)
            rising = previous is not self.start and point.value >= previous.value
            if self.too_high(point) or rising:
                return self.zoom(previous, point)
            if abs(point.slope) <= -self.wolfe.curvature * self.start.slope:
                return point
            if point.slope >= 0:
                return self.zoom(point, previous)
            if step >= self.longest:
                return point
            step = min(self.longest, step * min(10.0, max(2.0, _expansion(self.start, point))))
            previous = point
        return self.improved()

    def zoom(self, low: LinePoint, high: LinePoint) -> LinePoint | None:
        while self.evaluations < MOST_EVALUATIONS:
            width = high.step - low.step
            if abs(width) < 1e-14 * max(abs(high.step), abs(low.step)):
                break
            point = self.evaluate(low.step + _interpolated(low, high) * width)
            if self.too_high(point) or point.value >= low.value:
                high = point
                continue
            if abs(point.slope) <= -self.wolfe.curvature * self.start.slope:
                return point
            if point.slope * width >= 0:
                high = low
            low = point
        return self.improved()

    def evaluate(self, step: float) -> LinePoint:
        self.evaluations += 1
        x = self.start.x + step * self.direction
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = self.function(x)
            slope = float(gradient @ self.direction)
        if not (np.isfinite(value) and np.isfinite(slope)):
            value, slope = np.inf, np.inf
        point = LinePoint(step, value, slope, x, gradient)
        if value < self.lowest.value:
            self.lowest = point
        return point

    def too_high(self, point: LinePoint) -> bool:
        bound = self.start.value + self.wolfe.decrease * point.step * self.start.slope
        return not point.value <= bound

    def improved(self) -> LinePoint | None:
        return None if self.lowest is self.start else self.lowest


def _expansion(start: LinePoint, point: LinePoint) -> float:
    """Factor to the minimum that the slopes at both ends extrapolate to (secant)."""
    change = point.slope - start.slope
    return -start.slope / change if change > 0 else 4.0


def _interpolated(low: LinePoint, high: LinePoint) -> float:
    """Fraction of the way from low to high of the cubic's minimum, kept off both ends."""
    width = high.step - low.step
    if not (np.isfinite(high.value) and np.isfinite(high.slope)):
        return 0.1
    d = 3 * (low.value - high.value) / width + low.slope + high.slope
    root = np.sqrt(max(0.0, d * d - low.slope * high.slope)) * np.sign(width)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = 1 - (high.slope + root - d) / (high.slope - low.slope + 2 * root)
    return float(min(0.9, max(0.1, fraction))) if np.isfinite(fraction) else 0.5
