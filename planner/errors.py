"""The one exception the user sees; its message is one line that names file, key, value and remedy."""


class UserError(Exception):
    """Anything the user can mend: shown without a traceback, exit status 1."""
