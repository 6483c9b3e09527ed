"""What a structure says of its own calculation: its charge, its spins, how many k-points it needs.

Options of the configuration hold for all structures of a campaign, which differ in cell, in
composition and in the order of their elements. What goes by an index there, or by a fixed mesh,
would silently mean something else in the next structure.
"""

import copy
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import kpts2sizeandoffsets

from atomistics.errors import UserError
from atomistics.reference.catalog import Recipe
from mtp.reading.kpoints import Mesh, needed

COARSE = 0.15  # 1/Å (with 2 pi): denser meshes are converged for metals too, and may differ
ALIKE = 1.3  # ratio of the spacings of two structures that counts as one quality
INDEXED = re.compile(r"^[A-Za-z_]+\(\s*\d")


def settings_for(recipe: Recipe, atoms: Atoms) -> dict[str, Any]:
    """Options of a recipe for one structure: its charge and moments where the code has to be told.

    Initial charges (e) are summed up to the charge of the cell, initial moments (µB) to its
    multiplicity. Calculators that are not listed here read both from the Atoms themselves.

    Parameters
    ----------
    recipe : options as the user gave them
    atoms : N atoms with initial charges (e) and moments (µB)

    Returns
    -------
    options for the calculator's constructor

    Raises
    ------
    UserError
        where options and structure contradict each other, or the code cannot begin from the moments
        of the structure.
    """
    options = copy.deepcopy(dict(recipe.options))
    charge = float(atoms.get_initial_charges().sum())
    moments = atoms.get_initial_magnetic_moments()
    name = recipe.calculator.rpartition(":")[2]
    where = {"Espresso": "tot_charge"}.get(name, "charge")
    if name in ("CP2K", "ORCA", "Vasp", "GPAW", "Espresso") and abs(charge) > 1e-3:
        if name != "Espresso":
            charge = _whole(charge)
        place = _system(options) if name == "Espresso" else options
        if abs(float(place.setdefault(where, charge)) - charge) > 1e-3:
            raise UserError(
                f"{recipe.where}: {where}: {place[where]}, but a structure's initial charges add up"
                f" to {charge:g}; leave one of the two out"
            )
    if name == "Espresso":
        _by_species(_system(options), atoms)
    if name == "ORCA" and moments.any():
        options.setdefault("mult", 1 + _whole(abs(float(moments.sum()))))
    if name == "CP2K":
        _cp2k(options, atoms, moments, recipe.where)
    return options


def _whole(value: float) -> int:
    if abs(value - round(value)) > 0.01:
        raise UserError(f"initial charges or moments add up to {value:.3f}: not a whole number")
    return round(value)


def _system(options: dict[str, Any]) -> dict[str, Any]:
    """The namelist &SYSTEM of Quantum ESPRESSO; keys may stand flat, as ASE takes both."""
    data = options.setdefault("input_data", {})
    return data.setdefault("system", {})


def _by_species(system: dict[str, Any], atoms: Atoms) -> None:
    """`hubbard_u: {Ni: 6}` as `hubbard_u(1) = 6` of the species as ASE numbers them in this file.

    With spin every element is as many species as it has different moments. An index in the options
    themselves is refused: which element it means depends on the structure.
    """
    if indexed := sorted(key for key in system if INDEXED.match(key)):
        key = indexed[0].partition("(")[0]
        raise UserError(
            f"reference.options.input_data.system: {indexed[0]}: which element that is depends on"
            f" the structure; write {key}: {{Fe: 4.0}}"
        )
    moments = atoms.get_initial_magnetic_moments()
    spins = bool(moments.any()) or system.get("nspin", 1) == 2 or bool(system.get("noncolin"))
    pairs = zip(atoms.symbols, moments if spins else np.zeros(len(atoms)), strict=True)
    species = list(dict.fromkeys((symbol, float(np.sum(moment))) for symbol, moment in pairs))
    for key, table in list(system.items()):
        if isinstance(table, Mapping):
            del system[key]
            for number, (symbol, _) in enumerate(species, 1):
                if symbol in table:
                    system[f"{key}({number})"] = table[symbol]


def _cp2k(options: dict[str, Any], atoms: Atoms, moments: np.ndarray, where: str) -> None:
    """K-points by density, and moments, which ASE does not hand on, in CP2K's own words."""
    lines = []
    spacing = options.pop("kspacing", None)
    mesh = by_density(atoms, float(spacing)) if spacing else (1, 1, 1)
    if mesh != (1, 1, 1):
        counts = " ".join(map(str, mesh))
        lines += ["&DFT", "&KPOINTS", f"SCHEME MONKHORST-PACK {counts}", "&END KPOINTS", "&END DFT"]
    if moments.any():
        options.setdefault("uks", True)
        options.setdefault("multiplicity", 1 + _whole(abs(float(moments.sum()))))
        lines.append("&SUBSYS")
        for symbol in sorted(set(atoms.symbols)):
            own = set(moments[atoms.symbols == symbol].tolist())
            if len(own) > 1:
                raise UserError(
                    f"{where}: cp2k starts all {symbol} atoms from one moment, a structure has"
                    f" {min(own):g} and {max(own):g} µB; use another code, or a calculator of"
                    " your own with one kind for each"
                )
            lines += [f"&KIND {symbol}", f"MAGNETIZATION {own.pop():g}", "&END KIND"]
        lines.append("&END SUBSYS")
    if lines:
        added = "\n".join(["&FORCE_EVAL", *lines, "&END FORCE_EVAL"])
        options["inp"] = joined_sections(str(options.get("inp", "")), added)


