"""Whether a built structure is what was asked for: every check says in one line what is wrong.

Nothing here trusts the builder: molecules are recognised from distances and compared with the
formula units asked for, densities and compositions are counted from atoms and cell.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.spacegroup import crystal
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from atomistics import formulas, structures
from atomistics.analysis.observables import density, min_distances
from atomistics.analysis.screening import fingerprint
from atomistics.bonded import IONIC_RADII, NONMETALS
from atomistics.errors import UserError
from atomistics.neighbours import Pairs, pairs
from atomistics.units import PER_LITRE

BOND = 1.3  # of the sum of covalent radii: farther atoms of one molecule are not bound
FUSED = 1.1  # of the sum of covalent radii: nearer non-metals of two molecules are bound
DENSITY_BAND = 0.02
PLAUSIBLE = (0.02, 25.0)  # g/cm3, of anything without vacuum
ANIONS = frozenset({"O", "F", "Cl", "Br", "I", "S", "Se", "N"})
NONMETAL_SYMBOLS = frozenset(chemical_symbols[n] for n in NONMETALS)
NEAREST = 0.7  # of the sum of the covalent radii; N-N 0.77, C-O 0.79, H-H 1.19 in their molecules
NEAREST_HYDROGENS = 1.1  # of two hydrogens: 0.68 Å
ALIKE = 1e-5
ANIONS_APART = 0.7  # of the sum of the radii; O-O of nitrate 0.77, of carbonate 0.80, of SO4 0.86


@dataclass(frozen=True)
class Asked:
    """What a structure was asked to be: its parameters, the campaign's species and cutoff (Å)."""

    parameters: dict[str, Any]
    species: list[str]
    cutoff: float


def check(atoms: Atoms, asked: Asked) -> list[str]:
    """Everything wrong with one structure.

    Parameters
    ----------
    atoms : N atoms, Å, as built
    asked : what it was asked to be

    Returns
    -------
    a line for each fault; empty where it is sound
    """
    try:
        structures.check(atoms, asked.species, asked.cutoff)
    except UserError as error:
        return [str(error).partition(": ")[2] or str(error)]
    return [
        *_density(atoms, asked.parameters),
        *_charge(atoms),
        *_molecules(atoms),
        *_amounts(atoms, asked.parameters),
        *_formula(atoms, asked.parameters),
        *_distances(atoms, asked.parameters.get("family") == "isolated"),
    ]


def notes(atoms: Atoms) -> list[str]:
    """What a person should know of a sound structure: a dipole, charges that do not balance.

    Parameters
    ----------
    atoms : N atoms, Å, with what the builder has put into `info`

    Returns
    -------
    lines
    """
    lines = []
    dipole, moved = (atoms.info.get(key) for key in ("dipole_e_per_angstrom", "compensated"))
    if moved:
        lines.append(
            f"polar: {moved}, which leaves a formal dipole of {float(dipole or 0):.2f} e/Å;"
            " passivated: true of the phase ends its faces with H and OH instead"
        )
    elif dipole is not None:
        lines.append(
            f"polar: formal charges give a dipole of {float(dipole):.2f} e/Å per area along z; take"
            " another face or termination, compensated: true (atoms moved to the other face), or"
            " passivated: true (H on anions, OH on cations)"
        )
    if emptied := atoms.info.get("emptied"):
        lines.append(
            f"shared sites: no atom of {emptied} in a cell of this size; more atoms"
            " (ordering.atoms) have some"
        )
    if rounded := atoms.info.get("rounded"):
        lines.append(
            f"shared sites filled with whole atoms: {rounded} in the file; more atoms"
            " (ordering.atoms) come nearer"
        )
    elements = set(atoms.symbols)
    if (
        atoms.info.get("family") in ("solid", "other")
        and elements & ANIONS
        and elements - NONMETAL_SYMBOLS
    ):
        lines += _chemistry(atoms)
    return lines


