"""Exceptions of this package: one line each that names file, key, value and remedy."""

RUN_FAILURES = (
    *("missing", "killed", "timeout", "diverged"),
    *("species", "silent", "truncated", "failed"),
)


class MTPError(Exception):
    """Anything the user can mend: shown without a traceback, exit status 1."""


class MlpRunError(MTPError):
    """A call of an `mlp` that failed; `kind` is one of RUN_FAILURES and starts the message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
