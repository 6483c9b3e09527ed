"""The errors a user meets: one line that names file, key, value and remedy."""


class UserError(Exception):
    """Anything the user can mend; commands print it without a traceback and exit `status`."""

    status = 1


class GateError(UserError):
    """A plan that may not run: bad ids, missing preconditions, a limit reached."""

    status = 3
