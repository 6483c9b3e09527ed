"""Crystal files with shared or partly occupied sites: refused by name, or filled with whole atoms.

Occupancies become whole numbers in the smallest near-cubic supercell where they can, charges in
balance; which atom goes where follows from electrostatics (EwaldSummation of pymatgen; Ong et al.,
Comput. Mater. Sci. 68, 314 (2013)): seeded random starts, each brought down by the best exchanges.
"""

import itertools
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
from ase import Atoms
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Composition, Element, Structure
from pymatgen.io.cif import CifParser
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, vstack

from atomistics.builders.crystals.parameters import Ordering
from atomistics.builders.sources import inside, user_file
from atomistics.errors import UserError

EXACT = 0.012  # of a site, what rounding may change an occupancy by where a supercell allows it
MOST_SITES = 260  # of the supercell
STARTS = 16
ROUNDED = 0.005  # of all atoms, beyond which a composition made whole is told
GUESSED = 60  # atoms of a formula unit, beyond which an element has one valence
LARGER = 1.5  # times the atoms wanted that a supercell may have
NEARLY, MOST_STATES = 0.02, 20000
SPLIT, CORE = 2.0, 5.0  # Å, eV/e^2
HYDROGEN = {1: 0.7, 2: 1.2}  # Å, SPLIT of pairs with so many hydrogens: O-H 0.96, H-H of water 1.5
SECONDS = 20.0  # of the search for one filling without split sites at once
ISOTOPES = ("D", "T")


def from_file(reference: str, ordering: Ordering | None, folder: Path) -> Atoms:
    """A user's crystal; sites that are shared or partly occupied are filled as `ordering` says.

    Parameters
    ----------
    reference : name of a file in folder/files
    ordering : which of the ordered cells
    folder : of the task

    Returns
    -------
    the cell, Å

    Raises
    ------
    UserError
        The file is none of a crystal, holds isotopes, or shared sites and nothing says what to do.
    """
    path = inside(reference, folder)
    if path.suffix != ".cif" or not path.is_file():
        return user_file(reference, folder)
    structure = _parsed(path)
    if structure is None or structure.is_ordered:
        return user_file(reference, folder)
    if ordering is None:
        raise UserError(
            f"{path}: site {shared(structure)}; write an ordered cell, or fill the sites with"
            " whole atoms by ordering: {rank: 0}"
        )
    return ordered(structure, ordering, str(path))


def disordered(reference: str, folder: Path) -> bool:
    """Whether a user's file has shared or partly occupied sites."""
    path = inside(reference, folder)
    structure = _parsed(path) if path.suffix == ".cif" and path.is_file() else None
    return structure is not None and not structure.is_ordered


def occupied_density(reference: str, folder: Path) -> float:
    """Atoms an Å^3 of a user's file by its occupancies; UserError where it cannot be read."""
    path = inside(reference, folder)
    structure = _parsed(path)
    if structure is None:
        raise UserError(f"{path}: no crystal")
    return float(sum(structure.composition.values()) / structure.volume)


