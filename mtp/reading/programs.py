"""Text outputs of pw.x, GPAW and ORCA by ASE's readers, single ones of CP2K by dpdata's; each step.

A step is a frame where its own self-consistent field converged (`mtp.reading.signs`). The energy is
the one of the forces: pw.x's "!" line is F = E - TS and "!!" replaces it where there is exact
exchange, of which ASE takes the first; GPAW's "Free energy", where ASE takes the extrapolated one.
"""

import io
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, GPa, Hartree, Ry

from mtp.errors import MTPError
from mtp.reading.frames import CHARGE, UNCONVERGED, Reading, ReadOptions, text_of
from mtp.reading.kpoints import as_method
from mtp.reading.signs import against

NO_FORCES = "without forces"
CUT = "cut short"
STEP_OF_PW = re.compile(
    r"(?m)^((?:CELL_PARAMETERS.*\n(?:.*\n){3,4}?)?ATOMIC_POSITIONS|\s+Program PWSCF)"
)
ENERGY_OF_PW = re.compile(r"(?m)^!!?\s+total energy\s+=\s+(-?[\d.]+) Ry")
BANDS = re.compile(r"End of (self-consistent|band structure) calculation")
FORCES_OF_CP2K = re.compile(
    r"(?m)^ *(?:FORCES\| +\d+|\d+ +\d+ +[A-Z]\w*)" + 3 * r" +(-?\d+\.\d+(?:E[-+]\d+)?)"
)
FIXED_CELL = ("NVE", "NVT", "LANGEVIN", "ISOKIN", "NVT_ADIABATIC")  # ensembles
COLUMNS_OF_CELL = 12  # step, time, nine numbers, volume
SAME_ENERGY = 2e-9  # Hartree: trajectories have ten digits
ROUNDED = 6e-4  # Å
STRESS_OF_CP2K = re.compile(
    r"STRESS\| Analytical stress tensor \[GPa\]\n.*\n" + 3 * r" STRESS\|\s+[xyz]((?:\s+\S+){3})\n"
)
SETTINGS_OF_GPAW = {
    "xc": r"Using the (\S+) Exchange-Correlation functional",
    "ecut": r"(?s)Wave functions: Plane wave.*?Cutoff energy: ([\d.]+) eV",
    "smearing": r"Occupation numbers: (\S+):",
    "width": r"Occupation numbers: \S+:\s+width: ([\d.]+)",
    "hubbard": r"Hubbard: \{",
}
MESH_OF_GPAW = re.compile(r"(?m)^\d+ k-points?(?:: (\d+) x (\d+) x (\d+) Mon| \(Gamma\))")
FREE_ENERGY = re.compile(r"(?m)^Free energy:\s+([-+]?\d+\.\d+)")
ENDED = "ORCA TERMINATED NORMALLY"
SMEARING = {"gauss": "gaussian", "m-p": "methfessel-paxton", "mp": "methfessel-paxton"}
SMEARING |= dict.fromkeys(("m-v", "mv", "cold"), "marzari-vanderbilt")
SMEARING |= dict.fromkeys(("f-d", "fd"), "fermi-dirac")
SETTINGS_OF_PW = {
    "ecutwfc": r"kinetic-energy cutoff\s+=\s+([\d.]+)",
    "ecutrho": r"charge density cutoff\s+=\s+([\d.]+)",
    "smearing": r"number of k points=\s+\d+\s+(\S+) smearing",
    "degauss": r"smearing, width \(Ry\)=\s+([\d.]+)",
    "functional": r"Exchange-correlation\s*=\s*(.*\S)",
    "input_dft": r"XC functional enforced from input",
    "dispersion": r"(?i)(?:DFT-D3|Grimme-D2|Tkatchenko|XDM|Many.Body) ?.*dispersion|for dispersion",
    "hubbard": r"(?:LDA|DFT)\+U",
    "field": r"(?i)adding external electric field",
}


