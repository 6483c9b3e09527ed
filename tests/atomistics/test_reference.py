import ctypes
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from atomistics.md.plain import run
from atomistics.md.plain_protocol import Protocol
from atomistics.reference import building
from atomistics.reference.building import Session
from atomistics.reference.catalog import Method, Recipe
from atomistics.reference.convergence import (
    LabelFailedError,
    energy_of_forces,
    failure,
    unconverged,
)
from atomistics.reference.counting import CountingCalculator
from atomistics.reference.isolated import Child
from atomistics.reference.methods import ReferenceCalculator, label, reference_calculator
from campaign.errors import UserError
from mtp.calculator import MTP
from tests.mtp.samples import potential as random_potential
from tests.mtp.vasp_files import Step, outcar


def settings(method="gfn1-xtb", options=None, max_force=50.0, timeout=60.0):
    return Method(method, options=options or {}, max_force=max_force, timeout=timeout)


def bn(seed=1, amplitude=0.05):
    atoms = bulk("BN", "zincblende", a=3.615, cubic=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def tight():
    calculator = reference_calculator(settings(options={"accuracy": 0.001}))
    yield calculator
    calculator.close()


@pytest.fixture(scope="module")
def xtb():
    calculator = reference_calculator(settings())
    yield calculator
    calculator.close()


def energy(atoms, calculator):
    return label(atoms, calculator).get_potential_energy()


def test_forces_are_minus_the_gradient(tight):
    forces = label(bn(), tight).get_forces()
    assert np.abs(forces).max() > 1
    step = 0.005
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        ends = [bn(), bn()]
        for frame, sign in zip(ends, (1, -1), strict=True):
            frame.positions[atom, axis] += sign * step
        plus, minus = (energy(frame, tight) for frame in ends)
        assert forces[atom, axis] == pytest.approx(-(plus - minus) / (2 * step), abs=2e-3)


@pytest.mark.parametrize(("i", "j", "voigt"), [(0, 0, 0), (2, 2, 2), (1, 2, 3), (0, 1, 5)])
def test_stress_is_the_strain_derivative(tight, i, j, voigt):
    atoms = bn()
    atoms.set_cell(atoms.cell * 0.98, scale_atoms=True)
    stress = label(atoms, tight).get_stress()
    step = 0.002
    energies = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[i, j] += sign * step / 2
        strain[j, i] += sign * step / 2
        frame = atoms.copy()
        frame.set_cell(atoms.cell @ strain, scale_atoms=True)
        energies.append(energy(frame, tight))
    derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert stress[voigt] == pytest.approx(derivative, abs=5e-4)


def same(one, two):
    return (
        one.get_potential_energy() == two.get_potential_energy()
        and np.array_equal(one.get_forces(), two.get_forces())
        and np.array_equal(one.get_stress(), two.get_stress())
    )


def test_labels_do_not_depend_on_history_or_threads(xtb, monkeypatch):
    """Bit for bit, whatever was computed before, in a new process, asked for two threads."""
    first = label(bn(2), xtb)
    label(bn(1), xtb)
    with pytest.raises(LabelFailedError):
        label(bn(3, 5.0), xtb)
    assert same(label(bn(2), xtb), first)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert same(label(bn(2), reference_calculator(settings())), first)


def test_md_frames_are_labels(xtb):
    """A snapshot of reference MD, labelled again, gives the same bits."""
    outcome = run(bn(), xtb, Protocol("nvt", 300, 4, interval=2))
    assert (outcome.stop, outcome.reference_calls) == (None, 5)
    for frame in outcome.frames:
        assert same(label(frame, xtb), frame)


@pytest.mark.parametrize(
    ("atoms", "options", "kind"),
    [
        (bn(), {"max_iterations": 2}, "unconverged"),
        (Atoms("C2", [[0, 0, 0], [0, 0, 0]], cell=[6, 6, 6], pbc=True), {}, "crashed"),
        (Atoms("C2", [[0, 0, 0], [0, 0, 0.1]], cell=[6, 6, 6], pbc=True), {}, "forces_too_large"),
        (Atoms("C2", [[0, 0, 0], [0, 0, np.nan]], cell=[6, 6, 6], pbc=True), {}, "nan"),
        (Atoms("Og2", [[0, 0, 0], [0, 0, 3]], cell=[6, 6, 6], pbc=True), {}, "crashed"),
        (Atoms("C2", [[0, 0, 0], [0, 0, 1.4]], cell=[[6, 0, 0], [6, 0, 0], [0, 0, 6]]), {}, None),
    ],
)
def test_failures_are_classified(atoms, options, kind):
    calculator = reference_calculator(settings(options=options))
    if kind is None:  # without periodicity the cell does not matter
        assert label(atoms, calculator).get_forces().shape == (2, 3)
        return
    with pytest.raises(LabelFailedError) as caught:
        label(atoms, calculator)
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)


