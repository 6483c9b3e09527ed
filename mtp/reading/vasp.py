"""VASP's results: OUTCAR by this reader, vasprun.xml by pymatgen's.

ASE's OUTCAR reader stops at on-the-fly machine learning, at vdW columns and where NWRITE=0 leaves
forces out, and takes steps that ended at NELM; dpdata's counts lines from a heading, which fails on
outputs of other versions. Here every ionic step is a frame or a counted reason why not.

Energy: "free  energy   TOTEN" (F = E - TS, with the dispersion correction, without PV), of which
VASP's forces and stress are the derivatives; E(sigma->0) is not.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from mtp.errors import MTPError
from mtp.reading.frames import CHARGE, UNCONVERGED, Reading, ReadOptions, text_of
from mtp.reading.kpoints import Mesh, as_method

KBAR = 0.1 * units.GPa
UNKNOWN = "converged or not, NELM is not said"
MACHINE_LEARNED = "predicted by VASP's machine learning"
NO_FORCES = "without forces or positions"
CUT = "cut short"
NUMBER = re.compile(r"-?\d+\.\d+(?:E[+-]?\d+)?")
ITERATION = re.compile(r"Iteration\s+(\d+)\s*\(\s*(\d+)\)")
TOTEN = re.compile(r"free  energy\s+TOTEN\s*=\s*(-?\d+\.\d+)")
MOMENTS = re.compile(r"^ magnetization \(([xyz])\)\s*$")
TAGS = ("ENCUT", "GGA", "METAGGA", "LHFCALC", "ISPIN", "ISMEAR", "SIGMA", "LDAU", "IVDW", "LVDW")
TAGS += ("LUSE_VDW", "LSORBIT", "LASPH", "LSOL", "LDIPOL", "IDIPOL", "EFIELD", "AEXX", "HFSCREEN")
TAG = re.compile(rf"(?:^|;)\s*({'|'.join(TAGS)})\s*=\s*([^\s;]+)")
HUBBARD = re.compile(r"(LDAU[LUJ])\s*=((?:\s*-?[\d.]+)+)\s*$")
VALENCE = re.compile(r"\s*ZVAL\s*=((?:\s*\d+\.\d+)+)\s*$")
FUNCTIONALS = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW": "CA"}  # of POTCARs, where GGA is not set
STATES = {"TRUE": "T", "FALSE": "F", "NONE": "--"}
ORDER = [0, 1, 2, 4, 5, 3]  # VASP's xx yy zz xy yz zx to ASE's xx yy zz yz xz xy


@dataclass
class _Header:
    elements: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    potcars: list[str] = field(default_factory=list)
    ions: int | None = None
    counts: list[int] = field(default_factory=list)
    nelm: int | None = None
    isif: int = 2
    cell: np.ndarray | None = None
    method: dict[str, str] = field(default_factory=dict)
    hubbard: dict[str, list[float]] = field(default_factory=dict)
    valence: list[float] = field(default_factory=list)
    electrons: float | None = None
    kpoints: int = 0
    mesh: Mesh | None = None
    listed: np.ndarray | None = None

    def charge(self) -> float:
        """Of the cell (e); 0 where the file does not say how many electrons it has."""
        if self.electrons is None or len(self.valence) != len(self.counts):
            return 0.0
        return _charge(self.valence, self.counts, self.electrons)

    def settings(self) -> dict[str, str]:
        """As `Reading.method`: tags, and by element its POTCAR and U."""
        columns = (self.hubbard.get(tag, ()) for tag in ("LDAUL", "LDAUU", "LDAUJ"))
        effective = [(u - j) * (shell >= 0) for shell, u, j in zip(*columns, strict=False)]
        elements = [_element(title) for title in self.potcars]
        hubbard = dict(zip(elements, effective, strict=False))
        return _settings(self.method, self.potcars, hubbard)

    def numbers(self, path: Path) -> list[int]:
        """Atomic numbers: VRHFIN names the element whatever the POTCAR's title is."""
        half = self.files[: len(self.files) // 2]  # VASP lists its POTCAR's files twice
        names = self.elements or self.titles or (half if half * 2 == self.files else [])
        if len(names) != len(self.counts) or self.ions not in (None, sum(self.counts)):
            raise MTPError(
                f"{path}: names {len(names)} elements for {len(self.counts)} groups of atoms, in "
                f"them {sum(self.counts)} of {self.ions} atoms; use the vasprun.xml of the same run"
            )
        pairs = zip(names, self.counts, strict=True)
        return [atomic_numbers[name] for name, count in pairs for _ in range(count)]


@dataclass
class _Step:
    iterations: int = 0
    limit: bool = False
    learned: bool = False
    cell: np.ndarray | None = None
    stress: np.ndarray | None = None
    table: np.ndarray | None = None
    moments: dict[str, np.ndarray | None] = field(default_factory=dict)


def read_outcar(path: Path, options: ReadOptions) -> Reading:
    """Every ab initio step with forces; others are counted by reason."""
    reading, head, step, numbers = Reading(), _Header(), _Step(), None
    current = None
    with text_of(path) as stream:
        lines = _Counted(stream)
        for line in lines:
            if current is not None and line.startswith(" vasp."):  # another run in the same file
                reading.left_out[CUT] += step.iterations > 0
                head, step, numbers, current = _Header(), _Step(), None, None
            if current is None:
                _header(line, head, lines)
                _kpoints(line, head, lines)
            if match := ITERATION.search(line):
                if match[1] != current:
                    reading.left_out[CUT] += step.iterations > 0
                    step, current = _Step(), match[1]
                step.iterations += 1
            elif match := TOTEN.search(line):
                numbers = numbers or head.numbers(path)
                _close(step, float(match[1]), numbers, head, options, reading)
                step = _Step()
            elif "ML" in line and "TOTEN" in line:
                reading.left_out[MACHINE_LEARNED] += 1
                step = _Step()
            else:
                _fill(line, lines, step, sum(head.counts))
    reading.left_out[CUT] += step.iterations > 0
    reading.left_out += Counter()  # drops the zeros
    if current is None and not reading.left_out:
        raise MTPError(f"{path}: is no outcar file, or one cut short: it holds no electronic step")
    listed = () if head.listed is None else head.listed
    reading.method = head.settings() | as_method(reading.frames, head.mesh, listed)
    _say_charge(head.charge(), reading)
    _moments(reading)
    return reading


def setting(value: object) -> str:
    """A value of an INCAR as every place of VASP's files that names it can be compared.

    Parameters
    ----------
    value : `.TRUE.`, T, `520.0`, `Pe`, None

    Returns
    -------
    T, 520, PE, -- (not set)
    """
    word = str(value).strip().strip(".").upper()
    try:
        return f"{float(word):g}"
    except ValueError:
        return STATES.get(word, word or "--")


def _charge(valence: list[float], counts: list[int], electrons: float) -> float:
    return round(float(np.dot(valence, counts)) - electrons, 3)


def _say_charge(charge: float, reading: Reading) -> None:
    if charge:
        reading.unknown[CHARGE.format(charge)] = len(reading.frames)


def _element(title: str) -> str:
    return (title.split() * 2)[1].split("_")[0]


def _settings(
    tags: dict[str, str], potcars: list[str], hubbard: Mapping[str, float]
) -> dict[str, str]:
    """As `Reading.method`; POTCARs and U - J (eV) by element, so that compositions may differ."""
    if tags.get("METAGGA") == "F":  # of another switch, which VASP 5 prints so
        tags = {tag: value for tag, value in tags.items() if tag != "METAGGA"}
    if tags.get("LHFCALC") != "T":
        tags = {tag: value for tag, value in tags.items() if tag not in ("AEXX", "HFSCREEN")}
    kinds = {(title.split() or [""])[0] for title in potcars}
    if tags.get("GGA") == "--" and len(kinds) == 1:
        tags = tags | {"GGA": FUNCTIONALS.get(kinds.pop(), "--")}
    named = {f"POTCAR {_element(title)}": title for title in potcars}
    values = {f"U {element}": f"{u:g}" for element, u in hubbard.items()}
    return {"program": "VASP", **tags, **named, **values}


class _Counted:
    """Lines of a stream, of which more can be taken at any time."""

    def __init__(self, stream: Iterator[str]) -> None:
        self.stream = iter(stream)

    def __iter__(self) -> Iterator[str]:
        return self.stream

    def take(self, count: int) -> list[str]:
        return [line for _, line in zip(range(count), self.stream, strict=False)]


def _header(line: str, head: _Header, lines: _Counted) -> None:
    if match := re.search(r"VRHFIN\s*=\s*([A-Za-z]+)", line):
        head.elements.append(match[1])
    elif match := re.search(r"TITEL\s*=\s*(.*\S)", line):
        head.titles.append(_element(match[1]))
        head.potcars.append(match[1])
    elif line.startswith(" POTCAR:"):
        head.files.append([*line.split(), "", ""][2].split("_")[0])
    elif match := re.search(r"NIONS\s*=\s*(\d+)", line):
        head.ions = head.ions or int(match[1])
    elif "ions per type" in line:
        head.counts = [int(word) for word in re.findall(r"\d+", line.partition("=")[2])]
    elif match := re.search(r"NELM\s*=\s*(\d+)", line):
        head.nelm = int(match[1])
    elif match := re.search(r"ISIF\s*=\s*(\d+)", line):
        head.isif = int(match[1])
    elif "direct lattice vectors" in line and head.cell is None:
        head.cell = _rows(lines.take(3), 3, 3)
    elif match := re.search(r"NELECT\s*=\s*(\d+\.\d+)", line):
        head.electrons = float(match[1])
    elif match := VALENCE.match(line):
        head.valence = [float(word) for word in match[1].split()]
    elif match := HUBBARD.search(line):
        head.hubbard[match[1]] = [float(word) for word in match[2].split()]
    for tag, value in TAG.findall(line):
        head.method.setdefault(tag, setting(value))


def _kpoints(line: str, head: _Header, lines: _Counted) -> None:
    if match := re.search(r"NKPTS\s*=\s*(\d+)", line):
        head.kpoints = int(match[1])
    elif match := re.search(r"generate k-points for:((?:\s+\d+){3})\s*$", line):
        one, two, three = map(int, match[1].split())
        head.mesh = (one, two, three)
    elif "k-points in reciprocal lattice and weights" in line:
        head.listed = _rows(lines.take(head.kpoints), head.kpoints, 4)


def _rows(lines: list[str], count: int, width: int) -> np.ndarray | None:
    """(count, width) first numbers of the lines, glued ones too; None where there are fewer."""
    rows = [[float(word) for word in NUMBER.findall(line)[:width]] for line in lines]
    if len(rows) != count or any(len(row) != width for row in rows):
        return None
    return np.array(rows).reshape(count, width)


def _fill(line: str, lines: _Counted, step: _Step, atoms: int) -> None:
    if "aborting loop" in line and "EDIFF is reached" not in line:
        step.limit = True
    elif "FORCE on cell" in line:
        step.learned = "ML FORCE" in line
    elif line.lstrip().startswith("in kB") and not step.learned:
        row = _rows([line], 1, 6)
        step.stress = None if row is None else -row[0][ORDER] * KBAR
    elif "direct lattice vectors" in line:
        step.cell = _rows(lines.take(3), 3, 3)
    elif "POSITION" in line and "TOTAL-FORCE" in line and "(ML)" not in line:
        lines.take(1)
        step.table = _rows(lines.take(atoms), atoms, 6)
    elif match := MOMENTS.match(line):
        step.moments[match[1]] = _last_column(lines.take(3 + atoms)[3:], atoms)


def _last_column(lines: list[str], count: int) -> np.ndarray | None:
    """(count,) the last number of each line, `tot` of VASP's tables of atoms."""
    words = [line.split() for line in lines]
    numbered = [row[0] for row in words if row] == [str(i + 1) for i in range(count)]
    return np.array([float(row[-1]) for row in words]) if numbered and count else None


def _close(
    step: _Step,
    energy: float,
    numbers: list[int],
    head: _Header,
    options: ReadOptions,
    reading: Reading,
) -> None:
    """VASP 5 says that EDIFF is reached at its limit too, so the number of iterations decides."""
    stopped = step.limit or (head.nelm is not None and step.iterations >= head.nelm)
    cell = step.cell if step.cell is not None or head.isif > 2 else head.cell
    if not step.iterations:
        reading.left_out["without an electronic loop"] += 1
    elif stopped and not options.nonconverged:
        reading.left_out[UNCONVERGED] += 1
    elif head.nelm is None and not options.nonconverged:
        reading.left_out[UNKNOWN] += 1
    elif step.table is None or cell is None:
        reading.left_out[NO_FORCES] += 1
    else:
        atoms = Atoms(numbers, step.table[:, :3], cell=cell, pbc=True)
        if [*step.moments] == ["x"] and step.moments["x"] is not None:  # y and z: not collinear
            atoms.set_array("initial_magmoms", step.moments["x"])
        reading.add(atoms, energy, step.table[:, 3:], step.stress)


def read_vasprun(path: Path, options: ReadOptions) -> Reading:
    """By pymatgen, which also reads compressed files and the parameters.

    Its e_fr_energy of a step holds PV under PSTRESS, which the forces and the stress do not.
    """
    from pymatgen.io.vasp.outputs import Vasprun  # a second to import

    switches = dict.fromkeys(("parse_dos", "parse_eigen", "parse_potcar_file"), False)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run = Vasprun(path, exception_on_bad_xml=False, **switches)
        steps, symbols = run.ionic_steps, run.atomic_symbols
        limit, given = int(run.parameters["NELM"]), run.parameters | run.incar
        hubbard = run.hubbards
    except OSError as error:
        raise MTPError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # pymatgen raises whatever the malformed file led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise MTPError(f"{path}: is no vasprun.xml that pymatgen can read ({detail})") from None
    reading = Reading()
    reading.left_out[CUT] += any("malformed" in str(one.message) for one in said)
    reading.left_out += Counter()  # drops the zero
    moments = _begun_from(run.parameters, len(symbols))
    pressure = float(given.get("PSTRESS", 0)) * KBAR
    for step in steps:
        loop = len(step["electronic_steps"])
        if not loop:
            learned = run.incar.get("ML_LMLFF")
            reading.left_out[MACHINE_LEARNED if learned else "without an electronic loop"] += 1
        elif loop >= limit and not options.nonconverged:
            reading.left_out[UNCONVERGED] += 1
        elif "forces" not in step or step["structure"] is None or "e_fr_energy" not in step:
            reading.left_out[NO_FORCES] += 1
        else:
            _step_of_xml(step, symbols, pressure, moments, reading)
    tags = {tag: setting(given[tag]) for tag in TAGS if tag in given}
    reading.method = _settings(tags, list(run.potcar_symbols), hubbard)
    reading.method |= _mesh_of_xml(run, reading.frames)
    _say_charge(_charge_of_xml(path, given.get("NELECT")), reading)
    if reading.method.get("ISPIN") == "2":
        _moments_beside(path, reading.frames)
    _moments(reading)
    return reading


def _mesh_of_xml(run: Any, frames: list[Atoms]) -> dict[str, str]:
    """As `as_method`, of pymatgen's Vasprun: what was generated, else the mesh of its points."""
    mesh = None
    if run.kpoints and run.kpoints.style.name in ("Gamma", "Monkhorst"):
        mesh = tuple(run.kpoints.kpts[0])
    points, weights = run.actual_kpoints or (), run.actual_kpoints_weights or ()
    rows = [[*point, weight] for point, weight in zip(points, weights, strict=False)]
    return as_method(frames, mesh, rows)


def _charge_of_xml(path: Path, electrons: float | None) -> float:
    """Of the cell (e), as of an OUTCAR; pymatgen passes over the valences of the atoms."""
    with text_of(path) as stream:
        head = "".join(takewhile(lambda line: "<structure" not in line, stream))
    rows = re.findall(rf"<rc>{5 * '<c>([^<]*)</c>'}</rc>", head.partition('"atomtypes"')[2])
    if electrons is None or not rows:
        return 0.0
    return _charge([float(row[3]) for row in rows], [int(row[0]) for row in rows], electrons)


def _begun_from(parameters: Mapping[str, Any], count: int) -> np.ndarray | None:
    """(N,) MAGMOM in µB, where it was what the run began from and not what another had left.

    A vasprun.xml holds no moments of its steps (those of the last could be summed up from the
    projections of all its bands).
    """
    fresh = parameters.get("ISTART") == 0 and parameters.get("ICHARG") in {2, 12}
    moments = np.ravel(np.asarray(parameters.get("MAGMOM", ()), float))
    spins = parameters.get("ISPIN") == 2 and not parameters.get("LNONCOLLINEAR")
    return moments if fresh and spins and len(moments) == count else None


def _moments_beside(path: Path, frames: list[Atoms]) -> None:
    """Moments of the steps from the OUTCAR of the same run, if it lies beside a vasprun.xml.

    A step is the same where energy (1e-5 eV) and positions (1e-3 Å) are.
    """
    outcar = path.with_name(path.name.replace("vasprun.xml", "OUTCAR"))
    if outcar == path or not outcar.is_file():
        return
    try:
        steps = read_outcar(outcar, ReadOptions(nonconverged=True)).frames
    except MTPError:  # it is not what is asked for
        return
    steps = [step for step in steps if "initial_magmoms" in step.arrays]
    energies = np.array([step.calc.results["energy"] for step in steps])
    for atoms in frames:
        # by their energies first: of a long MD most pairs are none
        for number in np.flatnonzero(np.abs(energies - atoms.calc.results["energy"]) < 1e-5):
            step = steps[number]
            if np.array_equal(step.numbers, atoms.numbers) and _same_places(step, atoms):
                atoms.set_array("initial_magmoms", step.arrays["initial_magmoms"])


def _same_places(one: Atoms, other: Atoms) -> bool:
    apart = np.linalg.solve(other.cell.array.T, (one.positions - other.positions).T).T
    way = (apart - np.round(apart)) @ other.cell.array
    return bool(np.abs(way).max() < 1e-3)


def _moments(reading: Reading) -> None:
    """Count frames of spins without them: OUTCAR has them where LORBIT asks for them."""
    bare = [atoms for atoms in reading.frames if "initial_magmoms" not in atoms.arrays]
    if bare and reading.method.get("ISPIN") == "2":
        reading.unknown["magnetic moments (ISPIN = 2)"] = len(bare)


def _step_of_xml(
    step: dict,
    symbols: list[str],
    pressure: float,
    moments: np.ndarray | None,
    reading: Reading,
) -> None:
    lattice = step["structure"].lattice
    atoms = Atoms(symbols, cell=lattice.matrix, pbc=True)
    if moments is not None:
        atoms.set_array("initial_magmoms", moments)
    atoms.set_scaled_positions(step["structure"].frac_coords)
    stress = step.get("stress")
    if stress is not None:
        matrix = -np.asarray(stress, float) * KBAR
        stress = matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    energy = step["e_fr_energy"] - pressure * lattice.volume
    reading.add(atoms, energy, np.asarray(step["forces"], float), stress)