def _chemistry(atoms: Atoms) -> Iterator[str]:
    """Ions of a compound whose charges do not balance, and anions nearer than anions are."""
    from atomistics.builders.crystals.molecular_ions import ions
    from atomistics.builders.crystals.ordering import oxidation_states, oxidation_states_beside

    formula = atoms.get_chemical_formula(empirical=True)
    if any(key in atoms.info for key in ("interstitials", "substitutions")):
        why = "a cell without net charge has a hole or electron of its own; or add a counterpart"
    else:
        why = "is it the compound meant? Hydrogen may be missing from the file"
    molecules = ions(atoms)
    beside = Counter(atoms.get_chemical_symbols())
    for count, _, content in molecules.values():
        beside.subtract({symbol: count * number for symbol, number in content.items()})
    beside = +beside
    charge = sum(count * own for count, own, _ in molecules.values())
    charges = oxidation_states_beside(beside, charge) if molecules else oxidation_states(formula)
    if not charges and (beside or charge):
        parts = " with " + ", ".join(
            f"{name} of charge {own:+d}" for name, (_, own, _) in molecules.items()
        )
        yield (f"no usual oxidation states balance {formula}{parts if molecules else ''}; {why}")
    anions = [
        atomic_numbers[symbol]
        for symbol, charge in charges.items()
        if charge < 0 and symbol in IONIC_RADII
    ]
    near = pairs(atoms, 4.5)
    near = near.at(np.isin(atoms.numbers[near.i], anions) & np.isin(atoms.numbers[near.j], anions))
    radii = np.array([IONIC_RADII.get(symbol, 0.0) for symbol in atoms.symbols])
    ratio = near.distance / np.maximum(radii[near.i] + radii[near.j], 1e-9)
    if len(ratio) and ratio.min() < ANIONS_APART:
        worst = int(ratio.argmin())
        names = "-".join(sorted(str(atoms.symbols[k]) for k in (near.i[worst], near.j[worst])))
        yield (
            f"anions {names} {near.distance[worst]:.2f} Å apart, nearer than ions are: a bond"
            " (peroxide, disulfide), or a site given wrongly?"
        )


def facts(atoms: Atoms) -> dict[str, Any]:
    """Figures for the report.

    Parameters
    ----------
    atoms : N atoms, Å

    Returns
    -------
    atoms, formula, cell lengths (Å), periodic axes, shortest distance (Å) by pair of elements, and
    where
    periodic in three directions the density (g/cm3)
    """
    figures = {
        "atoms": len(atoms),
        "formula": atoms.symbols.formula.format("hill"),
        "cell_angstrom": [round(float(length), 3) for length in atoms.cell.lengths()],
        "periodic": [bool(axis) for axis in atoms.pbc],
        "min_distance_angstrom": {
            pair: round(value, 3) for pair, value in sorted(min_distances(atoms, 4.0).items())
        },
    }
    if atoms.pbc.all():
        figures["density_g_cm3"] = round(density(atoms), 4)
    return figures


def duplicates(frames: Sequence[tuple[str, Atoms]]) -> dict[str, str]:
    """Later structures by the earlier one they repeat: same atoms, same distances.

    Parameters
    ----------
    frames : pairs of id and structure (Å)

    Returns
    -------
    id of the earlier one by id of the later
    """
    fingerprints: dict[tuple[str, int], list[tuple[str, np.ndarray]]] = {}
    twins: dict[str, str] = {}
    for name, atoms in frames:
        key = (atoms.symbols.formula.format("hill"), int(atoms.pbc.sum()))
        vector = fingerprint(atoms)
        twin = next(
            (n for n, v in fingerprints.get(key, []) if np.abs(v - vector).max() < ALIKE), None
        )
        if twin:
            twins[name] = twin
        else:
            fingerprints.setdefault(key, []).append((name, vector))
    return twins


def _density(atoms: Atoms, parameters: dict[str, Any]) -> Iterator[str]:
    """Packed boxes at the density asked for to 2 %; the rest within what matter has."""
    if not atoms.pbc.all() or parameters.get("vacuum_angstrom"):
        return
    value = density(atoms)
    asked = parameters.get("density_g_cm3")
    low, high = PLAUSIBLE
    if asked:
        low, high = asked * (1 - DENSITY_BAND), asked * (1 + DENSITY_BAND)
    if not low <= value <= high:
        yield f"density {value:.3f} g/cm3 is outside {low:.3f} to {high:.3f}"