def test_the_wall_clock_limit_kills_the_child(tmp_path):
    """A call that outlives its limit ends, and the next one is answered by a new child."""
    calculator = reference_calculator(settings(timeout=0.02))
    others, before = psutil.Process().children(), time.monotonic()
    with pytest.raises(LabelFailedError) as caught:
        label(bn() * (2, 2, 1), calculator)
    assert caught.value.kind == "timeout"
    assert time.monotonic() - before < 5
    assert set(psutil.Process().children()) <= set(others)
    calculator.timeout = 60
    assert label(bn(), calculator).get_potential_energy() < 0


def hang(seconds):
    """Start a program, as VASP is, then hang in compiled code without giving Python a chance."""
    subprocess.Popen(["sleep", str(seconds)])
    ctypes.PyDLL(None).sleep(seconds)


def test_a_hang_in_compiled_code_is_ended_with_all_it_started():
    child = Child(hang, {})
    before = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 3 s"):
        child.ask(37, 3.0)
    assert time.monotonic() - before < 20
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "37"] not in commands


def test_a_child_that_dies_is_a_crash(xtb):
    others = set(psutil.Process().children())
    calculator = reference_calculator(settings())
    expected = energy(bn(), calculator)
    (child,) = set(psutil.Process().children()) - others
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(LabelFailedError) as caught:
        label(bn(), calculator)
    assert caught.value.kind == "crashed"
    assert energy(bn(), calculator) == expected == energy(bn(), xtb)


def test_no_child_outlives_a_killed_parent():
    code = (
        "from tests.atomistics.test_reference import *; c = reference_calculator(settings());"
        "label(bn(), c); print(psutil.Process().children()[0].pid, flush=True);"
        "label(bn() * (3, 3, 3), c)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    child.wait(timeout=10)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("dft", {}, "reference.method: 'dft' is unknown; use one of gfn1-xtb"),
        ("gfn1-xtb", {"acuracy": 1}, "options of gfn1-xtb: tblite has no option acuracy"),
        ("vasp", {"xc": "pbe"}, "options of vasp: .*command"),
        ("espresso", {"command": "pw.x"}, "options of espresso: 'pseudo_dir' is missing"),
        ("orca", {}, "options of orca: 'command' is missing"),
        ("vasp", {"nsw": 20}, "reference.options: nsw: 20 moves the atoms"),
        ("orca", {"command": "orca", "orcasimpleinput": "PBE Opt"}, "orcasimpleinput: Opt moves"),
        (
            "espresso",
            {"command": "x", "pseudo_dir": "y", "input_data": {"control": {"calculation": "md"}}},
            "input_data.control.calculation: md moves the atoms",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(method, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=words) as caught:
        label(bn(), reference_calculator(settings(method, options)))
    assert not isinstance(caught.value, LabelFailedError)
    assert not list(tmp_path.iterdir())


def test_a_program_that_fails_keeps_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "none"))
    options = {"command": "false", "orcasimpleinput": "PBE"}
    with pytest.raises(LabelFailedError) as caught:
        label(
            Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), reference_calculator(settings("orca", options))
        )
    assert caught.value.kind == "crashed"
    (archive,) = tmp_path.glob("outputs/*")
    assert caught.value.detail.endswith(f"its files are in outputs/{archive.name}")
    with tarfile.open(archive) as packed:
        assert {"calculation.json", "orca.inp"} <= set(packed.getnames())
        record = json.load(packed.extractfile("calculation.json"))
    assert record["kind"] == "crashed"
    assert record["input_sha256"][:8] in archive.name


PROGRAM = """
from ase.calculators.calculator import FileIOCalculator

class Mine(FileIOCalculator):
    implemented_properties = ["energy", "forces"]
    def write_input(self, atoms, properties=None, system_changes=None):
        FileIOCalculator.write_input(self, atoms, properties, system_changes)
        open(self.directory + "/mine.inp", "w").write(str(atoms.positions))
    def read_results(self):
        words = open(self.directory + "/mine.out").read().split()
        self.results = {"energy": float(words[-1]), "forces": [[0, 0, 0], [0, 0, 0]]}
"""


