"""Protocol files of a campaign: their names, their contents, what they come to."""

from pathlib import Path

from pydantic import Field

from atomistics.contract import Name, Strict
from atomistics.md.protocol import StagedProtocol
from campaign.errors import UserError
from campaign.files import read


class ProtocolInfo(Strict):
    """What gates and costs need of a protocol; `fault` says why it may not be used."""

    name: str
    steps: int = 0
    highest: int = 0
    stages: list[str] = Field(default=[])
    fault: str = ""


def protocol_name(path: Path) -> str:
    """The name a plan calls the file by."""

    class Named(Strict):
        name: Name

    if path.suffix != ".yaml":
        raise UserError(f"{path}: a protocol is NAME.yaml; rename it")
    try:
        return Named(name=path.stem).name
    except ValueError:
        raise UserError(
            f"{path}: name: lower-case letters, digits, _ and - only; rename it"
        ) from None


def read_protocol(path: Path) -> StagedProtocol:
    """Read and validate one protocol file."""
    protocol_name(path)
    return read(StagedProtocol, path)


def table(protocol: StagedProtocol) -> list[str]:
    """One line a stage: steps, time, target temperatures."""
    lines = []
    for number, (stage, steps) in enumerate(zip(protocol.stages, protocol.lengths, strict=True), 1):
        kelvins = [kelvin for _, kelvin in stage.knots(protocol.timestep)]
        route = "-".join(f"{k:g}" for i, k in enumerate(kelvins) if not i or k != kelvins[i - 1])
        picoseconds = steps * protocol.timestep / 1000
        lines.append(f"{number} {stage.stage:<13}{steps:>9} steps {picoseconds:>10g} ps  {route} K")
    return lines
