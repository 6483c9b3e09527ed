"""Who decides: rules, a model, a person or a record, and what is kept of each decision."""

from campaign import (  # campaign folders made before 0.2 include the rules by it
    TOOLKIT,
    __version__,
)

__all__ = ["TOOLKIT", "__version__"]
