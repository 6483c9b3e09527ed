"""Signals as a terminal has them, for the tests and for all that they start."""

import signal

import pytest

# whoever runs the tests behind nohup, or in the background of a script, has Ctrl-C ignored by
# every child; a handler of Python's own is what becomes the system's default in a program
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Minutes first: xdist deals files out in their order, and the last one may be waited for."""
    items.sort(key=lambda item: item.path.name != "test_installed.py")
