"""Which key of a file is which label: the names in use, one functional, one unit each.

A name is a word (energy, free_energy, forces, stress, virial), alone or marked as the reference's
(`REF_energy`, `dft_virial`), perhaps with its unit (`stress_GPa`). Anything else that looks like a
label is not guessed: it is counted where the label is there, and refused where it is missing.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from mtp.errors import MTPError
from mtp.reading.frames import UNCONVERGED, Reading, ReadOptions
from mtp.reading.units import OWN, factor, required

MARKS = ("ref", "reference", "dft", "qm", "vasp")
WORDS = {"energy": "energy", "free_energy": "free_energy", "force": "forces", "forces": "forces"}
WORDS |= {"stress": "stress", "stresses": "stress", "virial": "virial", "virials": "virial"}
FREE = ("energy_free", "force_consistent_energy", "energy_force_consistent", "e_fr_energy", "toten")
WORDS |= dict.fromkeys(FREE, "free_energy")
UNIT_OF = {"pos": "length", "position": "length", "positions": "length", "lattice": "length"}
UNIT_OF |= {"cell": "length", "coord": "length", "coords": "length", "distance": "length"}
UNIT_OF |= {"length": "length"} | {
    k: "energy" if k == "free_energy" else v for k, v in WORDS.items()
}
LIKE = {
    "energy": r"energ|toten|e_?tot|^e$|^e_?dft$|^e_?0$|enthalpy|e_?pot|pot_?e|^pe$|^[uy]$",
    "forces": r"forc|^f$|^frc$|gradient|^grad$",
    "stress": r"stress|viri|pressure|^press$",
}
NOT_LABELS = r"weight"
PER_ATOM = ("energies", "stresses")  # as columns these are of each atom
OF_EACH = "{} of each atom"
HELD = "with forces of 0 where constraints hold an atom"
BY_ATOM = r"(?i)(per|/)[-_ ]?at(om)?s?($|[^a-z])"
EACH = "/atom"  # behind the unit of an energy
MOMENTS = rf"(?i)(({'|'.join(MARKS)})_)?(initial_)?(magmoms?|magnetic_moments?)"
STOPPED = r"(un|not|non)[-_ ]?converged"
CONVERGENCE = r"converged([-_ ](scf|elec\w*))?$|^((scf|elec\w*)[-_ ]?)?convergence$"
TRUE, FALSE = {"true", "t", "1", "yes", "1.0"}, {"false", "f", "0", "no", "0.0"}
UNIT = r"(?i)(.*?)[-_ ]?units?$"
HIGH = 1.0  # eV/Å^3, 160 GPa: beyond it a stress is likelier in another unit
TYPICAL = 0.1  # eV/Å^3, 16 GPa: so is one that half of the frames are beyond
FLAT = 1e-3  # Å^3
CELLS = ("cell", "box", "unit_cell", "cell_vectors", "lattice_vectors", "abc")
VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


@dataclass(frozen=True)
class FileLabel:
    """A label as a file holds it: its key, what it is, whose, the unit in its name."""

    key: str
    what: str
    mark: str
    unit: str | None
    value: Any


def looks_like(key: str) -> str | None:
    """Which label a key resembles (energy, forces, stress); None where it resembles none."""
    word = key.lower()
    if re.search(NOT_LABELS, word):
        return None
    return next((what for what, pattern in LIKE.items() if re.search(pattern, word)), None)


def is_label(key: str, options: ReadOptions) -> bool:
    """Whether a key names a label, resembles one, or is said to be one."""
    return bool(named(key, 0) or looks_like(key) or key in options.keys.values())


def named(key: str, value: Any) -> FileLabel | None:
    """The label that a key names beyond doubt, else None."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", key)  # freeEnergy
    rest = [part for part in re.split(r"[_\-\s.\[\]()]+", words) if part]
    mark = ""
    for end in (0, -1):
        if len(rest) > 1 and rest[end].lower() in MARKS:
            mark = rest.pop(end).lower()
            break
    for length in (3, 2, 1):
        what = WORDS.get("_".join(rest[:length]).lower())
        if what is not None:
            unit = "_".join(rest[length:]) or None
            quantity = "energy" if what == "free_energy" else what
            if unit is None or factor(quantity, unit) is not None:
                return FileLabel(key, what, mark, unit, value)
    return None


