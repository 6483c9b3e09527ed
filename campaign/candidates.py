"""What a candidate frame must keep to before it gets a label, from the reference's own MD."""

from collections.abc import Sequence

from atomistics.analysis.screening import Bands
from campaign.config import Config
from campaign.results import ReferenceRange


def bands(ranges: Sequence[ReferenceRange], subsystem: str, config: Config) -> Bands:
    """Bands of what the reference MD of this subsystem visited, widened as the watchdog's."""
    own = [r for r in ranges if r.subsystem == subsystem and r.status == "ok"]
    nearest = [r.min_distance for r in own if r.min_distance is not None]
    densities = [r.density for r in own if r.density is not None]
    margin = config.watchdog.density_margin
    return Bands(
        min_distance=config.watchdog.min_distance_factor * min(nearest, default=0.0),
        density=(
            min(d.low for d in densities) * (1 - margin),
            max(d.high for d in densities) * (1 + margin),
        )
        if densities
        else None,
    )
