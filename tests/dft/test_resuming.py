"""A calculation whose job was killed goes on from what it had, to the same label."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk

from atomistics.reference.catalog import Method
from atomistics.reference.methods import label, reference_calculator
from atomistics.reference.resuming import for_item, sweep

ROOT = Path(__file__).parents[2]
CP2K = Method(
    "cp2k",
    options={
        "command": "cp2k -s",
        "xc": "PADE",
        "pseudo_potential": "GTH-PADE",
        "basis_set": "SZV-MOLOPT-SR-GTH",
        "cutoff": 5000,
        "stress_tensor": True,
        "max_scf": 200,
        "inp": "&FORCE_EVAL\n&DFT\n&SCF\nEPS_SCF 1.0E-8\n&MIXING\nALPHA 0.05\n&END MIXING\n"
        "&END SCF\n&END DFT\n&END FORCE_EVAL\n",
    },
    keep="all",
)
GPAW = Method(
    "ase",
    "gpaw:GPAW",
    options={
        "mode": {"name": "pw", "ecut": 200},
        "xc": "LDA",
        "symmetry": "off",
        "kpts": {"density": 1.0, "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": 0.2},
        "convergence": {"density": 1e-7},
        "mixer": {"backend": "pulay", "beta": 0.02, "nmaxold": 2, "weight": 50},
    },
    keep="all",
)


def aluminium() -> Atoms:
    atoms = bulk("Al", a=4.0) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


def lithium_hydride() -> Atoms:
    return Atoms("LiH", [[0, 0, 0], [1.7, 0.2, 0.1]], cell=[5, 5, 5], pbc=True)


# the output, its line of an iteration, from which on the job is killed, and how alike labels are:
# forces of a self-consistent field stopped by its energy are off by the root of that
CASES: dict[str, tuple[Method, Callable[[], Atoms], str, str, int, float, float]] = {
    "cp2k": (CP2K, lithium_hydride, "cp2k.out", r"^ +\d+ P_Mix/Diag", 12, 1e-6, 1e-3),
    "gpaw": (GPAW, aluminium, "gpaw.log", r"^iter: +\d+", 12, 1e-5, 1e-3),
}


def iterations(text: str, line: str) -> int:
    return len(re.findall(line, text, re.M))


def kept(folder: Path, name: str) -> tuple[str, dict[str, Any]]:
    """An output and the record of the one calculation that was kept."""
    (archive,) = folder.glob("outputs/*.tar.gz")
    with tarfile.open(archive) as packed:
        text = packed.extractfile(name).read().decode()  # type: ignore[union-attr]
        record = json.loads(packed.extractfile("calculation.json").read())  # type: ignore[union-attr]
    archive.unlink()
    return text, record


def begin_and_kill(case: str, output: str, line: str, enough: int) -> None:
    """A job that is killed with all it started, as by SLURM at its walltime."""
    code = (
        "from tests.dft.test_resuming import CASES, for_item, label, reference_calculator\n"
        f"method, structure, *_ = CASES[{case!r}]\n"
        "with for_item('select_data/labels/1'):\n"
        "    label(structure(), reference_calculator(method))\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        texts = [p.read_text(errors="replace") for p in Path().glob(f"outputs/.*/{output}")]
        if texts and iterations(texts[0], line) >= enough:
            break
        assert job.poll() is None, "ended before it was killed"
        time.sleep(0.02)
    for process in (psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)):
        process.send_signal(signal.SIGKILL)
    job.wait()
    time.sleep(1.0)  # until they are gone
    assert [p for p in Path("outputs").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("case", CASES)
def test_a_killed_calculation_goes_on(here: Path, case: str) -> None:
    method, structure, output, line, enough, energy, force = CASES[case]
    fresh = label(structure(), reference_calculator(method))
    text, record = kept(here, output)
    assert not record["resumed"]
    needed = iterations(text, line)
    assert needed > enough + 3, "too short to be killed in"
    begin_and_kill(case, output, line, enough)
    with for_item("select_data/labels/1"):
        again = label(structure(), reference_calculator(method))
    text, record = kept(here, output)
    assert record["resumed"]
    assert iterations(text, line) < needed - 3
    assert again.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=energy)
    assert np.abs(again.get_forces() - fresh.get_forces()).max() < force
    assert not list(here.glob("outputs/.*"))


def test_what_cannot_be_begun_from_is_begun_anew(here: Path) -> None:
    """Wavefunctions that were cut off while they were written."""
    method, structure, output, line, enough, energy, _ = CASES["cp2k"]
    begin_and_kill("cp2k", output, line, enough)
    (left,) = {p.resolve() for p in here.glob("outputs/.*/*-RESTART.wfn")}  # and its short path
    left.write_bytes(left.read_bytes()[:100])
    with for_item("select_data/labels/1"):
        again = label(structure(), reference_calculator(method))
    fresh = label(structure(), reference_calculator(method))
    assert again.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=energy)
    assert not list(here.glob("outputs/.*"))


@pytest.mark.parametrize(("keep", "archives"), [("failed", 1), ("none", 0)])
def test_what_nobody_goes_on_with_is_swept(here: Path, keep: Any, archives: int) -> None:
    begin_and_kill("cp2k", *CASES["cp2k"][2:5])
    sweep(keep)
    assert not list(here.glob("outputs/.*"))
    assert len(list(here.glob("outputs/*.tar.gz"))) == archives
    if archives:
        assert kept(here, "cp2k.out")[1]["kind"] == "killed"