@pytest.mark.parametrize(("keep", "number"), [("failed", 1), ("all", 2), ("none", 0)])
def test_outputs_are_kept_by_choice(tmp_path, monkeypatch, keep, number):
    """A program that ends, with a wavefunction, and one that its time limit kills."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PROGRAM)
    pair = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])

    def run_by(command, timeout):
        options = {"command": command}
        method = Method("ase", "mine:Mine", options=options, keep=keep, timeout=timeout)
        return label(pair, reference_calculator(method, tmp_path))

    good = "head -c 9000 /dev/zero > mine.wfc1; echo ENERGY -1.5 > mine.out"
    assert run_by(good, 60).get_potential_energy() == -1.5
    with pytest.raises(LabelFailedError, match="far from done") as caught:
        run_by("echo far from done, iteration 3 > mine.out; sleep 60", 4)
    assert caught.value.kind == "timeout"
    assert ("its files are in" in caught.value.detail) == (keep != "none")
    archives = sorted(tmp_path.glob("outputs/*"))
    assert len(archives) == number
    for archive in archives:
        with tarfile.open(archive) as packed:
            assert set(packed.getnames()) == {"calculation.json", "mine.inp", "mine.out"}
    assert not list(tmp_path.rglob(".mine*"))


def test_a_failure_begins_with_the_words_of_the_program(tmp_path, monkeypatch):
    """A rank is dead: what the code said last, what its launcher said, then how it ended."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PROGRAM)
    said = "echo iteration 3 > mine.out; echo mpirun noticed that rank 1 died > mine.err; exit 137"
    method = Method("ase", "mine:Mine", options={"command": said}, timeout=60)
    with pytest.raises(LabelFailedError) as caught:
        label(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), reference_calculator(method, tmp_path))
    begin = "mine.out ends: iteration 3; mine.err ends: mpirun noticed that rank 1 died; "
    assert caught.value.detail.startswith(begin)
    program = subprocess.CalledProcessError(137, ["srun", "-n", "2", "pw.x", "-in", "a.pwi"])
    assert failure(program).detail == "srun ended with exit status 137"


@pytest.mark.parametrize(
    "calculator", ["ase.calculators.emt:EMT", "ase.calculators.lj:LennardJones"]
)
def test_cheap_calculators_run_in_process(calculator):
    before = psutil.Process().children()
    counting = CountingCalculator(reference_calculator(Method("ase", calculator)))
    frame = label(bulk("Cu", cubic=True), counting)
    assert counting.calls == 1
    assert frame.get_stress().shape == (6,)
    assert frame.info == {}
    assert set(psutil.Process().children()) <= set(before)


DETAILED = """Fermi level:                        -0.1500000000 H           -4.0817 eV
Total energy:                       -2.0000000000 H          -54.4228 eV
Extrapolated to 0:                  -2.0050000000 H          -54.5588 eV
Total Mermin free energy:           -2.0100000000 H          -54.6949 eV
Force related energy:               -2.0100000000 H          -54.6949 eV
SCC converged
"""


def test_the_energy_of_dftb_plus_is_that_of_its_forces(tmp_path):
    """Of a filling with temperature; ASE reads "Total energy", which lacks -TS."""
    assert energy_of_forces(tmp_path) is None
    (tmp_path / "detailed.out").write_text(DETAILED.replace("2.01", "1.01") + DETAILED)
    assert energy_of_forces(tmp_path) == pytest.approx(-2.01 * 27.211386, abs=1e-5)


def test_words_of_unconverged():
    for text in ("SCF not converged in 250 cycles", "convergence NOT achieved", "unconverged SCF"):
        assert failure(RuntimeError(text)).kind == "unconverged"
    assert failure(RuntimeError("disk full")).kind == "crashed"

    class KohnShamConvergenceError(Exception):
        """GPAW's, which may come without a word."""

    assert failure(KohnShamConvergenceError()).kind == "unconverged"


def broken(_request):
    raise TypeError("a slip of ours")


def test_a_defect_of_ours_is_no_failed_label(monkeypatch):
    cheap = reference_calculator(Method("ase", "ase.calculators.emt:EMT"))
    monkeypatch.setattr(building, "_properties", broken)
    with pytest.raises(TypeError, match="a slip of ours"):
        label(bulk("Cu", cubic=True), cheap)
    apart = reference_calculator(settings())
    apart._child = Child(broken, {})
    with pytest.raises(RuntimeError, match=r"in the child process:(.|\n)*a slip of ours"):
        label(bn(), apart)
    monkeypatch.setattr(MTP, "_evaluate", broken_method)
    potential = MTP(random_potential(4, 2), ["B", "N"])
    with pytest.raises(AttributeError, match="a slip of ours"):
        label(bn(), potential)


