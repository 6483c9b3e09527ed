"""What a campaign is: contracts, actions, state, folder, and how an iteration is carried out."""

from pathlib import Path

__version__ = "0.1.0"  # the only place: pyproject.toml reads it from here without importing

_HERE = Path(__file__).resolve().parent
# Snakefile, rules/, scripts/, config/, profiles/: a wheel carries them inside this package
TOOLKIT = _HERE / "toolkit" if (_HERE / "toolkit").is_dir() else _HERE.parent