def _parsed(path: Path) -> Structure | None:
    """pymatgen's reading of a CIF; None where it has none (ASE's own error is then told)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = CifParser(path, occupancy_tolerance=1.02).parse_structures(primitive=False)[
                0
            ]
    except Exception:  # pymatgen raises of many kinds; ASE then reads the file and says why not
        return None
    for species in structure.composition:
        name = getattr(getattr(species, "element", species), "name", species.symbol)
        if name in ISOTOPES:
            raise UserError(
                f"{path}: holds {name}, an isotope; masses here are those of the natural "
                "element: write H, and set the mass in your own MD"
            )
    return structure


def shared(structure: Structure) -> str:
    """The first site that is not one whole atom, in words."""
    site = next(site for site in structure if not site.is_ordered)
    names = "/".join(str(species.symbol) for species in site.species)
    shares = "/".join(f"{share:g}" for share in site.species.values())
    kind = "is shared" if len(site.species) > 1 else "is partly occupied"
    return f"{site.label if len(site.species) == 1 else names} {kind}, occupancy {shares}"


@dataclass(frozen=True)
class Group:
    """Equivalent sites (S,) by index, and how many of them each element takes."""

    sites: np.ndarray
    counts: dict[str, int]
    lost: list[str] = field(default_factory=list)  # elements with a share of it and no atom there


def ordered(structure: Structure, ordering: Ordering, name: str) -> Atoms:
    """The crystal with whole atoms, the `rank`-th lowest electrostatic energy of the seed's starts.

    Parameters
    ----------
    structure : with occupancies; ordering : rank and seed; name : of its file, for messages

    Returns
    -------
    Atoms of the supercell (Å), info `ordering` says rank, seed and the composition that came out.

    Raises
    ------
    UserError where no supercell of at most 260 sites balances the charges, or ranks end before.
    """
    charges = oxidation_states(structure.composition) or _nearly_balanced(structure.composition)
    wide, groups = _whole_numbers(structure, charges, ordering.atoms, name)
    rng = np.random.default_rng(ordering.seed)
    species = np.array([next(iter(s.species)).symbol for s in wide], dtype="U2")
    split = _split(wide, groups)
    energies = CORE * split + (_pair_energies(wide) if charges else 0.0)
    charges = charges or {element.symbol: 1.0 for element in wide.composition.elements}
    energy_of: dict[tuple[str, ...], float] = {}
    for _ in range(STARTS):
        trial = _filled(species, groups, rng)
        if split.any():
            trial = _apart(trial, groups, split, rng, name)
        energy = _lowered(trial, groups, charges, energies)
        energy_of.setdefault(tuple(trial), round(energy, 6))
    ranked = sorted(energy_of, key=lambda one: (energy_of[one], one))
    if ordering.rank >= len(ranked):
        raise UserError(f"{name}: ordering.rank {ordering.rank}: there are {len(ranked)}")
    chosen = np.array(ranked[ordering.rank])
    kept = chosen != ""
    atoms = Atoms(chosen[kept].tolist(), wide.cart_coords[kept], cell=wide.lattice.matrix, pbc=True)
    rank_text = f"rank {ordering.rank} of {len(ranked)} seed {ordering.seed}"
    atoms.info["ordering"] = f"{rank_text} {atoms.get_chemical_formula(empirical=True)}"
    if lost := [one for group in groups for one in group.lost]:
        atoms.info["emptied"] = ", ".join(lost)
    of_file = structure.composition.fractional_composition
    of_cell = Composition(atoms.get_chemical_formula()).fractional_composition
    if not of_cell.almost_equals(of_file, rtol=0.0, atol=ROUNDED):
        shown = structure.composition.reduced_formula
        atoms.info["rounded"] = f"{atoms.get_chemical_formula(empirical=True)} of {shown}"
    return atoms


def oxidation_states(composition: Composition | str) -> dict[str, float]:
    """Likely charges by element (e); empty where none balance (metals, unusual valences)."""
    whole, _ = Composition(composition).get_integer_formula_and_factor(max_denominator=60)
    return dict(_guessed(whole))


def oxidation_states_beside(counts: dict[str, int], charge: int) -> dict[str, float]:
    """Likely charges (e) of the atoms beside molecules that have `charge` together; as above."""
    if not counts:
        return {}
    common = gcd(charge, *counts.values())
    formula = "".join(f"{symbol}{number // common}" for symbol, number in counts.items())
    return dict(_guessed(formula, -charge // common))


@lru_cache(maxsize=256)
def _guessed(formula: str, total: int = 0) -> tuple[tuple[str, float], ...]:
    composition = Composition(formula)
    if total and len(composition) == 1:  # pymatgen has no charge for an element alone
        (element,) = composition
        charge = total / composition.num_atoms
        return ((str(element), charge),) if charge in element.oxidation_states else ()
    if composition.num_atoms > GUESSED:  # pymatgen would try every mixture of valences
        return _one_valence_each(composition, total)
    guesses = composition.oxi_state_guesses(
        target_charge=total, max_sites=None if total else -GUESSED
    )
    return tuple(guesses[0].items()) if guesses and any(guesses[0].values()) else ()


def _nearly_balanced(composition: Composition) -> dict[str, float]:
    """Common oxidation states whose sum is nearest to none, as occupancies are refined to a per
    cent or so; empty where they are more than NEARLY of the charges off."""
    amounts = composition.get_el_amt_dict()
    states = [Element(symbol).common_oxidation_states or (0,) for symbol in amounts]
    if np.prod([len(one) for one in states]) > MOST_STATES:
        return {}

    def off(choice: tuple[int, ...]) -> float:
        each = [q * n for q, n in zip(choice, amounts.values(), strict=True)]
        return abs(sum(each)) / max(sum(map(abs, each)), 1e-9) if any(each) else np.inf

    best = min(itertools.product(*states), key=off)
    return dict(zip(amounts, map(float, best), strict=True)) if off(best) < NEARLY else {}


def _one_valence_each(composition: Composition, total: int) -> tuple[tuple[str, float], ...]:
    """The first balance in which every element has one of its common oxidation states."""
    amounts = composition.get_el_amt_dict()
    for states in itertools.product(
        *(Element(symbol).common_oxidation_states for symbol in amounts)
    ):
        if sum(q * n for q, n in zip(states, amounts.values(), strict=True)) == total:
            return tuple(zip(amounts, map(float, states), strict=True))
    return ()


def _whole_numbers(
    structure: Structure, charges: dict[str, float], wanted: int, name: str
) -> tuple[Structure, list[Group]]:
    """The smallest supercell, nearest to a cube, whose occupancies are nearly whole numbers; of
    those with about the `wanted` atoms the one nearest to them, where any balances the charges."""
    best: tuple[float, tuple[int, int, int], list[dict[str, int]]] | None = None
    keys = [f"{site.label} {site.species}" for site in structure]
    sizes = Counter(key for key, site in zip(keys, structure, strict=True) if not site.is_ordered)
    shares = {
        key: {s.symbol: float(share) for s, share in site.species.items()}
        for key, site in zip(keys, structure, strict=True)
    }
    fixed = sum(
        charges.get(next(iter(site.species)).symbol, 0) for site in structure if site.is_ordered
    )
    full = sum(structure.composition.values())
    shared_elements = {s for share_of in shares.values() for s in share_of}
    shared_elements -= {s for key, of in shares.items() if key not in sizes for s in of}
    for times in _multiples(structure):
        n = int(np.prod(times))
        if best and best[0] < 1 and n * full > LARGER * wanted:
            break
        groups = [(shares[key], size * n) for key, size in sizes.items()]
        counts = _rounded(groups, charges, fixed * n)
        if counts is None:
            continue
        error = max(
            abs(count.get(s, 0) / size - share)
            for (share_of, size), count in zip(groups, counts, strict=True)
            for s, share in share_of.items()
        )
        kept = {s for count in counts for s, number in count.items() if number}
        error += len(shared_elements - kept)  # an element is not rounded away
        if best is None or error < best[0] - 1e-9:
            best = error, times, counts
        if error < EXACT:
            break
    if best is None:
        raise UserError(
            f"{name}: no supercell of {MOST_SITES} sites balances the charges {charges}; give an "
            "ordered file"
        )
    wide = structure.copy()
    for n, site in enumerate(wide):
        site.properties["orbit"] = keys[n]
    wide = wide * best[1]
    orbit = np.array([site.properties["orbit"] for site in wide])
    made = [
        Group(
            np.flatnonzero(orbit == key),
            counts,
            [
                f"{s} {share:g} at {key.split()[0]}"
                for s, share in shares[key].items()
                if share and not counts.get(s)
            ],
        )
        for key, counts in zip(sizes, best[2], strict=True)
    ]
    return wide, made


def _multiples(structure: Structure) -> list[tuple[int, int, int]]:
    """Repetitions of the cell by number of sites, rods and plates last."""
    lengths = np.array(structure.lattice.abc)

    def shape(times: tuple[int, int, int]) -> float:
        return float((lengths * times).max() / (lengths * times).min())

    longest = 2.01 * min(map(shape, itertools.product(range(1, 4), repeat=3)))
    choices = [
        times
        for times in itertools.product(range(1, 7), repeat=3)
        if np.prod(times) * len(structure) <= max(MOST_SITES, len(structure))
    ]
    return sorted(choices, key=lambda t: (shape(t) > longest, int(np.prod(t)), shape(t), t))


def _rounded(
    groups: list[tuple[dict[str, float], int]], charges: dict[str, float], fixed: float
) -> list[dict[str, int]] | None:
    """Whole numbers nearest to the occupancies that balance the charge; None where none do."""
    entries = [
        (n, s, share * size) for n, (of, size) in enumerate(groups) for s, share in of.items()
    ]
    options = [sorted({int(np.floor(x + 1e-6)), int(np.ceil(x - 1e-6))}) for _, _, x in entries]
    if np.prod([len(o) for o in options]) > 20000:
        options = [[round(x)] for _, _, x in entries]
    best, least = None, np.inf
    for choice in itertools.product(*options):
        counts: list[dict[str, int]] = [{} for _ in groups]
        charge, off = fixed, 0.0
        for (n, s, x), count in zip(entries, choice, strict=True):
            counts[n][s] = count
            charge += charges.get(s, 0.0) * count
            off += (count - x) ** 2
        full = all(
            sum(c.values()) <= size
            and (abs(sum(of.values()) - 1) > 1e-3 or sum(c.values()) == size)
            for (of, size), c in zip(groups, counts, strict=True)
        )
        if full and abs(charge) < 1e-3 and off < least:
            best, least = counts, off
    return best


def _filled(species: np.ndarray, groups: list[Group], rng: np.random.Generator) -> np.ndarray:
    """Elements (N,) of all sites, empty ones "", the groups filled at random."""
    trial = species.copy()
    for group in groups:
        content = [s for s, count in group.counts.items() for _ in range(count)]
        content += [""] * (len(group.sites) - len(content))
        trial[group.sites] = rng.permutation(content)
    return trial


def _pair_energies(structure: Structure) -> np.ndarray:
    """Electrostatic energies (N, N) of unit charges on all sites, eV/e^2; E = q @ M @ q."""
    units = Structure(
        structure.lattice, ["H+"] * len(structure), structure.frac_coords, validate_proximity=False
    )
    return EwaldSummation(units).total_energy_matrix


def _split(structure: Structure, groups: list[Group]) -> np.ndarray:
    """Pairs (N, N) of split sites nearer than SPLIT, of one group or of two as LLZO's lithium:
    they repel each other besides, as cores do."""
    sites = np.concatenate([group.sites for group in groups])
    distance = structure.distance_matrix
    hydrogens = np.zeros(len(distance), int)
    for group in groups:
        hydrogens[group.sites] = set(group.counts) == {"H"}
    limit = np.full(distance.shape, SPLIT)
    for number, least in HYDROGEN.items():
        limit[hydrogens[:, None] + hydrogens[None] == number] = least
    near = np.zeros(distance.shape, bool)
    near[np.ix_(sites, sites)] = True
    return near & (distance > 0) & (distance < limit)


def _apart(
    trial: np.ndarray, groups: list[Group], split: np.ndarray, rng: np.random.Generator, name: str
) -> np.ndarray:
    """The groups filled so that no two split sites hold atoms at once, with random preferences:
    an integer programme (HiGHS through scipy). UserError where there is no such filling."""
    entries = [(int(i), s, g) for g, of in enumerate(groups) for s in of.counts for i in of.sites]
    column = np.arange(len(entries))
    site = np.array([i for i, _, _ in entries])
    held = coo_matrix((np.ones(len(entries)), (site, column)), (len(trial), len(entries))).tocsr()
    labels = [(g, s) for g, of in enumerate(groups) for s in of.counts]
    row = [labels.index((g, s)) for _, s, g in entries]
    counted = coo_matrix((np.ones(len(entries)), (row, column)), (len(labels), len(entries)))
    exactly = [groups[g].counts[s] for g, s in labels]
    one, other = np.nonzero(np.triu(split))
    filling = milp(
        rng.random(len(entries)),
        integrality=np.ones(len(entries)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(counted, exactly, exactly),
            LinearConstraint(vstack([held, held[one] + held[other]]), ub=1),
        ],
        options={"time_limit": SECONDS, "mip_rel_gap": 0.2},
    )
    if filling.x is None:
        raise UserError(
            f"{name}: split sites nearer than {SPLIT} Å exclude each other, and the occupancies"
            " leave no filling without such pairs (molecules in several orientations are not"
            " told apart here); give an ordered file"
        )
    filled = trial.copy()
    filled[site] = ""
    for take in np.flatnonzero(filling.x > 0.5):
        filled[entries[take][0]] = entries[take][1]
    return filled


def _lowered(
    trial: np.ndarray, groups: list[Group], charges: dict[str, float], energies: np.ndarray
) -> float:
    """Exchange atoms within groups, the best pair each time, until none lowers the energy (eV)."""
    q = np.array([charges.get(s, 0.0) if s else 0.0 for s in trial])
    diagonal = np.diag(energies)
    while True:
        field, best = energies @ q, (-1e-6, -1, -1)
        for group in groups:
            at = group.sites
            step = q[at][None] - q[at][:, None]  # gained by the row's site
            own = diagonal[at]
            change = 2 * step * (field[at][:, None] - field[at][None])
            change += step**2 * (own[:, None] + own[None] - 2 * energies[np.ix_(at, at)])
            i, j = np.unravel_index(int(change.argmin()), change.shape)
            if change[i, j] < best[0]:
                best = float(change[i, j]), int(at[i]), int(at[j])
        _, i, j = best
        if i < 0:
            return float(q @ energies @ q)
        trial[[i, j]] = trial[[j, i]]
        q[[i, j]] = q[[j, i]]
