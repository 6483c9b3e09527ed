"""What of a task is still missing, and what contradicts itself: decided here, by nobody else.

A point names the key it is about, asks for it, and says what happens without an answer. The task
is complete when no point that needs an answer is left.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from campaign.errors import UserError
from campaign.material import Answers, CrystalSource, Ingredient, Phase
from preparation import phase_parameters, substances

MIXED = ("amorphous", "liquid", "melt")
CELLS = ("crystal", "particle")
ORGANIC = frozenset("CHNOPS") | {"F", "Cl", "Br", "I"}


@dataclass(frozen=True)
class OpenPoint:
    """One thing to settle. `default` is None where an answer is needed."""

    key: str
    question: str
    default: str | None = None
    fault: str | None = None

    @property
    def needed(self) -> bool:
        """Whether the task cannot go on without it."""
        return self.default is None


def open_points(answers: Answers) -> list[OpenPoint]:
    """Everything missing or contradictory, in the order to ask; optional points have defaults."""
    return [*contradictions(answers), *_missing(answers)]


def needed(answers: Answers) -> list[OpenPoint]:
    """The points without which the task is not complete."""
    return [point for point in open_points(answers) if point.needed]


def _missing(answers: Answers) -> Iterator[OpenPoint]:
    if not answers.phases:
        yield OpenPoint(
            "phases",
            "Which materials does the system consist of, and of which kind is each (crystal,"
            " amorphous, liquid, melt, polymer, particle, molecule, other)? Like graphite: crystal;"
            " electrolyte: liquid",
        )
    if len(answers.phases) > 1 and answers.layers is None and answers.interfaces is None:
        yield OpenPoint(
            "layers",
            "How do they meet? From the bottom up, like graphite / sei / electrolyte; pairs like"
            " a / b, b / c; or none",
        )
    arranged = len(answers.phases) < 2 or not (
        (answers.layers is None and answers.interfaces is None) or any(_arrangement(answers))
    )
    for phase in answers.phases:
        meets = phase.name in {n for pair in answers.meetings for n in pair}
        yield from _of_phase(phase, meets, arranged)
    if answers.temperature is None:
        yield OpenPoint("temperature", "At which temperature will it be used, K?")
    given = answers.model_fields_set
    if "objective" not in given:
        yield OpenPoint(
            "objective", "What shall the simulations tell?", answers.sentence or "structure"
        )
    if "pressure" not in given:
        yield OpenPoint("pressure", "At which pressure, GPa?", "0")
    if "reference" not in given:
        yield OpenPoint(
            "reference",
            "Which reference method labels the data (gfn1-xtb, gfn2-xtb, chgnet, vasp, cp2k,"
            " espresso, orca, or ase: the calculator named in config.yaml)?",
            answers.reference,
        )
    if "procedure" not in given:
        yield OpenPoint(
            "procedure",
            "How will it be simulated, in words (annealed at 800 K, melt-quenched, strained, ...)?"
            " none: plain MD",
            "none",
        )
    if "atoms" not in given:
        yield OpenPoint(
            "atoms",
            "About how many atoms may a structure have (60 to 150 for DFT)?",
            str(answers.atoms),
        )
    if "properties" not in given:
        yield OpenPoint("properties", "Which properties matter?", ", ".join(answers.properties))


def _of_phase(phase: Phase, meets: bool, arranged: bool) -> Iterator[OpenPoint]:
    """`meets`: another phase; `arranged`: that is known, and so whether a face is needed."""
    at = f"phases.{phase.name}"
    if phase.kind in CELLS and substances.crystal_of(phase) is None:
        yield OpenPoint(
            f"{at}.crystal",
            f"Which crystal is {phase.name}? A known name (graphite, rutile, Cu), files/NAME.cif,"
            " mp-NUMBER, or space group; lattice; sites, like 225; 5.64; Na 0 0 0, Cl 0.5 0.5 0.5",
        )
    if phase.kind == "crystal" and phase.surface is None and arranged:
        question = f"Which face of {phase.name}, as Miller indices like 1 0 -1 0?"
        yield OpenPoint(f"{at}.surface", question, None if meets or _faced(phase) else "none")
    if phase.kind == "particle" and phase.diameter is None:
        yield OpenPoint(f"{at}.diameter", f"How large is {phase.name}, diameter in Å?", "12")
    if phase.kind == "polymer" and substances.repeat_of(phase) is None:
        yield OpenPoint(
            f"{at}.repeat",
            f"Which repeat unit has {phase.name}? A known name (PEO) or SMILES with its ends"
            " marked, like *CCO*",
        )
    if phase.kind == "other" and phase.file is None:
        yield OpenPoint(f"{at}.file", f"Which file holds {phase.name}? Like files/host.cif")
    if phase.kind == "molecule" and not phase.substances:
        yield OpenPoint(
            f"{at}.substances",
            f"Which molecule is {phase.name}? A known name, or NAME=SMILES; several with a number",
        )
    if phase.kind in MIXED and not phase.substances:
        yield OpenPoint(
            f"{at}.substances",
            f"What is {phase.name} made of? Like EC 1, DMC 1, LiPF6 1.0 mol/L; a substance unknown"
            " here as NAME=SMILES; a glass of single atoms as SiO2 as atoms",
        )
    elif phase.kind in (*MIXED, "polymer") and _density(phase) is None:
        yield OpenPoint(f"{at}.density", f"Which density has {phase.name}, g/cm3?")


def _density(phase: Phase) -> float | None:
    try:
        return substances.density_of(phase)
    except UserError:
        return 1.0  # what is wrong with it is told as a contradiction


def contradictions(answers: Answers) -> list[OpenPoint]:
    """Answers that cannot all be true, each with the key to change."""
    points = [*_names(answers), *_arrangement(answers)]
    for phase in answers.phases:
        points += _contradictions_of(phase)
    return points


def _wrong(key: str, fault: str) -> OpenPoint:
    return OpenPoint(key, f"{key}: {fault}. What is right?", None, fault)


def _names(answers: Answers) -> Iterator[OpenPoint]:
    names = [phase.name for phase in answers.phases]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        yield _wrong("phases", f"{name} is there twice")


def _arrangement(answers: Answers) -> Iterator[OpenPoint]:
    names = {phase.name for phase in answers.phases}
    for key in ("layers", "interfaces"):
        value = getattr(answers, key) or []
        used = value if key == "layers" else [name for pair in value for name in pair]
        for name in dict.fromkeys(n for n in used if n not in names):
            phase_names = ", ".join(sorted(names)) or "none"
            yield _wrong(key, f"{name} is no phase (phases: {phase_names})")
    for pair in answers.interfaces or []:
        if len(set(pair)) != 2:
            yield _wrong("interfaces", f"{pair} is no pair of two phases")
    met_phases = {name for pair in answers.meetings for name in pair}
    for phase in answers.phases:
        if phase.name in met_phases and phase.kind == "crystal" and phase.surface == []:
            fault = "none, but it meets another phase; give the face as h k l"
            yield _wrong(f"phases.{phase.name}.surface", fault)
        if phase.name in met_phases and phase.kind == "molecule":
            fault = f"{phase.name} is alone in vacuum and meets nothing; make it an adsorbate"
            yield _wrong("interfaces" if answers.interfaces else "layers", fault)
    layers = answers.layers or []
    kinds = {phase.name: phase.kind for phase in answers.phases}
    for pair in answers.meetings:
        met = {kinds.get(name) for name in pair}
        if "particle" in met and ("crystal" not in met or len(layers) > 2):
            phase_names = (
                f"{' / '.join(pair)}: a particle lies on a crystal, on or under nothing else"
            )
            yield _wrong("interfaces" if answers.interfaces else "layers", phase_names)
    if len(layers) == 1:
        yield _wrong("layers", f"{layers[0]} alone meets nothing")
    if any(a == b for a, b in pairwise(layers)):
        yield _wrong("layers", "a phase lies on itself")


def _faced(phase: Phase) -> bool:
    """Whether a crystal has to have a face."""
    planar = {"stacking-fault", "grain-boundary"} & set(phase.defects)
    return bool(phase.sheets or phase.adsorbates or planar)


def _contradictions_of(phase: Phase) -> list[OpenPoint]:
    at = f"phases.{phase.name}"
    points = list(_misplaced(phase, at))
    if unreadable := list(_unreadable(phase, at)):
        return [*points, *unreadable]
    if phase.kind in (*MIXED, "polymer"):
        points += _amounts(phase, at)
    if isinstance(phase.crystal, str) and substances.crystal_of(phase) is None:
        near = substances.nearest(phase.crystal)
        fault = (
            f"{phase.crystal!r} is not in the list of substances{near}; give its lattice or a file"
        )
        points.append(_wrong(f"{at}.crystal", fault))
    return [*points, *_substitutions(phase, at)]


def _unreadable(phase: Phase, at: str) -> Iterator[OpenPoint]:
    """What stands there but cannot be: no molecule, no element, no chain, no lattice, no face."""
    key = "substances"
    try:
        if phase.surface == [] and _faced(phase):
            yield _wrong(
                f"{at}.surface", "none, but sheets, adsorbates and planar defects need one"
            )
        for ingredient in [*phase.substances, *phase.adsorbates]:
            substances.mass(substances.content(ingredient)[0])
        key = "repeat"
        if phase.kind == "polymer" and (repeat := substances.repeat_of(phase)):
            substances.composition(repeat)
            if (ends := repeat.count("*")) != 2:
                fault = f"{phase.repeat!r} has {ends} ends marked *, a repeat unit has 2"
                yield _wrong(f"{at}.repeat", fault)
        key = "crystal"
        if phase.kind in CELLS and (lattice := substances.crystal_of(phase)):
            substances.mass(Counter(substances.elements(phase)))
            phase_parameters.crystal(phase)
            hexagonal = (
                lattice.spacegroup is None or lattice.spacegroup in phase_parameters.HEXAGONAL
            )
            if len(phase.surface or []) == 4 and not hexagonal:
                yield _wrong(f"{at}.surface", "four indices need a hexagonal lattice; give h k l")
    except UserError as error:
        yield _wrong(f"{at}.{key}", str(error).rpartition(f"{phase.name}.crystal.lattice: ")[2])


def _misplaced(phase: Phase, at: str) -> Iterator[OpenPoint]:
    """Keys that the kind of phase has no use for: whoever gave them meant another kind."""
    use = {
        "crystal": CELLS,
        "substitutions": CELLS,
        "interstitials": ("crystal",),
        "surface": ("crystal",),
        "diameter": ("particle",),
        "repeat": ("polymer",),
        "units": ("polymer",),
        "sheets": ("crystal",),
        "passivated": ("crystal",),
        "defects": ("crystal",),
        "adsorbates": ("crystal",),
        "substances": (*MIXED, "polymer", "molecule"),
        "density": (*MIXED, "polymer"),
        "file": ("other",),
    }
    for key, kinds in use.items():
        if getattr(phase, key) not in (None, [], False) and phase.kind not in kinds:
            fault = f"{phase.kind} has no {key}; change the kind ({', '.join(kinds)}) or remove it"
            yield _wrong(f"{at}.{key}", fault)


def _amounts(phase: Phase, at: str) -> Iterator[OpenPoint]:
    """Charge in balance, something to dissolve in, less solute than there is room for."""
    dissolved = [i for i in phase.substances if i.molarity is not None]
    if phase.substances and len(dissolved) == len(phase.substances) and phase.kind != "polymer":
        yield _wrong(f"{at}.substances", "all have a molarity, none is the solvent")
    charge = sum(
        (i.ratio or i.molarity or 1.0) * substances.content(i)[1] for i in phase.substances
    )
    if abs(charge) > 1e-6:
        yield _wrong(f"{at}.substances", f"the charges add up to {charge:+g} e, not to 0")
    density = substances.density_of(phase)
    usual = substances.density_of(phase.model_copy(update={"density": None}))
    if phase.density and usual and not 0.4 < phase.density / usual < 2.5:
        fault = f"{phase.density:g} g/cm3, where {usual:.3g} is usual; correct one of the two"
        yield _wrong(f"{at}.density", fault)
    if density and (solute := sum(_grams_per_litre(i) for i in dissolved)) > 800 * density:
        fault = f"{solute:.0f} g/L of solutes do not fit into {density:g} g/cm3"
        yield _wrong(f"{at}.substances", fault)


def _grams_per_litre(ingredient: Ingredient) -> float:
    return (ingredient.molarity or 0.0) * substances.mass(substances.content(ingredient)[0])


def _substitutions(phase: Phase, at: str) -> Iterator[OpenPoint]:
    lattice = substances.crystal_of(phase) if phase.kind in CELLS else None
    if not isinstance(lattice, CrystalSource) or not lattice.sites:
        return
    present = {site.split()[0] for site in lattice.sites}
    for element in sorted({x.element for x in phase.substitutions}):
        total = sum(x.fraction or 0 for x in phase.substitutions if x.element == element)
        if total > 1 + 1e-9:
            fault = f"fractions of {element} add up to {total:g}; they are final ones, at most 1"
            yield _wrong(f"{at}.substitutions", fault)
    for substitution in phase.substitutions:
        if substitution.element not in present:
            elements = ", ".join(sorted(present))
            yield _wrong(
                f"{at}.substitutions", f"{substitution.element} is not in the crystal ({elements})"
            )