def read_pw(path: Path, options: ReadOptions) -> Reading:
    """Steps of an output of pw.x: scf, relax, vc-relax, md; several runs in one file, too.

    Parameters
    ----------
    path : what pw.x prints, perhaps compressed
    options : whether steps without convergence are kept

    Returns
    -------
    frames with energy (eV), forces (eV/Å) and stress (eV/Å^3) where it was asked for

    Raises
    ------
    MTPError
        It holds no step.
    """
    reading, head, threshold, charge, listed = Reading(), "", "", 0.0, ()
    parts = STEP_OF_PW.sub("\f\\1", _text(path)).split("\f")
    for part in parts[1:]:
        if "Program PWSCF" in part[:200]:
            head = part.partition("Self-consistent Calculation")[0]
            threshold = "\n".join(re.findall(r".*scf convergence threshold.*", head))
            _one_method(path, reading, _settings_of_pw(head))
            listed = _kpoints_of_pw(head)
            charge = _charge_of_pw(head)
            text = BANDS.sub(r"End of \1 part", part)
        else:
            text = BANDS.sub(r"End of \1 part", head + part)
        energy = energy_of_pw(part)
        if "Self-consistent Calculation" not in part:
            continue  # the last geometry, printed once more
        if energy is None:
            reading.left_out[UNCONVERGED if "NOT achieved" in part else CUT] += 1
        elif not options.nonconverged and against(f"{threshold}\n{part}".splitlines()):
            reading.left_out[UNCONVERGED] += 1
        elif "Forces acting on atoms" not in part:
            reading.left_out[NO_FORCES] += 1
        elif (atoms := _last(text, "espresso-out")) is None:
            reading.left_out[CUT] += 1
        else:
            _add(reading, atoms, energy)
            bare = atoms.calc.results.get("magmoms") is None and "Starting magnetic struct" in head
            reading.unknown["magnetic moments (nspin = 2)"] += bare
            reading.unknown[CHARGE.format(charge)] += charge != 0
    reading.method |= as_method(reading.frames, None, listed)
    return _some(reading, path, "self-consistent calculation of pw.x")


def energy_of_pw(text: str) -> float | None:
    """The energy of the forces of one step.

    Parameters
    ----------
    text : of one step of pw.x

    Returns
    -------
    eV, the last that is marked by "!" or "!!"; None where there is none
    """
    energies = ENERGY_OF_PW.findall(text)
    return float(energies[-1]) * Ry if energies else None


def _settings_of_pw(head: str) -> dict[str, str]:
    """As `Reading.method`: Ry, and by element the file of its pseudopotential."""
    settings = {"program": "Quantum ESPRESSO", **_said(SETTINGS_OF_PW, head)}
    if settings["input_dft"] == "t":
        settings["input_dft"] = settings["functional"]
    for symbol, file in re.findall(r"PseudoPot\. # ?\d+ for (\S+) +read from file:\s+(\S+)", head):
        settings[f"pseudopotential {re.sub('[^A-Za-z].*', '', symbol)}"] = Path(file).name
    return settings


def _said(patterns: Mapping[str, str], head: str) -> dict[str, str]:
    """By name what a pattern finds; t for one without a group, f where it finds nothing."""
    settings = {}
    for key, pattern in patterns.items():
        match = re.search(pattern, head)
        word = (match[1] if match.groups() else "t") if match else "f"
        settings[key] = comparable(" ".join(word.split()))
    return settings


def _kpoints_of_pw(head: str) -> list[list[float]]:
    """Reduced coordinates and weight of each; pw.x lists (2 pi/alat) fewer than a hundred."""
    three = 3 * r" +(-?\d+\.\d+)"
    point = rf"(?m)^ +k\( +\d+\) = \({three} *\), wk = +(\d\S+)"
    rows = np.array(re.findall(point, head.partition("cryst.")[0]), float)
    axes = np.array(re.findall(rf"a\(\d\) = \({three} *\)", head)[:3], float)
    return [[*(axes @ row[:3]), row[3]] for row in rows] if axes.shape == (3, 3) else []


def _charge_of_pw(head: str) -> float:
    """Of the cell (e): what the valences of its atoms have more than there are electrons."""
    valence = dict(re.findall(r"(?m)^ +([A-Z]\w*) +(\d+\.\d+) +\d+\.\d+ +\w+ *\( *1\.00\)", head))
    sites = re.findall(r"(?m)^ +\d+ +(\S+) +tau\(", head)
    electrons = re.search(r"number of electrons\s+=\s+([\d.]+)", head)
    if not electrons or not set(sites) <= set(valence):
        return 0.0
    return round(sum(float(valence[name]) for name in sites) - float(electrons[1]), 2)


def comparable(value: object) -> str:
    """A value of a program's input or output as both compare: gaussian for gauss, 12 for 12.0.

    Parameters
    ----------
    value : a number in Ry, a word

    Returns
    -------
    number or word in lower case
    """
    word = str(value).strip().lower()
    try:
        return f"{float(word):g}"
    except ValueError:
        return SMEARING.get(word, word)


