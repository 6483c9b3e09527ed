"""Builders' parameters of one phase: its crystal, its slab, its mixture, its chains."""

from typing import Any

from atomistics.formulas import donors
from campaign.errors import UserError
from campaign.material import CrystalSource, Ingredient, Material, Phase
from preparation import substances

BuilderInput = dict[str, Any]
CUBIC, HEXAGONAL, TETRAGONAL = range(195, 231), range(143, 195), range(75, 143)


def crystal(phase: Phase, rank: int = 0, atoms: int = 100) -> BuilderInput:
    """Source and substitutions of a crystal; `rank` of the orderings of shared sites, in cells of
    about so many atoms."""
    lattice = substances.crystal_of(phase)
    if lattice is None:
        raise UserError(f"task.yaml: material.phases.{phase.name}.crystal: missing")
    parameters: BuilderInput = {"file": lattice.file} if lattice.file else {}
    if lattice.shared_sites:
        parameters["ordering"] = {"rank": rank, "atoms": atoms}
    if lattice.materials_project:
        parameters = {"materials_project": lattice.materials_project}
    if lattice.spacegroup:
        parameters = {
            "space_group": lattice.spacegroup,
            "setting": lattice.setting,
            "lattice": _lengths(phase, lattice),
            "sites": [_site(text) for text in lattice.sites],
        }
    if phase.substitutions:
        parameters["substitutions"] = [x.model_dump(exclude_none=True) for x in phase.substitutions]
    return parameters


def outside(phase: Phase) -> bool:
    """Whether a file or a database has to be looked into to know what the phase is."""
    if phase.kind == "other":
        return True
    lattice = substances.crystal_of(phase) if phase.kind in ("crystal", "particle") else None
    return lattice is not None and lattice.spacegroup is None


def _lengths(phase: Phase, lattice: CrystalSource) -> BuilderInput:
    values, group = lattice.lattice, lattice.spacegroup
    if len(values) == 6:
        names = (
            "a_angstrom",
            "b_angstrom",
            "c_angstrom",
            "alpha_degrees",
            "beta_degrees",
            "gamma_degrees",
        )
        return dict(zip(names, values, strict=True))
    if len(values) == 1 and group in CUBIC:
        return {"a_angstrom": values[0]}
    if len(values) == 2 and (group in HEXAGONAL or group in TETRAGONAL):
        return {"a_angstrom": values[0], "c_angstrom": values[1]}
    raise UserError(
        f"task.yaml: material.phases.{phase.name}.crystal.lattice: space group {group} needs"
        " a (cubic), a c (hexagonal, tetragonal) or a b c alpha beta gamma"
    )


def _site(text: str) -> BuilderInput:
    element, *position = text.split()
    return {"element": element, "position": [_fraction(word) for word in position]}


def _fraction(word: str) -> float:
    above, _, below = word.partition("/")
    return float(above) / float(below or 1)


def slab(phase: Phase, thickness: float, width: float, scale: float = 1.0) -> BuilderInput:
    """A crystal cut along its face; of a phase of sheets as many as it has. Of a lattice scaled
    down least width and thickness are too: as many cells and layers as of the lattice itself."""
    if not phase.surface:
        raise UserError(f"task.yaml: material.phases.{phase.name}.surface: missing")
    thickness, width = (round(length * min(scale, 1.0), 3) for length in (thickness, width))
    size = {"sheets": phase.sheets} if phase.sheets else {"thickness_angstrom": thickness}
    return {
        **crystal(phase),
        "miller": list(phase.surface),
        **size,
        "min_width_angstrom": width,
        "compensated": True,
    }


def mixture(
    phase: Phase, density: float = 1.0, solutes: float = 1.0, first: float = 1.0
) -> BuilderInput:
    """Components at a density; the others are factors: of it, of solutes (0 leaves them out), of
    the first component's share."""
    kept = [i for i in phase.substances if i.molarity is None or solutes]
    scaled = [
        i if i.molarity is None else i.model_copy(update={"molarity": i.molarity * solutes})
        for i in kept
    ]
    if first != 1:
        scaled[0] = scaled[0].model_copy(update={"ratio": (scaled[0].ratio or 1.0) * first})
    given = _density(phase, scaled)
    if given is None:
        raise UserError(f"task.yaml: material.phases.{phase.name}.density: missing")
    return {
        "components": [_component(i) for i in scaled],
        "density_g_cm3": round(given * density, 4),
    }


