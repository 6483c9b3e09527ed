"""What a candidate frame must keep to before it gets a label, from the reference's own MD."""

from collections.abc import Mapping, Sequence

from atomistics.analysis.screening import Bands
from campaign.config import Config
from campaign.job import widening
from campaign.results import ReferenceRange


def bands(
    ranges: Sequence[ReferenceRange],
    subsystem: str,
    config: Config,
    wider: Mapping[str, int],
    settled: Sequence[float] = (),
) -> Bands:
    """Bands of what the reference MD of one subsystem visited, widened as the watchdog's.

    A cell that is built wide or dense, and settled by the reference, is as sound as its MD.

    Parameters
    ----------
    ranges
        Reference MD of held-out structures; failures and other subsystems are passed over.
    subsystem
        Whose candidates are looked at.
    config
        `watchdog.min_distance_factor` and `watchdog.density_margin`.
    wider
        How often labels found an early stop of a class to be a false alarm.
    settled
        Densities, g/cm3, at which the reference settled what the candidates began from.

    Returns
    -------
    Bands
        Least distance in Å (0 where no reference MD says one) and density in g/cm3 (None where
        nothing of the subsystem is periodic in three directions).
    """
    own = [r for r in ranges if r.subsystem == subsystem and r.status == "ok"]
    nearest = [r.min_distance for r in own if r.min_distance is not None]
    densities = [r.density for r in own if r.density is not None]
    # an explorer's density is its own, and a few percent off the reference's as a rule
    margin = config.watchdog.density_margin * (1 + any(r.md == "explorer" for r in own))
    margin = min(0.9, margin * widening(wider, "density"))
    return Bands(
        min_distance=config.watchdog.min_distance_factor * min(nearest, default=0.0),
        density=(
            min([*(d.low for d in densities), *settled]) * (1 - margin),
            max([*(d.high for d in densities), *settled]) * (1 + margin),
        )
        if densities
        else None,
    )
