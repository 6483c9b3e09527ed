"""Files and folders appear whole or not at all: made under another name, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mtp.errors import MTPError


def real_path(path: str | Path) -> Path:
    """As Path.resolve, of a link to itself too, where that raises (Python 3.11 and 3.12)."""
    return Path(os.path.realpath(path))


@contextmanager
def atomic_open(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open `path` for writing ("w" text, "wb" bytes); replaced only when the block ends well.

    A device or pipe (/dev/stdout, /dev/null) cannot be replaced and is written directly.
    """
    target = real_path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}
    if target.is_dir():
        raise MTPError(f"{path}: is a folder; give the name of a file to write")
    if target.exists() and not target.is_file():
        with target.open(mode, **text) as stream:
            yield stream
        return
    with atomic_path(target) as temporary, temporary.open(mode, **text) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, for who needs a name; it replaces `path` in the end.

    Raises
    ------
    MTPError
        where it cannot be written: no such folder, none of yours, a full disk.
    """
    try:
        prefix = f".{path.name[:80]}.partial-"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise MTPError(
            f"{path}: cannot be written ({error.strerror}); name a folder that exists and is yours"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _set_permissions(temporary, path)
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        raise MTPError(
            f"{path}: cannot be written ({error.strerror or error}); make room"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which it becomes when the block ends well.

    With `replace` what `folder` holds goes; without it OSError where it holds something.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _set_permissions(temporary: Path, target: Path) -> None:
    """Give the new file the mode of the file it replaces, or what the user's umask says."""
    if target.exists():
        mode = target.stat().st_mode & 0o777
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    temporary.chmod(mode)