def read_gpaw(path: Path, options: ReadOptions) -> Reading:
    """Steps of GPAW's text output; as `read_pw`."""
    reading, mesh = Reading(method={"program": "GPAW"}), None
    for run in re.split(r"(?m)^(?=Input parameters:\s*$)", _text(path)):
        head, *steps = re.split(r"(?m)^(?=Positions:\s*$)", run)
        if head.startswith("Input parameters:"):
            _one_method(path, reading, _said(SETTINGS_OF_GPAW, head))
            if match := MESH_OF_GPAW.search(head):
                one, two, three = (int(number or 1) for number in match.groups())
                mesh = (one, two, three)
        charge = re.search(r"Total Charge: +(-?[\d.]+)", head)
        before = len(reading.frames)
        _steps_of_gpaw(steps, options, reading)
        if charge and float(charge[1]):
            name = CHARGE.format(float(charge[1]))
            reading.unknown[name] += len(reading.frames) - before
    reading.method |= as_method(reading.frames, mesh)
    return _some(reading, path, "step of GPAW")


def _steps_of_gpaw(steps: list[str], options: ReadOptions, reading: Reading) -> None:
    for text in steps:
        energies = FREE_ENERGY.findall(text)
        if not options.nonconverged and against(text.splitlines()):
            reading.left_out[UNCONVERGED if "Did not" in text else CUT] += 1
        elif not energies:
            reading.left_out[CUT] += 1
        elif re.search(r"(?im)^vdW correction:", text):
            reading.left_out["with a dispersion correction beside GPAW's energy"] += 1
        elif "Forces in eV/Ang" not in text:
            reading.left_out[NO_FORCES] += 1
        elif (atoms := _last(f"\n{text}", "gpaw-out")) is None:
            reading.left_out[CUT] += 1
        else:
            _add(reading, atoms, float(energies[-1]))


def read_orca(path: Path, options: ReadOptions) -> Reading:
    """Steps of ORCA's output that have a gradient; as `read_pw`, without stress."""
    from ase.io.orca import get_chunks

    text, reading = _text(path), Reading(method={"program": "ORCA"})
    words = re.findall(r"(?m)^\|\s*\d+>\s*!(.*)$", text)
    reading.method["orcasimpleinput"] = words_of_orca(" ".join(words))
    ended = ENDED in text
    for lines in get_chunks([*text.splitlines(True), *[f"{ENDED}\n"] * (not ended)]):
        chunk = "".join(lines)
        if "FINAL SINGLE POINT ENERGY" not in chunk:
            reading.left_out[CUT] += "CARTESIAN COORDINATES (ANGSTROEM)" in chunk
        elif not options.nonconverged and against(lines):
            reading.left_out[UNCONVERGED] += 1
        elif chunk.count("CARTESIAN GRADIENT") != 1:
            several = "with gradients of several states"
            reading.left_out[several if "CARTESIAN GRADIENT" in chunk else NO_FORCES] += 1
        elif (atoms := _last("".join([*lines[:-1], f"{ENDED}\n"]), "orca-output")) is None:
            reading.left_out[CUT] += 1
        else:
            _add(reading, atoms, atoms.get_potential_energy())
    charge = re.search(r"Total Charge\s+Charge\s+\.+\s+(-?\d+)", text)
    if charge and int(charge[1]):
        reading.unknown[CHARGE.format(int(charge[1]))] = len(reading.frames)
    return _some(reading, path, "single point of ORCA")


def words_of_orca(line: str) -> str:
    """Keywords of ORCA's simple input that make the method, in one order.

    Parameters
    ----------
    line : what stands behind the exclamation mark

    Returns
    -------
    words in lower case without those that ask for a gradient, a task or a printout
    """
    passing = r"engrad|opt|numgrad|sp|pal\d+|\w*print\w*|keepdens|autostart|noautostart|xyzfile"
    words = {word for word in line.lower().split() if not re.fullmatch(passing, word)}
    return " ".join(sorted(words))


