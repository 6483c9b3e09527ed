"""What commands say: a line that is drawn anew in a terminal, lines that stay in a log."""

import os
import pty
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from campaign.terminal import progress_line, say


@contextmanager
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard output is a terminal of 100 columns; the other end of it."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with suppress(OSError), os.fdopen(theirs, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield ours


def test_a_terminal_has_one_line_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with screen(monkeypatch) as place, progress_line("[ 3] sample") as redraw:
        assert redraw
        redraw(2, 7, ", 40 labels")
        say("  SLURM takes no job now")
        time.sleep(1.2)
        shown = os.read(place, 100_000).decode()
    assert "[ 3] sample" in shown
    assert "2/7" in shown
    assert "jobs, 40 labels" in shown
    assert shown.count("\n") <= 3
    assert "SLURM takes no job now\r\n" in shown


def test_a_log_has_none(capsys: pytest.CaptureFixture) -> None:
    with progress_line("[ 3] sample") as redraw:
        assert redraw is None
    assert capsys.readouterr().out == ""


def test_a_terminal_that_goes_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with screen(monkeypatch) as place, progress_line("[ 3] sample") as redraw:
        assert redraw
        os.close(place)
        redraw(2, 7, "")
        say("nobody reads this")
        time.sleep(1.2)  # drawn twice a second
