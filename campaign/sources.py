"""What was imported into a campaign: the record of its files, and where the frames lie."""

from pathlib import Path

from pydantic import Field

from atomistics.contract import Name, Strict
from campaign.files import read
from campaign.folder import Campaign
from campaign.results import Count

FOLDER = Path("import")


class Source(Strict):
    """One file, or one folder of DeePMD-kit's."""

    name: str = Field(description="without its folder")
    sha256: str
    subsystem: Name
    frames: int
    held_out: int
    method: dict[str, str] = Field(description="what the file says of it")
    line: str = Field(description="frames, labels, left out, not understood")


class Sources(Strict):
    """sources.yaml."""

    files: list[Source]
    left_out: dict[Name, list[Count]] = Field(description="frames by subsystem and reason")
    method_by: str = Field(description="how the labels are known to be the reference's")


def sources_of(campaign: Campaign) -> Sources | None:
    """What was imported into a campaign, if anything was."""
    path = campaign.iteration(0) / FOLDER / "sources.yaml"
    return read(Sources, path) if path.exists() else None


def imported_file(folder: Path, name: str) -> Path:
    """`dataset` or `held_out` of what was imported, seen from the campaign's iterations."""
    return folder / "000" / FOLDER / f"{name}.h5"