def read_cp2k(path: Path, options: ReadOptions) -> Reading:
    """Energies and forces by CP2K; as `read_pw`. One calculation by dpdata.

    Those of MD and relaxations have their positions in PROJECT-pos-1.xyz beside the output, and
    where the cell changes it is in PROJECT-1.cell; a step is the one that has its energy.
    """
    text, reading = _text(path), Reading(method={"program": "CP2K"})
    runs = text.count("PROGRAM STARTED AT")
    if runs > 1:
        raise MTPError(f"{path}: holds {runs} runs of CP2K; split it")
    ends = [match.start() for match in re.finditer(r"ENERGY\| Total FORCE_EVAL", text)]
    if not ends:
        reading.left_out[UNCONVERGED if _failed(text) else CUT] += 1
    geometries = deque(_trajectory_of_cp2k(path, text) if len(ends) > 1 else ())
    for before, end, after in zip([0, *ends], ends, [*ends[1:], len(text)], strict=False):
        result, fault = text[end:after], against(text[before:end].splitlines())
        if not options.nonconverged and fault:
            reading.left_out[UNCONVERGED if _failed(fault) else CUT] += 1
        elif not re.search(r"ATOMIC FORCES in|FORCES\|", result):
            reading.left_out[NO_FORCES] += 1
        elif len(ends) == 1:
            _single_of_cp2k(path, text, reading)
        else:
            _step_of_cp2k(result, geometries, reading)
    grid = re.search(r"BRILLOUIN\| K-[Pp]oint grid +(\d+) +(\d+) +(\d+)", text)
    one, two, three = map(int, grid.groups()) if grid else (1, 1, 1)
    reading.method |= as_method(reading.frames, (one, two, three))
    charge = re.search(r"DFT\| Charge\s+(-?\d+)", text)
    if charge and int(charge[1]):
        reading.unknown[CHARGE.format(int(charge[1]))] = len(reading.frames)
    if "DFT| Spin unrestricted" in text:
        reading.unknown["magnetic moments (UKS)"] = len(reading.frames)
    return _some(reading, path, "calculation of CP2K")


def _failed(words: str) -> bool:
    return "SCF run NOT" in words or "SCF loop FAILED" in words


def _single_of_cp2k(path: Path, text: str, reading: Reading) -> None:
    import dpdata

    try:
        data = dpdata.LabeledSystem(str(path), fmt="cp2k/output").data
        kinds = [_element(name) for name in data["atom_names"]]
        symbols = [kinds[kind] for kind in data["atom_types"]]
        cell = _cell_of_cp2k(text)
        atoms = Atoms(symbols, data["coords"][0], cell=cell, pbc=_periodic(text))
        _add(reading, atoms, data["energies"][0], data["forces"][0], _stress_of_cp2k(text))
    except Exception as error:  # dpdata raises whatever the output led to
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise MTPError(f"{path}: is no output that dpdata can read ({detail})") from None


def _trajectory_of_cp2k(path: Path, text: str) -> Iterator[tuple[float, Atoms]]:
    """Energy (Hartree) and geometry of each step that CP2K wrote beside its output."""
    project = re.search(r"GLOBAL\| Project name +(\S+)", text)
    file = path.with_name(f"{project[1] if project else 'PROJECT'}-pos-1.xyz")
    if not file.is_file():
        raise MTPError(f"{path}: the positions of its steps are in {file.name}; put it beside it")
    cells = _cells_of_cp2k(path, file.name.replace("-pos-1.xyz", "-1.cell"), text)
    lines = iter(_text(file).splitlines())
    while (first := next(lines, "").strip()).isdecimal():
        head = re.search(r"i = +(\d+),.*E = +(-?\d+\.\d+)", next(lines, ""))
        rows = [line.split() for line in islice(lines, int(first))]
        if head is None or len(rows) < int(first) or any(len(row) < 4 for row in rows):
            return  # killed while it wrote
        atoms = Atoms(
            [_element(row[0]) for row in rows],
            [[float(word) for word in row[1:4]] for row in rows],
            cell=cells.get(int(head[1]), cells.get(-1)),
            pbc=_periodic(text),
        )
        yield float(head[2]), atoms


def _cells_of_cp2k(path: Path, name: str, text: str) -> dict[int, np.ndarray]:
    """By step; by -1 the one of all. MTPError where cells change and nothing has them."""
    if (file := path.with_name(name)).is_file():
        rows = [row.split() for row in _text(file).splitlines() if not row.startswith("#")]
        numbers = [[float(word) for word in row] for row in rows if len(row) == COLUMNS_OF_CELL]
        return {int(row[0]): np.reshape(row[2:11], (3, 3)) for row in numbers}
    kind = re.search(r"GLOBAL\| Run type +(\S+)", text)
    ensemble = re.search(r"(?:MD_PAR\| Ensemble type|MD\| Ensemble Type) +(\S+)", text)
    fixed = kind and (kind[1] == "GEO_OPT" or (ensemble and ensemble[1] in FIXED_CELL))
    if not fixed:
        raise MTPError(
            f"{path}: the cells of its steps are in {name} (MOTION/PRINT/CELL); put it beside it,"
            " or write the steps to extended XYZ"
        )
    return {-1: _cell_of_cp2k(text)}


