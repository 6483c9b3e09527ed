"""From a state to a decision: plans, rules, gates, audit, and the loop over iterations."""

from pathlib import Path

TOOLKIT = Path(__file__).resolve().parent.parent
__version__ = "0.1.0"
