"""Damaged files through the command line: success or one line, never a traceback or a blow-up."""

import random
import re
import resource
import signal

import pytest

from mtp.cli import main
from mtp.formats.almtp import write_potential
from mtp.formats.cfg import write_cfg
from mtp.selection.selector import RowWeights, Selector
from tests.mtp.samples import potential, training_set

CASES = 90
SECONDS, MEGABYTES = 20, 300
JUNK = (
    b"nan",
    b"-1",
    b"1e999",
    b"999999999999",
    b"",
    b"\x00",
    b"\xff\xfe",
    b"{{",
    b"END_CFG",
    b"=",
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    model, labelled = potential(level=4, species=2), training_set(3)
    for c in labelled:
        c.types %= 2
    write_cfg(folder / "x.cfg", labelled)
    write_potential(folder / "x.mtp", model)
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(labelled)
    write_potential(folder / "x.almtp", selector.with_active_set())
    return folder


def damaged(data, rng):
    """The bytes with one to three accidents: cut, flipped, repeated, replaced words or lines."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                data = data[:place]
            case 1:
                data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
            case 2:
                lines = data.split(b"\n")
                k = rng.randrange(len(lines))
                lines[k : k + 1] = rng.choice([[], [lines[k]] * 2])
                data = b"\n".join(lines)
            case 3 | 4:
                words = list(re.finditer(rb"[^\s,{}]+", data[:20000]))
                if words:
                    word = rng.choice(words)
                    data = data[: word.start()] + rng.choice(JUNK) + data[word.end() :]
            case 5:
                digits = list(re.finditer(rb"\d", data[:3000]))
                if digits:
                    digit = rng.choice(digits).start()
                    data = data[:digit] + b"%d" % rng.randrange(10) * 3 + data[digit + 1 :]
            case 6:
                end = min(len(data), place + rng.randrange(1, 200))
                data = data[:place] + data[place:end] * 2 + data[end:]
    return data


def commands(kind, bad, folder):
    good = {name: str(folder / f"x.{name}") for name in ("cfg", "mtp", "almtp")}
    good[kind] = str(bad)
    out = str(folder / "out.cfg")
    return {
        "cfg": [
            ["check_errors", good["mtp"], good["cfg"]],
            ["calculate_grade", good["almtp"], good["cfg"], out, "--log=none"],
            ["mindist", good["cfg"]],
            ["convert", good["cfg"], out, "--fix_lattice"],
        ],
        "mtp": [["calculate_efs", good["mtp"], good["cfg"], out]],
        "almtp": [
            ["calculate_grade", good["almtp"], good["cfg"], out, "--log=none"],
            ["select_add", good["almtp"], good["cfg"], good["cfg"], out],
        ],
    }[kind]


def hung(signum, frame):
    raise AssertionError("hangs")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["cfg", "mtp", "almtp"])
def test_damaged_files(originals, kind, capsys, tmp_path):
    data = (originals / f"x.{kind}").read_bytes()
    bad = tmp_path / f"bad.{kind}"
    signal.signal(signal.SIGALRM, hung)
    outcomes = {0: 0, 1: 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(CASES):
        bad.write_bytes(damaged(data, random.Random(f"{kind}{seed}")))
        for words in commands(kind, bad, originals):
            capsys.readouterr()
            signal.alarm(SECONDS)
            try:
                status = main(words)
            finally:
                signal.alarm(0)
            error = capsys.readouterr().err
            assert status in outcomes, (seed, words)
            outcomes[status] += 1
            assert re.fullmatch(r"ERROR: .+\n" if status else "", error), (seed, words, error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES
    assert min(outcomes.values()) > 0
