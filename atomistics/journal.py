"""All-or-nothing changes to a file that is written in place, by a redo journal.

HDF5 rewrites its own metadata on every append, so a process killed there can leave a file nobody
can open. Here HDF5 writes into memory; the changed pages go to FILE.journal in one rename, which
is the commit, then into FILE. A kill before the rename leaves FILE untouched, a kill after it is
finished by `recover`.
"""

import contextlib
import io
import os
from pathlib import Path

import numpy as np

PAGE = 4096


def _journal(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def recover(path: Path) -> None:
    """Finish a committed change that was cut short; call before every opening of the file."""
    journal = _journal(path)
    with contextlib.suppress(FileNotFoundError):  # no journal, or a reader beside us was faster
        # without its file a journal is a leftover: the file was deleted on purpose
        if path.exists():
            _apply(path, journal)
        journal.unlink()


def _apply(path: Path, journal: Path) -> None:
    with np.load(journal) as change, path.open("r+b") as file:
        for offset, page in zip(change["offsets"], change["pages"], strict=True):
            file.seek(int(offset))
            file.write(page.tobytes())
        file.truncate(int(change["size"]))
        os.fsync(file.fileno())


class Overlay(io.RawIOBase):
    """A file for h5py's file-object driver whose changes stay in memory until `commit`."""

    def __init__(self, path: Path) -> None:
        recover(path)
        path.touch()
        self.path = path
        self.base = path.open("rb")
        self.size = path.stat().st_size
        self.pages: dict[int, bytearray] = {}
        self.position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As `io.IOBase.seek`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        """As `io.IOBase.tell`."""
        return self.position

    def _page(self, number: int) -> bytearray | bytes:
        if number in self.pages:
            return self.pages[number]
        self.base.seek(number * PAGE)
        return self.base.read(PAGE).ljust(PAGE, b"\0")

    def _pieces(self, length: int) -> list[tuple[int, int, int]]:
        """(page, first byte, last byte in it) of the next `length` bytes; moves past them."""
        begin, end = self.position, self.position + length
        self.position = end
        return [
            (number, max(begin - number * PAGE, 0), min(end - number * PAGE, PAGE))
            for number in range(begin // PAGE, -(-end // PAGE))
        ]

    def readinto(self, buffer: memoryview) -> int:
        """As `io.RawIOBase.readinto`, changes included."""
        length = max(0, min(len(buffer), self.size - self.position))
        pieces = self._pieces(length)
        buffer[:length] = b"".join(bytes(self._page(n)[begin:end]) for n, begin, end in pieces)
        return length

    def write(self, data: memoryview) -> int:
        """As `io.RawIOBase.write`, into memory."""
        view, done = memoryview(data).cast("B"), 0
        for number, begin, end in self._pieces(len(view)):
            page = self.pages.setdefault(number, bytearray(self._page(number)))
            page[begin:end] = view[done : done + end - begin]
            done += end - begin
        self.size = max(self.size, self.position)
        return done

    def truncate(self, size: int | None = None) -> int:
        """As `io.IOBase.truncate`, in memory."""
        self.size = self.position if size is None else size
        return self.size

    def commit(self) -> None:
        """Make every change so far durable, all or nothing."""
        self.base.close()
        temporary = _journal(self.path).with_suffix(".tmp")
        numbers = sorted(number for number in self.pages if number * PAGE < self.size)
        pages = np.frombuffer(b"".join(self.pages[n] for n in numbers), np.uint8)
        offsets = np.array(numbers, np.int64) * PAGE
        try:
            with temporary.open("wb") as file:
                np.savez(file, size=self.size, offsets=offsets, pages=pages.reshape(-1, PAGE))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        temporary.replace(_journal(self.path))
        recover(self.path)
