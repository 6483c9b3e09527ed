"""Files of a potential: itself, and the core it stands on beside it."""

import shutil
from pathlib import Path


def core_file(potential: str | Path) -> Path:
    """Where the core of a potential lies."""
    return Path(f"{potential}.core")


def copy_potential(source: str | Path, target: str | Path) -> None:
    """Copy a potential file with the core it stands on, if any."""
    shutil.copy(source, target)
    if core_file(source).exists():
        shutil.copy(core_file(source), core_file(target))