def units_of(info: Mapping[str, Any], options: ReadOptions, where: str) -> dict[str, str]:
    """Units that the keys of a frame (`stress-unit=GPa`) or the user state, by quantity."""
    stated: dict[str, str] = {}
    for key, value in info.items():
        match = re.fullmatch(UNIT, key)
        if not match:
            continue
        words = [w for w in re.split(r"[_\-\s]+", match[1].lower()) if w and w not in MARKS]
        quantity = UNIT_OF.get("_".join(words))
        if quantity is None and not (set(options.units) >= {"energy", "forces"}):
            if str(value).lower() in {"metal", "ev", "ev/ang", "ev/angstrom", "ase"}:
                continue
            raise MTPError(
                f"{where}: {key}={value!s:.40} does not say what it is the unit of; give "
                "--units=energy=eV,length=A,forces=eV/A,stress=eV/A^3 as they are"
            )
        if quantity is not None and stated.setdefault(quantity, str(value)) != str(value):
            raise MTPError(
                f"{where}: {quantity} is in {stated[quantity]} and by {key} in {value!s:.40}; say "
                f"--units={quantity}=UNIT"
            )
    return stated | {k: v for k, v in options.units.items() if k != "lammps"}


def interpret(
    atoms: Atoms, values: Mapping[str, Any], options: ReadOptions, where: str, reading: Reading
) -> None:
    """Add a frame with the labels among the values that its file gives.

    Parameters
    ----------
    atoms : N atoms in the file's unit of length
    values : key -> value as in the file, in the file's units
    options : what the user has said of keys, units and order
    where : file and frame, for errors
    reading : takes the frame in Å, eV, eV/Å, eV/Å^3

    Raises
    ------
    MTPError
        Names the key and the flag that settles it: two labels contradict each other, a unit is not
        known or follows from nothing, a shape is none, or a key looks like a label that the frame
        lacks.
    """
    units = units_of(values | atoms.info, options, where)
    _whole(atoms, where)
    if not options.nonconverged and stopped(values):
        reading.left_out[UNCONVERGED] += 1
        return
    length = required("length", units.get("length", "A"), where)
    bare = Atoms(atoms.numbers, atoms.positions * length, cell=atoms.cell * length, pbc=atoms.pbc)
    _keep(atoms, bare)
    labels = [f for key, value in values.items() if (f := named(key, value))]
    in_names = {f.what.removeprefix("free_"): f.unit for f in labels if f.unit}
    units = {k: v for k, v in in_names.items() if k not in units and k in OWN} | units
    of_each = units.get("energy", "").lower().endswith(EACH)
    key = options.keys.get("energy", "")
    if key in values and re.search(BY_ATOM, key) and "energy" not in units:
        raise MTPError(
            f"{where}: {key} is an energy of each atom by its name; say --units=energy=eV/atom, or"
            " --units=energy=eV where it is not"
        )
    units = {k: re.sub(f"(?i){EACH}$", "", v) if k == "energy" else v for k, v in units.items()}
    energy = _scaled(_energy(labels, values, options, where), units, where)
    energy = energy if energy is None or not of_each else energy * len(bare)
    forces = _scaled(_one(labels, "forces", values, options, where), units, where)
    stress = _stress(labels, values, options, units, where, bare, reading)
    if forces is not None and np.shape(forces) != (len(bare), 3):
        raise MTPError(f"{where}: forces of shape {np.shape(forces)} for {len(bare)} atoms")
    if forces is not None and held_still(bare, forces):
        reading.left_out[HELD] += 1
        return
    used = {"energy": energy, "forces": forces, "stress": stress}
    _account(values, {f.key for f in labels}, used, options, where, reading)
    reading.add(bare, None if energy is None else float(energy), forces, stress)


def _whole(atoms: Atoms, where: str) -> None:
    """MTPError for a cell under another name, a flat one, and sites that are not full."""
    if (key := next((k for k in atoms.info if k.lower() in CELLS), None)) and not atoms.cell.any():
        raise MTPError(f'{where}: no Lattice, but {key}; write it as Lattice="ax ay az bx ..." (Å)')
    require_volume(atoms, where)
    require_full_sites(atoms, where)


def require_full_sites(atoms: Atoms, where: object) -> None:
    """Refuse a key or column of occupancies that is not 1 at every site.

    Parameters
    ----------
    atoms : N atoms, Å
    where : file and frame, for the error

    Raises
    ------
    MTPError
        A site is shared or partly occupied.
    """
    for name, column in {**atoms.info, **atoms.arrays}.items():
        if "occupan" in name.lower() and not _full(column):
            raise MTPError(f"{where}: {name} is not 1 at every site; write an ordered cell")


def require_volume(atoms: Atoms, where: str) -> None:
    """Refuse a cell that is periodic in three directions and flat.

    Parameters
    ----------
    atoms : N atoms, Å
    where : file and frame, for the error

    Raises
    ------
    MTPError
        Its volume is below 0.001 Å^3.
    """
    if atoms.pbc.all() and abs(np.linalg.det(atoms.cell.array)) < FLAT:
        raise MTPError(f"{where}: periodic in three directions in a cell without volume; mend it")


def _full(column: Any) -> bool:
    try:
        return bool((np.asarray(column, float) == 1).all())
    except (TypeError, ValueError):  # ASE's dictionary of shared sites
        return False


