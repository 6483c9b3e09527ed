"""The errors a user meets: one line that names file, key, value and remedy."""

from atomistics.errors import UserError

__all__ = ["GateError", "UserError"]


class GateError(UserError):
    """A plan that may not run: bad ids, missing preconditions, a limit reached."""

    status = 3