def broken_method(*_):
    raise AttributeError("a slip of ours")


class Noting(EMT):
    """As ASE's Vasp: results, and `converged` False."""

    def __init__(self, converged):
        super().__init__()
        self.converged = converged


@pytest.mark.parametrize("converged", [True, False])
def test_a_program_that_only_notes_that_it_did_not_converge(converged):
    noting = Recipe("tests.atomistics.test_reference:Noting", {"converged": converged})
    reply = Session(noting).answer(bulk("Cu"))
    assert getattr(reply, "kind", "done") == ("done" if converged else "unconverged")


class Smeared(EMT):
    """Two energies as of a smeared metal: the forces are derivatives of the free one."""

    def calculate(self, atoms=None, *given, **named):
        super().calculate(atoms, *given, **named)
        self.results["free_energy"] = self.results["energy"]
        self.results["energy"] = self.results["energy"] + 0.3 * np.ptp(self.atoms.positions)


def test_the_energy_of_a_label_is_the_one_its_forces_belong_to():
    calculator = ReferenceCalculator(Recipe("tests.atomistics.test_reference:Smeared"), 50.0, 60.0)
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    frame, step, energies = label(atoms, calculator), 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        energies.append(energy(moved, calculator))
    calculator.close()
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert frame.get_forces()[1, 2] == pytest.approx(slope, abs=1e-5)


class Relaxing(EMT):
    def calculate(self, atoms=None, *given, **named):
        super().calculate(atoms, *given, **named)
        atoms.positions += 0.01


def test_a_calculator_that_moves_the_atoms_labels_nothing():
    calculator = ReferenceCalculator(Recipe("tests.atomistics.test_reference:Relaxing"), 50.0, 60.0)
    with pytest.raises(UserError, match="moved the atoms; a label is of the structure it is given"):
        label(bulk("Cu", cubic=True), calculator)
    calculator.close()


CP2K = "SCF WAVEFUNCTION OPTIMIZATION\n"
ESPRESSO = "     Self-consistent Calculation\n"
ORCA = "                 ORCA SCF\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cp2k.out", CP2K + " *** SCF run converged in    12 steps ***", None),
        (
            "cp2k.out",
            CP2K + "Leaving inner SCF loop after reaching 5 steps.\n"
            "  outer SCF loop converged in   3 iterations",
            None,
        ),
        ("cp2k.out", CP2K + "Leaving inner SCF loop after reaching 50", "CP2K: cp2k.out does"),
        ("cp2k.out", CP2K + " *** WARNING in qs_scf.F:598 :: SCF run NOT converged ***", "CP2K: "),
        ("cp2k.out", "  Leaving inner SCF loop after reaching    50 steps.", "CP2K: cp2k.out does"),
        ("cp2k.out", "outer SCF loop FAILED to converge after 20 iterations", "FAILED to converge"),
        ("espresso.pwo", ESPRESSO + "convergence has been achieved in  7 iterations", None),
        (
            "espresso.pwo",
            ESPRESSO + "     convergence NOT achieved after 100 iterations: stopping",
            "Quantum ESPRESSO: convergence NOT achieved after 100",
        ),
        (
            "espresso.pwo",
            "     scf convergence threshold =      1.0E-09\n" + ESPRESSO + "\n"
            "     estimated scf accuracy    <       0.00000051 Ry\n"
            "     convergence has been achieved in   4 iterations",  # its limit
            "estimated scf accuracy of 5.1e-07 Ry where conv_thr is 1e-09 Ry",
        ),
        (
            "espresso.pwo",
            "     scf convergence threshold =      1.0E-08\n" + ESPRESSO + "\n"
            "     estimated scf accuracy    <       0.00000001 Ry\n"
            "     convergence has been achieved in   6 iterations",
            None,
        ),
        ("espresso.pwo", ESPRESSO, "espresso.pwo does not say that the self-consistent field conv"),
        (
            "orca.out",
            ORCA + "         *           SUCCESS            *\n"
            "      *        SCF CONVERGED AFTER  11 CYCLES          *",
            None,
        ),
        ("orca.out", ORCA + "*        SCF NOT CONVERGED AFTER 125 CYCLES          *", "ORCA: "),
        ("orca.out", ORCA + "The wavefunction IS NOT YET CONVERGED!", "ORCA"),
        ("orca.out", ORCA + "FINAL SINGLE POINT ENERGY  -76.1 (SCF not fully converged!)", "ORCA"),
        ("orca.out", ORCA + "Energy -76.1 (Wavefunction not fully converged!)", "ORCA"),
        ("orca.out", ORCA + "This wavefunction IS NOT FULLY CONVERGED!", "ORCA"),
        ("orca.out", ORCA, "orca.out does not say"),
        ("orca.out", ORCA.replace("ORCA ", "ORCA LEAN-"), "orca.out does not say"),
        ("orca.out", "LEAN-SCF ITERATIONS\n*  SCF CONVERGED AFTER  9 CYCLES  *", None),
        ("dftb.out", "SCC is NOT converged, maximal SCC iterations exceeded", "DFTB+"),
        ("running_scf.log", " !! convergence has not been achieved @_@", "ABACUS"),
        ("wavefunctions.out", "\0convergence NOT achieved", None),
    ],
)
def test_each_code_says_in_its_own_words_that_it_did_not_converge(tmp_path, name, text, words):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_text(text + "\n")
    found = unconverged(tmp_path)
    assert found is None if words is None else words in found
    if words and "does not say" in words:
        assert unconverged(tmp_path, ended=False) is None, "a killed run says nothing"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(iterations=4), None),
        (Step(iterations=60), "VASP: without electronic convergence, NELM was reached"),
        (Step(iterations=9, loop="EDIFF was not reached (unconverged)"), "VASP: without electron"),
    ],
)
def test_vasp_stopped_at_nelm_whatever_it_says(tmp_path, step, words):
    """VASP 5 says that EDIFF is reached where NELM ended the loop."""
    text = outcar([step], nelm=60)
    (tmp_path / "OUTCAR").write_text(text)
    found = unconverged(tmp_path)
    assert found is None if words is None else words in found
    (tmp_path / "OUTCAR").write_text(text.replace("NELM ", "NLEM "))
    assert "VASP: " in unconverged(tmp_path), "nothing says how many iterations are the limit"


