"""A calculation in a process of its own, under a wall-clock limit.

Compiled reference codes hang, abort (`error stop`) or crash inside a call that no Python signal
handler can interrupt; a child process can always be killed, and its threads are set before any
library is loaded. The child is a fresh interpreter, not a fork, because forking an MPI rank is
not safe.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any, NamedTuple

START = (
    "import sys; sys.path[:] = {path!r}; import importlib;"
    " from atomistics.reference.isolated import serve;"
    " serve(getattr(importlib.import_module({module!r}), {name!r}), {descriptor})"
)


class DiedError(Exception):
    """The child ended without an answer; the message is the tail of what it printed."""


class Raised(NamedTuple):
    """An exception of the child that is no answer: a fault of ours."""

    traceback: str


class Child:
    """A process that answers `module.name(request)`; started when first asked, kept, replaced."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        environment: Mapping[str, str],
        path: Sequence[Path] = (),
        patience: float = 0.0,
    ) -> None:
        """`path`: folders whose modules can be imported beside the installed ones.

        `patience`: seconds between SIGTERM and SIGKILL; without any SIGKILL comes first.
        """
        self._function = function
        self._environment = environment
        self._patience = patience
        self._path = [str(folder.resolve()) for folder in path]
        self._stop: weakref.finalize | None = None
        self._forget: weakref.finalize | None = None  # what the last process printed
        self.number = 0  # of the process last started

    def ask(self, request: Any, timeout: float | None) -> Any:
        """Return the answer; TimeoutError after `timeout` seconds (the child is killed then).

        DiedError where the child ended; RuntimeError with its traceback where it raised.
        """
        if self._stop is None:
            self._start()
        try:
            self._pipe.send(request)
            reply = self._pipe.recv() if self._pipe.poll(timeout) else None
        except (EOFError, ConnectionError):
            self.close()
            raise DiedError(_tail(self._output)) from None
        except BaseException:
            self.close()
            raise
        if reply is None:
            self.close()
            raise TimeoutError(f"no answer within {timeout:g} s")
        if isinstance(reply, Raised):
            raise RuntimeError(f"in the child process:\n{reply.traceback}")  # noqa: TRY004
        return reply

    def close(self) -> None:
        """End the child and what it started."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        if self._forget is not None:
            self._forget()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._forget = weakref.finalize(self, self._output.close)
        code = START.format(
            path=[*(entry or str(Path.cwd()) for entry in sys.path), *self._path],
            module=self._function.__module__,
            name=self._function.__name__,
            descriptor=theirs.fileno(),
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        self.number = process.pid
        self._stop = weakref.finalize(self, _end, process, self._pipe, self._patience)


def _end(process: subprocess.Popen, pipe: Connection, patience: float) -> None:
    """Kill the group, after asking it to end where that takes ranks on other nodes with it."""
    pipe.close()
    with contextlib.suppress(ProcessLookupError):
        until = time.monotonic() + patience
        if patience:
            os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes]) -> str:
    output.seek(0)
    text = " ".join(output.read().decode(errors="replace").split())
    return text[-300:] or "ended without a word"


def serve(answer: Callable[[Any], Any], descriptor: int) -> None:
    """Body of the child: answer requests until the parent closes its end or is gone."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    pipe = Connection(descriptor)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            reply = answer(request)
        except Exception:
            reply = Raised(traceback.format_exc())
        pipe.send(reply)


def _follow(parent: int) -> None:
    """End this process group once the parent was killed: a restart must find nothing running."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)
