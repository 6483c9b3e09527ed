"""Text that somebody outside wrote: what of it enters a prompt, how, and a list of it.

Descriptions, failure texts and notes may carry instructions. They enter as short quotes under the
key `quoted`, without control characters, and everything that entered is kept for the audit.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from campaign.terminal import plain

CLASS = re.compile(r"[a-z][a-z0-9_]{0,31}")  # of a failure or a stop, as our jobs name them
LONGEST = 200


@dataclass
class Quotes:
    """Collects what a prompt quotes."""

    sources: dict[str, str] = field(default_factory=dict)

    def named(self, origin: str, text: str) -> Any:
        """The text itself if it is a mere class, else a short quote on record."""
        return text if CLASS.fullmatch(text) else self.quote(origin, text, 80)

    def quote(self, origin: str, text: str, longest: int = LONGEST) -> Any:
        """A short quote on record."""
        short = plain(text, longest)
        self.sources[origin] = short
        return {"quoted": short}