def _distances(atoms: Atoms, dimer: bool) -> Iterator[str]:
    """The pair nearest to each other for its radii, where that is nearer than matter has; dimers
    are brought nearer by purpose."""
    radii = covalent_radii[atoms.numbers]
    near = pairs(atoms, 2 * NEAREST * radii.max())
    ratio = near.distance / (radii[near.i] + radii[near.j])
    hydrogens = (atoms.numbers[near.i] == 1) & (atoms.numbers[near.j] == 1)
    ratio = np.where(hydrogens & (not dimer), ratio * NEAREST / NEAREST_HYDROGENS, ratio)
    if len(ratio) and ratio.min() < NEAREST:
        worst = int(ratio.argmin())
        names = "-".join(f"{atoms.symbols[k]}{k}" for k in (near.i[worst], near.j[worst]))
        yield (
            f"{names} {near.distance[worst]:.2f} Å apart, nearer than"
            f" {near.distance[worst] * NEAREST / ratio.min():.2f} Å, the least that matter has"
        )


def _charge(atoms: Atoms) -> Iterator[str]:
    charge = int(atoms.info.get("charge", 0))
    if charge:
        yield f"net charge {charge:+d} e; add counter-ions or change the amounts"


def _molecules(atoms: Atoms) -> Iterator[str]:
    """Each molecule in one piece, no two grown together; distances under periodic boundaries."""
    index = atoms.arrays.get("molecule")
    if index is None or (index < 0).all():
        return
    radii = covalent_radii[atoms.numbers]
    near = pairs(atoms, 2 * BOND * radii.max())
    ratio = near.distance / (radii[near.i] + radii[near.j])
    same = (index[near.i] == index[near.j]) & (index[near.i] >= 0)
    for number in sorted(set(index[index >= 0].tolist())):
        members = np.flatnonzero(index == number)
        if len(members) > 1 and _pieces(members, near, same & (ratio < BOND)) > 1:
            formula = atoms[members].symbols.formula.format("hill")
            yield f"molecule {number} ({formula}) is in pieces"
            return
    covalent = np.isin(atoms.numbers, NONMETALS)
    fused = ~same & (ratio < FUSED) & covalent[near.i] & covalent[near.j]
    fused &= (index[near.i] >= 0) & (index[near.j] >= 0)
    for worst in np.flatnonzero(fused)[:1]:
        i, j = int(near.i[worst]), int(near.j[worst])
        names = f"{atoms.symbols[i]}{i}-{atoms.symbols[j]}{j}"
        yield f"molecules {index[i]} and {index[j]} touch: {names} {near.distance[worst]:.2f} Å"


def _pieces(members: np.ndarray, near: Pairs, bound: np.ndarray) -> int:
    """Connected parts of the atoms `members` under the bonds `bound` of `near`."""
    position = {int(atom): k for k, atom in enumerate(members)}
    edges = [
        (position[int(i)], position[int(j)])
        for i, j in zip(near.i[bound], near.j[bound], strict=True)
        if int(i) in position and int(j) in position
    ]
    rows, columns = zip(*edges, strict=True) if edges else ((), ())
    size = (len(members), len(members))
    return int(connected_components(coo_matrix((np.ones(len(edges)), (rows, columns)), size))[0])


def _amounts(atoms: Atoms, parameters: dict[str, Any]) -> Iterator[str]:
    """Formula units of every mixture against counts and ratios asked for; of a box, molarity."""
    for mixture in _mixtures(parameters):
        components = mixture["components"]
        if any(not (c.get("smiles") or c.get("formula")) for c in components):
            continue
        counts = [_units(atoms, component) for component in components]
        if None in counts:
            yield "the atoms do not add up to whole formula units of the components asked for"
            continue
        units = np.array(counts, float)
        volume = atoms.get_volume() if mixture is parameters and atoms.pbc.all() else 0.0
        yield from _counted(components, units, volume)
        ratio = np.array([c.get("mole_ratio") or 0 for c in components], float)
        share = ratio / max(ratio.sum(), 1e-12) * units[ratio > 0].sum()
        if (np.abs(units - share)[ratio > 0] > 1.0).any():
            yield f"formula units {counts}, the mole ratio asked for is {ratio.tolist()}"