def _step_of_cp2k(text: str, geometries: deque[tuple[float, Atoms]], reading: Reading) -> None:
    """A step and its own geometry, which none of an earlier step's comes behind."""
    energy = float(text.partition("\n")[0].split()[-1])
    same = (n for n, (own, _) in enumerate(geometries) if abs(own - energy) < SAME_ENERGY)
    place = next(same, None)
    for _ in range(place or 0):
        geometries.popleft()
    match = None if place is None else geometries[0][1]
    rows = FORCES_OF_CP2K.findall(text.partition("SUM OF ATOMIC")[0].partition("FORCES| Sum")[0])
    if match is None:
        reading.left_out["without positions, as not every step's were written"] += 1
    elif len(rows) != len(match) or not match.cell.any():
        reading.left_out[CUT] += 1
    else:
        forces = np.array(rows, float) * Hartree / Bohr
        _add(reading, match, energy * Hartree, forces, _stress_of_cp2k(text))


def _element(kind: str) -> str:
    return re.sub("[^A-Za-z].*", "", str(kind)).capitalize()


def _cell_of_cp2k(text: str) -> np.ndarray:
    """(3, 3) Å: vectors are printed to 0.001, lengths and angles beside them to 1e-6."""
    lines = re.findall(r"CELL\| (?:Vector [abc]|Angle).*", text)[:6]
    vectors = np.array([line.split(":")[1].split()[:3] for line in lines[:3]], float)
    numbers = [float(line.split()[-1]) for line in lines]
    exact = cellpar_to_cell(numbers)
    if np.abs(exact - vectors).max() < ROUNDED:
        return exact
    left, _, right = np.linalg.svd(exact.T @ vectors)  # the turn that brings one to the other
    return exact @ left @ right


def _periodic(text: str) -> list[bool]:
    axes = re.findall(r"CELL\| Periodicity\s+([XYZ]+|NONE)", text)[-1]
    return [axis in axes for axis in "XYZ"]


def _stress_of_cp2k(text: str) -> np.ndarray | None:
    """(6,) eV/Å^3; CP2K's is positive under compression, and dpdata knows an older layout."""
    rows = STRESS_OF_CP2K.search(text)
    if rows is None:
        return None
    matrix = np.array([float(x) for row in rows.groups() for x in row.split()]).reshape(3, 3)
    return full_3x3_to_voigt_6_stress(-matrix * GPa)


def _text(path: Path) -> str:
    with text_of(path) as stream:
        return stream.read().replace("\r\n", "\n")


def _last(text: str, kind: str) -> Atoms | None:
    """The last step that ASE reads; None where what is missing keeps it from it."""
    from ase.io import read

    try:
        atoms = read(io.StringIO(text), format=kind)
        return atoms if np.shape(atoms.calc.results.get("forces")) == (len(atoms), 3) else None
    except Exception:  # ASE's readers raise whatever an output that is cut led to
        return None


def _add(
    reading: Reading,
    step: Atoms,
    energy: float,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
) -> None:
    """A frame of a step (Å) with eV, eV/Å, eV/Å^3; forces and stress, where not given, of ASE's."""
    results = {} if step.calc is None else step.calc.results
    atoms = Atoms(step.numbers, step.positions, cell=step.cell, pbc=step.pbc)
    moments = results.get("magmoms")
    if moments is not None and np.any(moments):
        atoms.set_array("initial_magmoms", np.asarray(moments, float))
    forces = results["forces"] if forces is None else forces
    stress = results.get("stress") if stress is None else stress
    if np.shape(stress) == (3, 3):
        stress = full_3x3_to_voigt_6_stress(stress)
    reading.add(atoms, energy, np.asarray(forces, float), stress if atoms.pbc.all() else None)


def _one_method(path: Path, reading: Reading, settings: dict[str, str]) -> None:
    """MTPError where a later run in one file has other settings."""
    odd = [k for k, value in settings.items() if reading.method.setdefault(k, value) != value]
    if odd:
        raise MTPError(
            f"{path}: holds runs that differ in {odd[0]} ({reading.method[odd[0]]} and"
            f" {settings[odd[0]]}); split it"
        )


def _some(reading: Reading, path: Path, what: str) -> Reading:
    reading.left_out += Counter()  # drops the zeros
    reading.unknown += Counter()
    if not reading.frames and not reading.left_out:
        raise MTPError(f"{path}: holds no {what}")
    return reading