def stopped(values: Mapping[str, Any]) -> bool:
    """Whether a frame says of itself that its electronic loop did not converge.

    Parameters
    ----------
    values : keys of the frame, such as converged=F, scf_converged=0, and MLIP's EFS_by

    Returns
    -------
    whether one of them says so
    """
    if str(values.get("EFS_by")).endswith("not_converged"):  # MLIP's readers of OUTCARs
        return True
    words = {k.lower(): str(v).lower() for k, v in values.items() if np.ndim(v) == 0}
    if any(re.fullmatch(STOPPED, word) for word in words.values()):  # status=unconverged
        return True
    said = {k: v for k, v in words.items() if re.search(CONVERGENCE, k) and v in TRUE | FALSE}
    return any((v in FALSE) is not bool(re.search("un|not", k)) for k, v in said.items())


def held_still(atoms: Atoms, forces: np.ndarray) -> bool:
    """Whether forces are those that constraints left over: 0 where an atom may not move.

    Parameters
    ----------
    atoms : N atoms with constraints
    forces : (N, 3), any unit

    Returns
    -------
    whether a constraint of fixed atoms or directions would change none of them, though others push
    """
    if not atoms.constraints:
        return False
    # brings ASE's space groups and most of SciPy, half a second of every job that knows this module
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    left = np.array(forces, float)
    for constraint in atoms.constraints:
        if isinstance(constraint, (FixAtoms, FixCartesian, FixScaled)):
            free = left.copy()
            constraint.adjust_forces(atoms, free)
            if np.array_equal(free, left) and left.any():
                return True
    return False


def check_stresses(reading: Reading, where: object) -> None:
    """MTPError where stresses whose unit nothing says are, in most frames, those of no solid."""
    if reading.unsaid and (middle := float(np.median(reading.unsaid))) > TYPICAL:
        raise MTPError(
            f"{where}: half of the stresses are beyond {middle / 0.0062415:.0f} GPa if they are in "
            "eV/Å^3 (virials in eV); say their unit with --units=stress=UNIT or virial=UNIT"
        )


def _keep(atoms: Atoms, bare: Atoms) -> None:
    """Info, constraints and all columns that are no labels go on with the frame.

    Moments that a calculation found are the start of the next one.
    """
    other = {k: v for k, v in atoms.info.items() if not named(k, v) and not looks_like(k)}
    bare.info = {k: v for k, v in other.items() if not re.search(UNIT, k)}
    bare.set_constraint(atoms.constraints)
    for name, column in atoms.arrays.items():
        plain = not (named(name, 0) or looks_like(name))
        if name not in bare.arrays and (plain or name == "energies"):
            bare.set_array(name, column)
    names = [name for name in bare.arrays if re.fullmatch(MOMENTS, name)]
    if len(names) == 1 and bare.arrays[names[0]].dtype.kind in "if":
        bare.set_array("initial_magmoms", np.asarray(bare.arrays.pop(names[0]), float))


def _account(
    values: Mapping[str, Any],
    named_keys: set[str],
    used: Mapping[str, Any],
    options: ReadOptions,
    where: str,
    reading: Reading,
) -> None:
    for key in values:
        what = looks_like(key)
        if key == OF_EACH.format("energies") and used["energy"] is not None:
            continue  # stays as a column
        if (
            key in named_keys
            or what is None
            or key in options.keys.values()
            or "unit" in key.lower()
        ):
            continue
        flag = f"{'virial' if 'viri' in key.lower() else what}={key}"
        settled = what in options.keys or (what == "stress" and "virial" in options.keys)
        if used[what] is None and not settled:
            it_is = (
                ""
                if key.endswith(OF_EACH[2:])
                else f"--keys={flag} that it is the {what}, or with "
            )
            if what == "energy" and re.search(BY_ATOM, key):
                it_is = f"--keys={flag} --units=energy=eV/atom that it is, of each atom, or with "
            raise MTPError(
                f"{where}: no {what} is understood, but there is {key!r}; say with {it_is}"
                f"--keys={what}=none that there is none"
            )
        reading.unknown[key] += 1


def _energy(
    labels: list[FileLabel], values: Mapping[str, Any], options: ReadOptions, where: str
) -> FileLabel | None:
    """The free energy where the file has one beside the energy: the forces are its derivative."""
    if "energy" not in options.keys:
        marks = {f.mark for f in labels if f.what == "free_energy"}
        free = [f for f in labels if f.what == "free_energy"]
        plain = [f for f in labels if f.what == "energy" and f.mark not in marks]
        labels = [FileLabel(f.key, "energy", f.mark, f.unit, f.value) for f in free] + plain
    return _one(labels, "energy", values, options, where)