def _counted(components: list[dict[str, Any]], units: np.ndarray, volume: float) -> Iterator[str]:
    for component, number in zip(components, units, strict=True):
        name = component.get("smiles") or component["formula"]
        if component.get("count") not in (None, number):
            yield f"{number:.0f} of {name}, asked for {component['count']}"
        wanted = (component.get("molarity_mol_l") or 0) * PER_LITRE * volume
        if wanted and abs(number - wanted) > max(0.6, 0.02 * wanted):
            yield f"{number:.0f} of {name}, the molarity asked for is {wanted:.2f}"


def _mixtures(parameters: Any) -> Iterator[dict[str, Any]]:
    """Every record with components, wherever it stands in the parameters."""
    if isinstance(parameters, dict):
        if parameters.get("components"):
            yield parameters
        for value in parameters.values():
            yield from _mixtures(value)
    elif isinstance(parameters, list):
        for value in parameters:
            yield from _mixtures(value)


def _units(atoms: Atoms, component: dict[str, Any]) -> int | None:
    """How often a component is there: by its own molecules, told apart by their formulas."""
    index = atoms.arrays.get("molecule")
    if index is None or component.get("formula"):
        return _loose(atoms, component)
    parts = [_hill(formulas.composition(part)[0]) for part in component["smiles"].split(".")]
    present = Counter(
        _hill(Counter(atoms[index == number].get_chemical_symbols()))
        for number in set(index.tolist())
        if number >= 0
    )
    needed = Counter(parts)
    multiples = {present[part] // count for part, count in needed.items()}
    return min(multiples) if multiples and min(multiples) > 0 else None


def _loose(atoms: Atoms, component: dict[str, Any]) -> int | None:
    formula = formulas.atoms_of_formula(component["formula"])
    present = Counter(atoms.get_chemical_symbols())
    counts = {present[element] // number for element, number in formula.items()}
    return min(counts) if counts and min(counts) > 0 else None


def _hill(atoms: Counter[str]) -> str:
    return "".join(f"{element}{number}" for element, number in sorted(atoms.items()))


def _formula(atoms: Atoms, parameters: dict[str, Any]) -> Iterator[str]:
    """The composition of a crystal's sites, counted by ASE, with what was substituted and put in;
    of a slab its elements."""
    family, sites = parameters.get("family"), parameters.get("sites")
    if family not in ("solid", "solid-surface") or not sites:
        return
    present = Counter(atoms.get_chemical_symbols())
    rules = parameters.get("substitutions") or []
    if family == "solid-surface":
        added = {"H", "O"} if parameters.get("passivated") else set()
        strange = (set(present) ^ {site["element"] for site in sites}) - added
        if strange and not rules and not parameters.get("interstitials"):
            yield f"elements {', '.join(sorted(strange))} differ from those of the crystal's sites"
        return
    whole = crystal(
        [site["element"] for site in sites],
        [site["position"] for site in sites],
        spacegroup=parameters["space_group"],
        setting=parameters.get("setting", 1),
        cell=np.eye(3),
    )
    cell = Counter(whole.get_chemical_symbols())
    added = Counter(
        {x["element"]: x.get("count", 1) for x in parameters.get("interstitials") or []}
    )
    missing = sum(rule.get("count") or 0 for rule in rules if not rule.get("by"))
    share = sum(
        (rule.get("fraction") or 0) * cell[rule["element"]] for rule in rules if not rule.get("by")
    )
    cells = (present.total() - added.total() + missing) / (sum(cell.values()) - share)
    wanted = {element: n * cells for element, n in cell.items()}
    for rule in rules:
        count = rule.get("count") or (rule.get("fraction") or 0) * cell[rule["element"]] * cells
        wanted[rule["element"]] -= count
        if rule.get("by"):
            wanted[rule["by"]] = wanted.get(rule["by"], 0) + count
    off = 0.51 + len(rules) if rules else 1e-6  # whole atoms, and at least one of each
    for element in sorted({*wanted, *present}):
        asked = wanted.get(element, 0) + added[element]
        if abs(present[element] - asked) > off:
            yield (
                f"composition {atoms.symbols.formula.reduce()[0]:hill}, the crystal's sites give"
                f" {whole.symbols.formula.reduce()[0]:hill}: {present[element]} {element} where"
                f" {asked:.1f} belong"
            )
            return
