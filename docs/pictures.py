"""Draw README's picture from a finished campaign: `python docs/pictures.py demo`."""

import re
import sys
from pathlib import Path

from campaign.files import write_text
from campaign.folder import Campaign
from campaign.report.figures import learning_curve

HERE = Path(__file__).resolve().parent


def main(folder: Path) -> None:
    """Write docs/learning_curve.svg, on white for readers with a dark page."""
    state = Campaign.at(folder).state()
    names = [s.name for s in state.subsystems]
    drawn = learning_curve(state.models, names, state.targets.force_mae)
    white = '<rect width="100%" height="100%" fill="white"/>'
    write_text(HERE / "learning_curve.svg", re.sub(r"(<svg[^>]*>)", rf"\1{white}", drawn, count=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