CP2K_SHELL = """#!{python}
import sys
print("* READY", flush=True)
for line in sys.stdin:
    word, *rest = line.split() or [""]
    answer = {{"VERSION": "CP2K Shell Version:   1.0", "LOAD": "1", "GET_E": "-7.5"}}.get(word)
    if word == "EXIT":
        break
    if word == "LOAD":
        output = rest[1]
    if word == "SET_CELL":
        [next(sys.stdin) for _ in range(3)]
    if word == "SET_POS":
        [next(sys.stdin) for _ in range(int(next(sys.stdin)) // 3 + 1)]
        answer = "0.0"
    if word == "EVAL_EF":
        with open(output, "a") as file:
            file.write("SCF WAVEFUNCTION OPTIMIZATION\\n{end}\\n")
    if word == "GET_F":
        answer = "6\\n0.1 0 0\\n-0.1 0 0\\n* END"
    if word == "GET_STRESS":
        answer = "0 " * 9
    if answer:
        print(answer)
    print("* READY", flush=True)
"""


@pytest.mark.parametrize("end", ["SCF run converged in 9 steps", "SCF run NOT converged"])
def test_a_shell_of_cp2k_that_takes_80_characters_a_line(tmp_path, monkeypatch, end):
    """Its first version: both paths of LOAD must fit, however the folder is called."""
    monkeypatch.chdir(tmp_path)
    shell = tmp_path / "shell.py"
    shell.write_text(CP2K_SHELL.format(python=sys.executable, end=end))
    shell.chmod(0o755)
    atoms = Atoms("CuO", [[0, 0, 0], [2.1, 2, 2]], cell=[4, 4, 4], pbc=True)
    calculator = reference_calculator(settings("cp2k", {"command": "./shell.py"}))
    if "NOT" in end:
        with pytest.raises(LabelFailedError, match=r"unconverged: CP2K: SCF run NOT converged"):
            label(atoms, calculator)
    else:
        assert label(atoms, calculator).get_potential_energy() == -7.5
    calculator.close()
    assert not list(tmp_path.glob("outputs/.*")), "folder and link are gone"


def test_an_in_process_reference_forgets_other_structures():
    """EMT's neighbour list keeps the order it began with: a label must not depend on it."""
    calculator = reference_calculator(Method("ase", "ase.calculators.emt:EMT"))
    start, moved = bulk("Cu", cubic=True) * (2, 1, 1), bulk("Cu", cubic=True) * (2, 1, 1)
    moved.rattle(0.05, seed=4)
    alone = label(moved, reference_calculator(Method("ase", "ase.calculators.emt:EMT")))
    label(start, calculator)
    assert same(label(moved, calculator), alone)
