"""The one exception of this package: one line that names file, key, value and remedy."""


class MTPError(Exception):
    """Anything the user can mend: shown without a traceback, exit status 1."""
