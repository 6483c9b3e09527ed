"""Files appear whole or not at all: written under a temporary name beside them, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mtp.errors import MTPError


@contextmanager
def atomic_open(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open `path` for writing ("w" text, "wb" bytes); replaced only when the block ends well.

    A device or pipe (/dev/stdout, /dev/null) cannot be replaced and is written directly.
    """
    target = Path(path).resolve()
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}
    if target.is_dir():
        raise MTPError(f"{path}: is a folder; give the name of a file to write")
    if target.exists() and not target.is_file():
        with target.open(mode, **text) as stream:
            yield stream
        return
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:80]}.", dir=target.parent)
    except OSError as error:
        raise MTPError(
            f"{path}: cannot be written ({error.strerror}); name a folder that exists and is yours"
        ) from None
    try:
        with os.fdopen(handle, mode, **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _set_permissions(temporary, target)
        Path(temporary).replace(target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.filename is not None:
            raise
        raise MTPError(
            f"{path}: cannot be written ({error.strerror or error}); make room"
        ) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _set_permissions(temporary: str, target: Path) -> None:
    """Give the new file the mode of the file it replaces, or what the user's umask says."""
    if target.exists():
        mode = target.stat().st_mode & 0o777
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    Path(temporary).chmod(mode)
