"""Potential files (`.mtp`, `.almtp`): MTP format 1.1.0 of MLIP-3, read strictly, written whole."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtp.atomic import atomic_open
from mtp.basis import Basis
from mtp.errors import MTPError
from mtp.potential import Potential
from mtp.potential_files import core_file
from mtp.repulsion import core_beside
from mtp.selection.active_set import parse_active_set

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = b"#MVS_v1.1"
LARGEST_PARAMETER_COUNT = 10_000_000
LARGEST_DEGREE = 60
ALIASES = {"min": "min_dist", "max": "max_dist", "size": "radial_basis_size"}
TEXTS = ("version", "potential_name", "potential_tag", "radial_basis_type")
NUMBERS = ("scaling", "min_dist", "max_dist")
COUNTS = (
    "species_count",
    "radial_basis_size",
    "radial_funcs_count",
    "alpha_moments_count",
    "alpha_index_basic_count",
    "alpha_index_times_count",
    "alpha_scalar_moments",
)
LISTS = ("alpha_index_basic", "alpha_index_times", "alpha_moment_mapping")
COEFFICIENTS = ("species_coeffs", "moment_coeffs")
OPTIONAL = ("version", "potential_name", "potential_tag", "scaling", *COEFFICIENTS)


def read_potential(path: str | Path) -> Potential:
    """Read a `.mtp` or `.almtp` file, untrained templates of MLIP included.

    Parameters
    ----------
    path : the file; lengths in Å, energies in eV

    Returns
    -------
    the potential, with the active set that an `.almtp` carries and the core beside it

    Raises
    ------
    MTPError
        In one line with the file, on anything malformed, cut off or not finite, or a core that is
        left out.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MTPError(f"{path}: cannot read the potential: {error.strerror}") from error
    text, mark, section = data.partition(SECTION)
    try:
        potential = Potential(**_parse(text.decode("utf-8")))
        if mark:
            active = parse_active_set(section, potential.parameter_count)
            potential = replace(potential, active_set=active)
    except (MTPError, UnicodeDecodeError) as error:
        raise MTPError(f"{path}: {error}") from error
    core = core_beside(path, potential.potential_tag, potential.species_count)
    return replace(potential, core=core, potential_tag="") if core else potential


def write_potential(path: str | Path, potential: Potential) -> None:
    """Write atomically; every number is written so that reading gives the same double.

    Parameters
    ----------
    path : the file; with an active set an `.almtp`; a core goes to `PATH.core`
    potential : lengths in Å, energies in eV

    Raises
    ------
    MTPError
        The file cannot be written.
    """
    content = "\n".join(_lines(potential)).encode() + b"\n"
    if potential.active_set is not None:
        content += SECTION + b"\n" + potential.active_set.to_bytes()
    if potential.core is not None:
        with atomic_open(core_file(path)) as file:
            file.write(potential.core.text())
    with atomic_open(path, "wb") as file:
        file.write(content)
    if potential.core is None:
        core_file(path).unlink(missing_ok=True)