def _density(phase: Phase, scaled: list[Ingredient]) -> float | None:
    """g/cm3 of the phase with its substances changed: as given, times what ideal mixing changes."""
    plain = phase.model_copy(update={"density": None})
    ideal = substances.density_of(plain.model_copy(update={"substances": scaled}))
    if phase.density is None:
        return ideal
    before = substances.density_of(plain)
    return phase.density * ideal / before if ideal and before else phase.density


def molecule(ingredient: Ingredient) -> BuilderInput:
    """What one molecule, or the atoms of a formula, are made from."""
    if ingredient.formula:
        return {"formula": ingredient.formula}
    smiles = substances.smiles_of(ingredient)
    if smiles is None:
        raise UserError(f"{ingredient.name}: not in the list of substances; give smiles or formula")
    return {"smiles": smiles}


def binding_atoms(ingredient: Ingredient) -> list[int | None]:
    """Atoms by which a molecule binds to a face, the likeliest first, by index in the molecule as
    it is built; None, lying flat, comes second, or first where nothing has a lone pair."""
    smiles = substances.smiles_of(ingredient)
    if smiles is None or ingredient.formula:
        return [None]
    binding = donors(smiles)
    return [*binding[:1], None, *binding[1:2]] if binding else [None]


def _component(ingredient: Ingredient) -> BuilderInput:
    if ingredient.formula:
        substance: BuilderInput = {"formula": ingredient.formula}
    else:
        substance = {"smiles": substances.smiles_of(ingredient)}
    if ingredient.molarity is not None:
        return {**substance, "molarity_mol_l": round(ingredient.molarity, 4)}
    return {**substance, "mole_ratio": ingredient.ratio or 1.0}


def chains(phase: Phase, density: float, units: int, number: int, added: float) -> BuilderInput:
    """Chains with what is added per repeat unit; `density` and `added` are factors."""
    bulk = substances.density_of(phase)
    if bulk is None:
        raise UserError(f"task.yaml: material.phases.{phase.name}.density: missing")
    extras = [
        {"smiles": substances.smiles_of(i), "mole_ratio": round((i.ratio or 1.0) * added, 5)}
        if i.molarity is None
        else _component(i.model_copy(update={"molarity": i.molarity * added}))
        for i in phase.substances
    ]
    return {
        "repeat_unit": substances.repeat_of(phase),
        "degree_of_polymerisation": units,
        "chains": number,
        "density_g_cm3": round(bulk * density, 4),
        "additives": extras if added else [],
    }


def particle(phase: Phase, diameter: float, shape: str = "spherical") -> BuilderInput:
    """A finite cut of a crystal."""
    lattice = crystal(phase)
    metal = len({site["element"] for site in lattice.get("sites", [])}) == 1
    return {
        **lattice,
        "shape": shape,
        "diameter_angstrom": round(diameter, 2),
        "stoichiometric": not metal,
    }


def width(material: Material) -> float:
    """Edge of a cell with about `atoms` atoms at 10 Å^3 an atom, Å; never below two cutoffs."""
    return round(max(10.0, (10.0 * material.atoms) ** (1 / 3)), 1)


def slab_width(material: Material) -> float:
    """Least width of a slab, by itself or under a film, Å: layers of 9 Å with about `atoms` atoms,
    as wide as DFT makes them, not two cutoffs."""
    return round(max(8.0, 0.8 * width(material)), 1)


def solute_atoms(phase: Phase, least: int, solutes: float = 1.0) -> int:
    """Atoms of a box that holds at least one formula unit of every solute."""
    atoms = least
    for ingredient in phase.substances:
        if ingredient.molarity is None or not solutes:
            continue
        litres = 1 / (ingredient.molarity * solutes)
        atoms = max(atoms, round(atoms_per_nm3(phase) * litres / substances.AVOGADRO))
    return atoms


def atoms_per_nm3(phase: Phase) -> float:
    """Number density of a mixture without its solutes, from density and mean mass of its atoms."""
    atoms = units = 0.0
    for ingredient in phase.substances:
        if ingredient.molarity is not None:
            continue
        content = substances.content(ingredient)[0]
        share = ingredient.ratio or 1.0
        atoms += share * content.total()
        units += share * substances.mass(content)
    density = substances.density_of(phase) or 1.0
    return density * 1000 * substances.AVOGADRO * atoms / units if units else 100.0