def joined_sections(*inputs: str) -> str:
    """Inputs of CP2K as one, in which no section stands twice: ASE refuses that, CP2K misreads it.

    Sections are one if they have the same name and the same parameter, as two of `&KIND Fe`.
    """
    from ase.calculators.cp2k import parse_input

    def join(section: Any) -> None:
        whole: dict[tuple[str, str], Any] = {}
        for inner in section.subsections:
            key = (inner.name.upper(), str(inner.params or ""))
            if first := whole.get(key):
                first.keywords += inner.keywords
                first.subsections += inner.subsections
            else:
                whole[key] = inner
        section.subsections = list(whole.values())
        for inner in section.subsections:
            join(inner)

    root = parse_input("\n".join(inputs))
    join(root)
    return "\n".join(line.strip() for line in root.write()) + "\n"


def by_density(atoms: Atoms, spacing: float) -> tuple[int, ...]:
    """K-points along each reciprocal vector no further apart than a spacing.

    Parameters
    ----------
    atoms : the cell, Å
    spacing : 1/Å, with 2 pi

    Returns
    -------
    three numbers; 1 along directions that are not periodic
    """
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    return tuple(
        max(1, math.ceil(length / spacing - 1e-9)) if periodic else 1
        for length, periodic in zip(lengths, atoms.pbc, strict=True)
    )


def fixed_mesh(recipe: Recipe) -> tuple[str, tuple[int, ...]] | None:
    """The option that sets one k-mesh for cells of any size, and that mesh; None where none does.

    Γ alone is a mesh as any other, where it is what a code falls back on.
    """
    options, name = recipe.options, recipe.calculator.rpartition(":")[2]
    has_kpoints = name in ("Espresso", "Vasp", "CP2K", "GPAW")
    if options.get("kspacing") or not (has_kpoints or "kpts" in options):
        return None
    kpts = options.get("kpts")
    if isinstance(kpts, Mapping):
        return ("kpts.size", tuple(kpts["size"])) if "size" in kpts else None
    if isinstance(kpts, (list, tuple)):  # of lists: points one by one, which a person has chosen
        three = len(kpts) == 3 and not isinstance(kpts[0], (list, tuple))
        return ("kpts", tuple(int(n) for n in kpts)) if three else None
    scheme = re.search(r"SCHEME\s+MONKHORST-PACK((?:\s+\d+){3})", str(options.get("inp", "")), re.I)
    if scheme:
        return "inp", tuple(map(int, scheme[1].split()))
    return ("kpts", (1, 1, 1)) if kpts is None else None


def mesh_for(recipe: Recipe, atoms: Atoms) -> Mesh | None:
    """The k-mesh of a label of these atoms.

    Parameters
    ----------
    recipe : by density, or one mesh
    atoms : the cell, Å

    Returns
    -------
    numbers along the three vectors; None where the options do not tell
    """
    options, fixed = recipe.options, fixed_mesh(recipe)
    if fixed is not None:
        numbers: Sequence[int] = fixed[1]
    elif spacing := options.get("kspacing"):
        # half a second of imports, for this program alone
        from ase.io.espresso import kspacing_to_grid

        rounded = kspacing_to_grid if recipe.calculator.endswith(":Espresso") else by_density
        numbers = rounded(atoms, float(spacing))
    elif isinstance(kpts := options.get("kpts"), Mapping) and "density" in kpts:
        numbers, _ = kpts2sizeandoffsets(atoms=atoms, **kpts)
    else:
        return None
    one, two, three = (int(n) for n in numbers)
    return one, two, three


def unlike_mesh(atoms: Atoms, one: Mesh, other: Mesh) -> bool:
    """Whether two k-meshes of a cell are of different quality, as in `unlike_meshes`.

    Parameters
    ----------
    atoms : the cell, Å
    one, other : numbers along its three vectors

    Returns
    -------
    whether, along a vector where k-points count, one has 1.3 times those of the other, which lie
    further apart than what is converged for metals too
    """
    few, many = np.minimum(one, other), np.maximum(one, other)
    return bool(((needed(atoms) / few > COARSE) & (many > ALIKE * few)).any())


HOW = {
    "Espresso": "kspacing: 0.04 (1/Å, without 2 pi)",
    "Vasp": "kspacing: 0.25 (1/Å)",
    "CP2K": "kspacing: 0.25 (1/Å)",
    "GPAW": "kpts: {density: 4.0, gamma: true} (Å)",
}


def unlike_meshes(recipe: Recipe, structures: Iterable[Atoms]) -> str | None:
    """Why one fixed k-mesh gives labels of different quality in these structures, if it does.

    Compared is the widest distance of neighbouring k-points (1/Å, with 2 pi) along any periodic
    direction, which says how well a Brillouin zone is sampled whatever the size of the cell.

    Parameters
    ----------
    recipe : may ask for a fixed mesh
    structures : cells, Å

    Returns
    -------
    a line with the two that differ most; None where they do not
    """
    fixed = fixed_mesh(recipe)
    if fixed is None:
        return None
    key, mesh = fixed
    spacings = {}
    for atoms in structures:
        if atoms.pbc.any():
            lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1) / mesh
            name = str(atoms.info.get("structure", atoms.symbols))
            spacings[name] = float(lengths[atoms.pbc].max())
    if not spacings:
        return None
    fine, coarse = min(spacings, key=spacings.__getitem__), max(spacings, key=spacings.__getitem__)
    if spacings[coarse] <= max(COARSE, ALIKE * spacings[fine]):
        return None
    counts = " x ".join(map(str, mesh))
    how = HOW.get(recipe.calculator.rpartition(":")[2], "the calculator's k-point density")
    return (
        f"{recipe.where}: {key}: {counts} k-points lie {spacings[fine]:.2f} 1/Å apart in {fine} and"
        f" {spacings[coarse]:.2f} in {coarse}: labels of different quality; give them by density,"
        f" {how}, or set reference.fixed_kpoints: true where both are converged"
    )