def _fields(text: str) -> dict[str, str | list]:
    """Split the text into key -> value; radial_coeffs becomes the list of its lines."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "MTP":
        raise MTPError("line 1: not a potential, expected 'MTP'")
    keys = {*TEXTS, *NUMBERS, *COUNTS, *LISTS, *COEFFICIENTS}
    fields: dict[str, str | list] = {}
    radial: list[str] | None = None
    for number, line in enumerate(map(str.strip, lines[1:]), start=2):
        key, equals, value = (part.strip() for part in line.partition("="))
        key = ALIASES.get(key, key)
        if not line:
            continue
        if line == "radial_coeffs" and "radial_coeffs" not in fields:
            fields["radial_coeffs"] = radial = []
        elif radial is not None and not equals:
            radial.append(line)
        elif not equals or key not in keys:
            raise MTPError(f"line {number}: unknown entry {line[:40]!r}; expected 'key = value'")
        elif key in fields:
            raise MTPError(f"line {number}: {key} given twice; keep one")
        else:
            fields[key], radial = value, None
    return fields


def _parse(text: str) -> dict[str, Any]:
    """Arguments of `Potential` from the text of a file, checked so that the kernel can trust."""
    fields = _fields(text)
    missing = [
        key
        for key in (*TEXTS, *NUMBERS, *COUNTS, *LISTS)
        if key not in fields and key not in OPTIONAL
    ]
    if missing:
        raise MTPError(f"{missing[0]} is missing (truncated file?)")
    number = {key: _scalar(fields[key], key, float) for key in NUMBERS if key in fields}
    count = {key: _scalar(fields[key], key, int) for key in COUNTS}
    _check_scalars(number, count, str(fields["radial_basis_type"]))
    basis = Basis(
        alpha_moments_count=count["alpha_moments_count"],
        alpha_index_basic=_list(fields, "alpha_index_basic", int).reshape(-1, 4),
        alpha_index_times=_list(fields, "alpha_index_times", int).reshape(-1, 4),
        alpha_moment_mapping=_list(fields, "alpha_moment_mapping", int),
        radial_funcs_count=count["radial_funcs_count"],
    )
    _check_basis(basis, count)
    arguments = {
        "species_count": count["species_count"],
        "min_dist": number["min_dist"],
        "max_dist": number["max_dist"],
        "radial_basis_size": count["radial_basis_size"],
        "basis": basis,
        "scaling": number.get("scaling", 1.0),
        "version": str(fields.get("version", "1.1.0")),
        "name": str(fields.get("potential_name", "")),
        "potential_tag": str(fields.get("potential_tag", "")),
        "radial_basis_type": str(fields["radial_basis_type"]),
    }
    shape = (
        *(count["species_count"],) * 2,
        count["radial_funcs_count"],
        count["radial_basis_size"],
    )
    return arguments | _coefficients(fields, shape, len(basis.alpha_moment_mapping))


def _coefficients(
    fields: dict[str, str | list], shape: tuple[int, int, int, int], scalars: int
) -> dict[str, np.ndarray]:
    given = [key for key in ("radial_coeffs", *COEFFICIENTS) if key in fields]
    if not given:
        return {}
    if len(given) < 3:
        raise MTPError(f"{given[0]} without the other coefficients (truncated file?)")
    radial = _radial_coefficients(fields["radial_coeffs"], shape)
    parts = [radial, *(_list(fields, key, float) for key in COEFFICIENTS)]
    expected = (radial.size, shape[0], scalars)
    for key, part, size in zip(given, parts, expected, strict=True):
        if part.size != size:
            raise MTPError(f"{key} has {part.size} values, expected {size}")
        if not np.isfinite(part).all():
            raise MTPError(f"{key} holds {part[~np.isfinite(part)][0]}; retrain the potential")
    return dict(zip(given, parts, strict=True))


def _radial_coefficients(lines: list[str], shape: tuple[int, int, int, int]) -> np.ndarray:
    species, _, functions, size = shape
    pairs = [line for line in lines if not line.startswith("{")]
    expected = [f"{i}-{j}" for i in range(species) for j in range(species)]
    if pairs != expected:
        raise MTPError(f"radial_coeffs blocks are not 0-0 to {expected[-1]} in order")
    rows = [_numbers(line, "radial_coeffs", float) for line in lines if line.startswith("{")]
    if len(rows) != len(pairs) * functions or any(len(row) != size for row in rows):
        raise MTPError(f"radial_coeffs is not {len(pairs)} blocks of {functions} rows of {size}")
    return np.array(rows).reshape(shape)


def _check_scalars(number: dict[str, float], count: dict[str, int], kind: str) -> None:
    if kind != "RBChebyshev":
        raise MTPError(f"radial_basis_type is {kind[:40]!r}, only RBChebyshev is known")
    if any(not np.isfinite(value) for value in number.values()):
        raise MTPError("scaling, min_dist and max_dist must be finite")
    if not 0 <= number["min_dist"] < number["max_dist"] or number["max_dist"] > 100:
        raise MTPError(f"need 0 <= min_dist < max_dist <= 100 Å, got {number}")
    lowest = {"alpha_index_times_count": 0}
    for key, value in count.items():
        if not lowest.get(key, 1) <= value <= LARGEST_PARAMETER_COUNT:
            raise MTPError(f"{key} = {value} is out of range")
    radial = count["species_count"] ** 2 * count["radial_funcs_count"] * count["radial_basis_size"]
    if radial > LARGEST_PARAMETER_COUNT:
        raise MTPError(f"{radial} radial coefficients are more than {LARGEST_PARAMETER_COUNT}")


def _check_basis(basis: Basis, count: dict[str, int]) -> None:
    times, basic, mapping = (
        basis.alpha_index_times,
        basis.alpha_index_basic,
        basis.alpha_moment_mapping,
    )
    sizes = {
        "alpha_index_basic_count": len(basic),
        "alpha_index_times_count": len(times),
        "alpha_scalar_moments": len(mapping),
    }
    for key, size in sizes.items():
        if count[key] != size:
            raise MTPError(f"{key} = {count[key]} but the list has {size} entries")
    moments = basis.alpha_moments_count
    if not len(basic) <= moments <= len(basic) + len(times):
        raise MTPError(f"alpha_moments_count = {moments} does not fit the lists")
    if (basic < 0).any() or (basic[:, 0] >= basis.radial_funcs_count).any():
        raise MTPError("alpha_index_basic holds an index out of range")
    if (basic[:, 1:].sum(axis=1) > LARGEST_DEGREE).any():
        raise MTPError(f"alpha_index_basic holds a degree above {LARGEST_DEGREE}")
    if (mapping < 0).any() or (mapping >= moments).any():
        raise MTPError("alpha_moment_mapping holds an index out of range")
    _check_products(times, len(basic), moments)


def _check_products(times: np.ndarray, basic_count: int, moments: int) -> None:
    """Each product must use moments that are complete by then, else the graph has no meaning."""
    if not len(times):
        return
    operands, targets = times[:, :2], times[:, 3]
    if (operands < 0).any() or (targets < basic_count).any() or (targets >= moments).any():
        raise MTPError("alpha_index_times holds an index out of range")
    last = np.full(moments, -1)
    last[targets] = np.arange(len(targets))
    late = operands >= moments
    late |= last[np.minimum(operands, moments - 1)] >= np.arange(len(times))[:, None]
    if late.any():
        raise MTPError("alpha_index_times uses a moment before it is complete")


def _scalar(text: str | list, key: str, kind: type) -> float | int:
    try:
        return kind(text)
    except (ValueError, OverflowError) as error:
        raise MTPError(f"{key} = {str(text)[:40]!r} is not a number") from error


def _numbers(text: str, key: str, kind: type) -> list:
    if not (text.startswith("{") and text.endswith("}")):
        raise MTPError(f"{key} does not end with '}}' (truncated file?)")
    return [_scalar(token, key, kind) for token in re.sub(r"[{},]", " ", text).split()]


def _list(fields: dict[str, str | list], key: str, kind: type) -> np.ndarray:
    values = _numbers(str(fields[key]), key, kind)
    if key in ("alpha_index_basic", "alpha_index_times") and len(values) % 4:
        raise MTPError(f"{key} is not a list of groups of four")
    if kind is int and any(abs(value) > LARGEST_PARAMETER_COUNT for value in values):
        raise MTPError(f"{key} holds an index out of range")
    return np.array(values, float if kind is float else np.int32)


def _braces(values: np.ndarray) -> str:
    if values.ndim == 2:
        return "{" + ", ".join(_braces(row) for row in values) + "}"
    is_float = values.dtype.kind == "f"
    return "{" + ", ".join(exact(v) if is_float else str(v) for v in values) + "}"


def exact(value: float) -> str:
    """Shortest text of at least 16 digits that reads back as the same double, as MLIP prints it."""
    return np.format_float_scientific(value, min_digits=15, exp_digits=2)


def _lines(potential: Potential) -> Iterator[str]:
    """The lines of the file; every number is written so that reading gives the same double."""
    yield "MTP"
    yield f"version = {potential.version}"
    yield f"potential_name = {potential.name}"
    if potential.trained or potential.scaling != 1:
        yield f"scaling = {exact(potential.scaling)}"
    yield f"species_count = {potential.species_count}"
    yield f"potential_tag = {potential.core.tag if potential.core else potential.potential_tag}"
    yield f"radial_basis_type = {potential.radial_basis_type}"
    yield f"\tmin_dist = {exact(potential.min_dist)}"
    yield f"\tmax_dist = {exact(potential.max_dist)}"
    yield f"\tradial_basis_size = {potential.radial_basis_size}"
    yield f"\tradial_funcs_count = {potential.radial_funcs_count}"
    if potential.radial_coeffs is not None:
        yield "\tradial_coeffs"
        for i, j in np.ndindex(potential.radial_shape[:2]):
            yield f"\t\t{i}-{j}"
            yield from (f"\t\t\t{_braces(row)}" for row in potential.radial_coeffs[i, j])
    yield f"alpha_moments_count = {potential.alpha_moments_count}"
    for key in ("alpha_index_basic", "alpha_index_times"):
        yield f"{key}_count = {len(getattr(potential, key))}"
        yield f"{key} = {_braces(getattr(potential, key))}"
    yield f"alpha_scalar_moments = {len(potential.alpha_moment_mapping)}"
    yield f"alpha_moment_mapping = {_braces(potential.alpha_moment_mapping)}"
    if potential.trained:
        yield f"species_coeffs = {_braces(potential.species_coeffs)}"
        yield f"moment_coeffs = {_braces(potential.moment_coeffs)}"