def _one(
    labels: list[FileLabel], what: str, values: Mapping[str, Any], options: ReadOptions, where: str
) -> FileLabel | None:
    if (key := options.keys.get(what)) is not None:
        return FileLabel(key, what, "", None, values[key]) if key in values else None
    same = [f for f in labels if f.what == what]
    for other in same[1:]:
        one, two = _numbers(same[0], where), _numbers(other, where)
        if one.size != two.size or not np.allclose(one.ravel(), two.ravel(), 1e-6, 1e-8):
            raise MTPError(
                f"{where}: {same[0].key} and {other.key} hold different {what}; say which counts "
                f"with --keys={what}={same[0].key}"
            )
    return same[0] if same else None


def _numbers(label: FileLabel, where: str) -> np.ndarray:
    with suppress(TypeError, ValueError):
        if np.asarray(label.value).dtype != bool:  # T would be 1
            return np.asarray(label.value, float)
    shown = " ".join(str(label.value).split())
    raise MTPError(f"{where}: {label.key}={shown:.40} is no number")


def _scaled(label: FileLabel | None, units: Mapping[str, str], where: str) -> Any:
    """The label in eV, eV/Å: by the unit in its name, stated for it, or this package's own.

    A file that states another unit for energy, forces or lengths says nothing of the rest.
    """
    if label is None:
        return None
    name = label.unit or units.get(label.what)
    if name is None:
        rest = {"energy": ("forces",), "virial": ("energy",)}.get(label.what, ("energy", "length"))
        odd = [q for q in rest if q in units and factor(q, units[q]) != 1.0]
        if odd:
            raise MTPError(
                f"{where}: {odd[0]} is in {units[odd[0]]}, but the unit of {label.key} is not "
                f"said; give it with --units={label.what}=UNIT"
            )
        name = OWN[label.what]
    value = _numbers(label, where)
    if label.what == "energy" and value.size != 1:
        raise MTPError(f"{where}: {label.key} holds {value.size} numbers, not one energy")
    scaled = value * required(label.what, name, where)
    return scaled.reshape(()) if label.what == "energy" else scaled


def _stress(
    labels: list[FileLabel],
    values: Mapping[str, Any],
    options: ReadOptions,
    units: Mapping[str, str],
    where: str,
    atoms: Atoms,
    reading: Reading,
) -> np.ndarray | None:
    """(6,) eV/Å^3, ASE's Voigt order and sign (positive pulls); virial = -volume * stress, eV."""
    if not atoms.pbc.all():
        for label in (_one(labels, what, values, options, where) for what in ("stress", "virial")):
            if label is not None:
                reading.unknown[
                    f"{label.key} of a cell that is not periodic in all directions"
                ] += 1
        return None
    both = {}
    for what in ("stress", "virial"):
        label = _one(labels, what, values, options, where)
        if label is not None and not (options.keys.get(_other(what)) not in {None, "none"}):
            scale = 1.0 if what == "stress" else -1.0 / atoms.get_volume()
            both[what] = scale * _six(_scaled(label, units, where), what, options, where, label.key)
    if len(both) == 2 and not np.allclose(both["stress"], both["virial"], 1e-2, 1e-4):
        raise MTPError(
            f"{where}: stress and virial contradict each other (virial is -volume * stress); say "
            "which counts with --keys=stress=none or --keys=virial=none"
        )
    stress = both.get("stress", both.get("virial"))
    what = "stress" if "stress" in both else "virial"
    unsaid = stress is not None and what not in units
    if unsaid:
        reading.unsaid.append(float(np.abs(stress).max()))
    if unsaid and np.abs(stress).max() > HIGH:
        raise MTPError(
            f"{where}: a {what} of {np.abs(stress).max() / 0.0062415:.0f} GPa if it is in "
            f"{OWN[what]}; say its unit with --units={what}=UNIT"
        )
    return stress


def _other(what: str) -> str:
    return "virial" if what == "stress" else "stress"


def _six(value: np.ndarray, what: str, options: ReadOptions, where: str, key: str) -> np.ndarray:
    if value.size == 9:
        matrix = value.reshape(3, 3)
        if np.abs(matrix - matrix.T).max() > 0.02 * max(np.abs(matrix).max(), 1e-3):
            raise MTPError(f"{where}: {key} is not symmetric; its nine numbers are no {what}")
        return full_3x3_to_voigt_6_stress(matrix)
    if value.size != 6:
        raise MTPError(f"{where}: {key} holds {value.size} numbers; a {what} has six or nine")
    order = options.voigt or (VOIGT if what == "stress" or not value.ravel()[3:].any() else ())
    if not order:
        raise MTPError(
            f"{where}: the order of the six numbers of {key} is not agreed; give it with "
            "--voigt=xx,yy,zz,yz,xz,xy or as it is"
        )
    return value.ravel()[[order.index(component) for component in VOIGT]]
