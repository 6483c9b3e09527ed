"""Whether labels that exist already are of one method, and of the campaign's reference.

What files tell of their settings is held against each other, against what was imported before, and
against `reference`: its options, what its functional stands for, the program's own defaults.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from atomistics.reference.catalog import NAMED, Recipe
from atomistics.reference.per_structure import ALIKE, COARSE, mesh_for, unlike_mesh
from campaign.config import Reference
from campaign.errors import UserError
from campaign.sources import Source
from mtp.reading.frames import Reading
from mtp.reading.programs import comparable, words_of_orca
from mtp.reading.vasp import setting

# VASP's where an INCAR is silent. ISPIN is each structure's own, ENCUT and GGA are the POTCARs'.
OFF = {"IVDW": "0", "LVDW": "F", "LUSE_VDW": "F", "LHFCALC": "F", "LDAU": "F", "METAGGA": "--"}
OFF |= {"LSORBIT": "F", "LASPH": "F", "LSOL": "F", "LDIPOL": "F", "IDIPOL": "0", "EFIELD": "0"}
DEFAULTS = {**OFF, "ISMEAR": 1, "SIGMA": 0.2, "AEXX": 0.25, "HFSCREEN": 0}
PSEUDO = ("xc", "pp", "setups", "pp_version")
PROGRAMS = {"VASP": "vasp", "Quantum ESPRESSO": "espresso", "ORCA": "orca", "CP2K": "cp2k"}
PROGRAMS |= {"GPAW": "gpaw"}
KPOINTS = ("kpoints", "k-point spacing")  # of `Reading.method`, which go by the cell
TETRAHEDRA = -4  # ISMEAR from here down has no use for SIGMA


def one_method(
    files: Mapping[Path, Reading], earlier: Iterable[Source], kpoints: bool = True
) -> None:
    """Refuse files that tell settings which differ.

    Parameters
    ----------
    files : the readings of what is imported now
    earlier : the records of what was imported before
    kpoints : whether their density counts, too

    Raises
    ------
    UserError
        Names the files, the settings and their values.
    """
    settings: dict[str, tuple[str, str]] = {}
    methods = [(one.name, one.method) for one in earlier]
    methods += [(str(path), reading.method) for path, reading in files.items()]
    for name, method in methods:
        odd = {
            k: settings[k]
            for k in sorted(method.keys() & settings.keys())
            if settings[k][0] != method[k] and k not in KPOINTS
        }
        if odd:
            differences = ", ".join(f"{k} {value} and {method[k]}" for k, (value, _) in odd.items())
            first = next(iter(odd.values()))[1]
            raise UserError(f"{first} and {name} differ in {differences}; import one method only")
        settings |= {key: (value, name) for key, value in method.items() if key not in settings}
    if kpoints:
        _one_density(methods)


def _one_density(methods: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """UserError where no one spacing of k-points asks for the meshes of all files."""
    said = [(name, method) for name, method in methods if KPOINTS[1] in method]
    between = [[float(word) for word in method[KPOINTS[1]].split(" to ")] for _, method in said]
    if not said:
        return
    coarse = max(range(len(said)), key=lambda k: between[k][0])
    fine = min(range(len(said)), key=lambda k: between[k][1])
    if between[coarse][0] > max(COARSE, ALIKE * between[fine][1]):
        one, other = (
            f"{said[k][0]} has {said[k][1][KPOINTS[0]]} k-points for {between[k][end]:.2f} 1/Å"
            for k, end in ((coarse, 0), (fine, 1))
        )
        raise UserError(
            f"{one}, {other} at most: labels of different quality; import files of one density, or"
            " say --same-method where both are converged"
        )


def unlike(files: Mapping[Path, Reading], reference: Reference) -> str:
    """What keeps the method of the files from being the reference's.

    Parameters
    ----------
    files : readings with what each file tells of its settings
    reference : of the campaign

    Returns
    -------
    the first difference in words, empty where there is none
    """
    for path, reading in files.items():
        program = reading.method.get("program", "")
        if not program:
            return (
                f"{path.name} does not say by which method its labels are (reference is "
                f"{reference.method})"
            )
        method = reference.method
        if method == "ase":
            method = str(reference.calculator).rpartition(":")[2].lower()
        if PROGRAMS.get(program) != method:
            return f"{path.name} is of {program}, the campaign's reference is {method}"
        if program not in OWN:
            return f"the settings of {program} are not compared ({path.name})"
        difference = _different(reading.method, OWN[program](reference.options, reading.method))
        if difference := difference or _other_mesh(reading, reference):
            return f"{path.name}: {difference}"
    return ""


def _other_mesh(reading: Reading, reference: Reference) -> str:
    """The file's k-mesh beside the reference's of the same cell, where they differ in quality."""
    if KPOINTS[0] not in reading.method or not reading.frames:
        return ""
    named = reference.method in NAMED
    calculator = NAMED[reference.method].calculator if named else str(reference.calculator)
    atoms = reading.frames[0]
    own = mesh_for(Recipe(calculator, options=reference.options), atoms)
    one, two, three = map(int, reading.method[KPOINTS[0]].split(" x "))
    if own is None or not unlike_mesh(atoms, own, (one, two, three)):
        return ""
    shown = " x ".join(map(str, own))
    return f"k-points are {reading.method[KPOINTS[0]]}, by reference.options {shown} in this cell"


def untold(files: Mapping[Path, Reading]) -> list[str]:
    """Names of files of periodic cells that do not say which k-mesh they have.

    Parameters
    ----------
    files : readings with what each file tells of its settings

    Returns
    -------
    without their folders
    """
    return [
        path.name
        for path, reading in files.items()
        if KPOINTS[0] not in reading.method and any(a.pbc.any() for a in reading.frames)
    ]


def _different(method: Mapping[str, str], own: Mapping[str, str]) -> str:
    off = OFF if method["program"] == "VASP" else {}
    for key, value in {**off, **method}.items():
        expected = own.get(key, "0" if key.startswith("U ") else None)
        is_said = (key, value) != ("GGA", "--")  # of POTCARs that the file does not name
        counts = key != "SIGMA" or float(own["ISMEAR"]) > TETRAHEDRA
        named = key.startswith("POTCAR ") and expected in value.split()
        if is_said and counts and not named and expected not in (None, value):
            return f"{key} is {value}, by reference.options {expected}"
    return ""


def _espresso(options: Mapping[str, Any], _method: Mapping[str, str]) -> dict[str, str]:
    """What ASE writes into an input of pw.x, as `Reading.method` has it."""
    data = options.get("input_data") or {}
    namelists = [value for value in data.values() if isinstance(value, Mapping)]
    given: dict[str, Any] = {k: v for part in (data, *namelists) for k, v in part.items()}
    smeared = str(given.get("occupations", "")).lower() == "smearing"
    cutoff = given.get("ecutwfc")
    dispersion = str(given.get("vdw_corr", "none")).lower() not in ("none", "")
    files: Mapping[str, str] = options.get("pseudopotentials") or {}
    own = {
        "ecutwfc": cutoff,
        "ecutrho": given.get("ecutrho", cutoff and 4 * cutoff),
        "smearing": given.get("smearing", "gaussian") if smeared else "f",
        "degauss": given.get("degauss", 0) if smeared else "f",
        "input_dft": given.get("input_dft", "f"),
        "dispersion": "t" if dispersion else "f",
        "hubbard": "t" if given.get("lda_plus_u") or "hubbard" in options else "f",
        "field": "t" if given.get("tefield") or given.get("lelfield") else "f",
    }
    own |= {f"pseudopotential {element}": Path(file).name for element, file in files.items()}
    said = {key: comparable(value) for key, value in own.items() if value is not None}
    return said | {k: v for k, v in own.items() if k.startswith("pseudopotential ")}


def _gpaw(options: Mapping[str, Any], method: Mapping[str, str]) -> dict[str, str]:
    """What GPAW prints of these options; of plane waves, the only ones that have a stress."""
    mode, setups = options.get("mode") or {}, options.get("setups") or {}
    occupations: Mapping[str, Any] = options.get("occupations") or {}
    by_element = setups.values() if isinstance(setups, Mapping) else [setups]
    periodic = KPOINTS[0] in method
    own = {
        "xc": options.get("xc", "LDA"),
        "ecut": mode.get("ecut", 340) if isinstance(mode, Mapping) else "f",
        "smearing": occupations.get("name", "fermi-dirac" if periodic else "f"),
        "width": occupations.get("width", 0.1 if periodic else "f"),
        "hubbard": "t" if any(":" in str(setup) for setup in by_element) else "f",
    }
    return {key: comparable(value) for key, value in own.items()}


def _orca(options: Mapping[str, Any], _method: Mapping[str, str]) -> dict[str, str]:
    return {"orcasimpleinput": words_of_orca(str(options.get("orcasimpleinput", "")))}


def _vasp_with_potcars(options: Mapping[str, Any], method: Mapping[str, str]) -> dict[str, str]:
    elements = [key.split()[1] for key in method if key.startswith("POTCAR ")]
    return _vasp(options) | _potcars(options, elements)


def _vasp(options: Mapping[str, Any]) -> dict[str, str]:
    """What ASE's VASP calculator writes into an INCAR, as `Reading.method` has it."""
    from ase.calculators.vasp.create_input import GenerateVaspInput

    functional = GenerateVaspInput.xc_defaults.get(str(options.get("xc", "")).lower(), {})
    table: Mapping[str, Mapping[str, Any]] = options.get("ldau_luj") or {}
    given = DEFAULTS | {"LDAU": bool(table)}
    given |= {key.upper(): value for key, value in {**functional, **options}.items()}
    given |= {f"U {e}": (one["U"] - one["J"]) * (one["L"] >= 0) for e, one in table.items()}
    return {key: setting(value) for key, value in given.items()}


def _potcars(options: Mapping[str, Any], elements: Iterable[str]) -> dict[str, str]:
    """By element the title of the POTCAR that ASE takes, its name alone where the files are not."""
    from ase import Atoms
    from ase.calculators.vasp.create_input import GenerateVaspInput, get_pp_setup, open_potcar

    try:
        suffixes, _ = get_pp_setup(options.get("setups"))
    except (KeyError, TypeError, ValueError):  # `planner init` says what is wrong with them
        return {}
    expected = {}
    for element in elements:
        title = element + str(suffixes.get(element, ""))
        with suppress(RuntimeError, ValueError, OSError):  # no such folder or file here
            writer = GenerateVaspInput()
            writer.set(**{name: options[name] for name in PSEUDO if name in options})
            writer.initialize(Atoms(element))
            with open_potcar(writer.ppp_list[0]) as file:
                line = next(iter(file), title)
            title = " ".join((line if isinstance(line, str) else line.decode("latin-1")).split())
        expected[f"POTCAR {element}"] = title
    return expected


OWN = {"VASP": _vasp_with_potcars, "Quantum ESPRESSO": _espresso, "ORCA": _orca, "GPAW": _gpaw}
