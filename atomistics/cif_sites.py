"""What a CIF says and no frame can hold: sites that are shared, not full, or not in its list."""

import re
from collections import Counter

import numpy as np
from ase.data import chemical_symbols
from ase.io.cif import CIFBlock

SAME_SITE = 1e-3  # fractional coordinates
FULL = 0.999
TYPE = re.compile(r"[A-Z][a-z]?\d*[+-]?\d*")  # Na, Na1+, O2-; NA and Na0.6K0.4 ASE reads as N, Na
NOT_GIVEN = ("?", ".")
NAME_OF_GROUP = re.compile(r"(space_group|symmetry).*name_")
READ = (  # by ASE, of the tags that give a symmetry
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group.it_number",
    "_space_group_it_number",
    "_symmetry_int_tables_number",
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
)
REMEDY = "write an ordered cell or use substitutions"


def fault(block: CIFBlock) -> str | None:
    """Why ASE's reader would make another structure of a block than it says; None: it would not.

    ASE puts the first or the likeliest element on every shared site, also where symmetry brings two
    sites together. An occupancy that is not given (absent, ?, .) is 1, as the CIF core dictionary
    has it.
    """
    count = len(block.get_symbols())
    names = _column(block, "label", count) or _column(block, "type_symbol", count)
    for kind in _column(block, "type_symbol", count):
        if not TYPE.fullmatch(str(kind)):
            return f"_atom_site_type_symbol {str(kind)!r:.20} is no element"
    alone = _of_the_list(block, names)
    return alone or _shared(block, names) or _group(block) or _formula(block)


def _column(block: CIFBlock, name: str, count: int) -> list:
    values = block.get(f"_atom_site_{name}")
    return list(values) if isinstance(values, list) and len(values) == count else []


def _of_the_list(block: CIFBlock, names: list) -> str | None:
    """What a site says of itself: hydrogens without coordinates, a dummy, one of several groups."""
    count = len(names)
    for name, number in zip(names, _column(block, "attached_hydrogens", count), strict=False):
        if number not in (*NOT_GIVEN, 0):
            return f"site {name} has {number} attached hydrogens without coordinates; write them"
    for name, flag in zip(names, _column(block, "calc_flag", count), strict=False):
        if flag == "dum":
            return f"site {name} is a dummy (_atom_site_calc_flag dum); take it away"
    groups = [str(g) for g in _column(block, "disorder_group", count)]
    kinds = sorted({g for g in groups if g not in (*NOT_GIVEN, "0")})
    if len(kinds) > 1 or any(g.startswith("-") for g in kinds):
        return (
            f"sites are of disorder groups {', '.join(kinds)}, of which one can be there; {REMEDY}"
        )
    return None


def _shared(block: CIFBlock, names: list) -> str | None:
    sites = block.get_unsymmetrized_structure()
    places, kinds = sites.get_scaled_positions(wrap=False), sites.numbers
    shares = [1.0 if s in NOT_GIVEN else s for s in _column(block, "occupancy", len(sites))]
    shares = shares or [1.0] * len(sites)
    group = block.get_spacegroup(True)
    for k, place in enumerate(places):
        if not isinstance(shares[k], int | float) or shares[k] > 2 - FULL:
            return f"site {names[k]} has an occupancy of {shares[k]!s:.20}; write a number up to 1"
        apart = group.equivalent_sites([place])[0][:, None] - places
        here = (np.abs(apart - apart.round()).max(2) < SAME_SITE).any(0)
        here &= (np.arange(len(sites)) == k) | (kinds != kinds[k]) | _same(place, places)
        same = np.flatnonzero(here)
        if len(same) > 1 or shares[k] < FULL:
            what = "shared" if len(same) > 1 else "partly occupied"
            return (
                f"site {'/'.join(str(names[i]) for i in same)} is {what}, occupancy "
                f"{'/'.join(f'{shares[i]:g}' for i in same)}; {REMEDY}"
            )
    return None


def _same(place: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sites written at one place, as against those that symmetry brings there: one atom twice."""
    apart = places - place
    return np.abs(apart - apart.round()).max(1) < SAME_SITE


def _group(block: CIFBlock) -> str | None:
    """Whether its symmetry stands only in words that ASE does not read, which makes it P 1."""
    unread = [tag for tag in block if NAME_OF_GROUP.search(tag)]
    named = [tag for tag in unread if str(block[tag]).replace(" ", "").lower() != "p1"]
    if not named or any(tag in block for tag in READ):
        return None
    return f"its symmetry stands only in {named[0]}; write the symmetry operations"


def _formula(block: CIFBlock) -> str | None:
    """Whether the sites are what _chemical_formula_sum says: hydrogens are often without any.

    And as many as _cell_formula_units_Z says: a lost group makes fewer, one of two origins others.
    """
    given = re.findall(r"([A-Z][a-z]?)([\d.]*)", str(block.get("_chemical_formula_sum", "")))
    said = Counter()
    for symbol, number in given:
        said["H" if symbol == "D" else symbol] += float(number or 1)
    symbols = block.get_atoms().symbols
    there = Counter(map(str, symbols))
    if not said or not set(said) <= set(chemical_symbols):
        return None
    total = sum(said.values()), sum(there.values())
    off = [e for e in said | there if abs(said[e] / total[0] - there[e] / total[1]) > 0.01]
    if not off:
        return _count(block, said, total)
    return (
        f"its sites are {symbols.formula.reduce()[0]:hill}, its formula (_chemical_formula_sum) is "
        f"{block['_chemical_formula_sum']}; write the atoms that lack, or mend the formula"
    )


def _count(block: CIFBlock, said: Counter, total: tuple[float, int]) -> str | None:
    units, (formula, there) = block.get("_cell_formula_units_z"), total
    if not isinstance(units, int):
        return None
    of_the_cell = all(number % units == 0 for number in said.values())  # as some programs write it
    if any(abs(there - n * formula) < 0.5 for n in (units, *([1] if of_the_cell else []))):
        return None
    return (
        f"its symmetry makes {there} atoms of its sites, _cell_formula_units_Z {units} of"
        f" {block['_chemical_formula_sum']} are {units * formula:g}; write the symmetry operations,"
        " or mend Z"
    )
