"""What a campaign is: contracts, actions, state, folder, and how an iteration is carried out."""

from pathlib import Path

TOOLKIT = Path(__file__).resolve().parent.parent
__version__ = "0.1.0"
