"""The error of everything below the campaign."""


class UserError(Exception):
    """Anything the user can mend; commands print it without a traceback and exit `status`."""

    status = 1
