"""The structure plan by rules: six variants a category, the same for the same task.yaml.

Variants move one thing at a time around the likely state: density and lattice by a few per cent,
size, composition, shape of the cell, thickness, gap. The last one is held out: inside the range
the others span, in a cell or arrangement none of them has.
"""

from ase.data import atomic_numbers, covalent_radii

from atomistics.builders.amorphous import stillinger_weber, tersoff
from atomistics.builders.amorphous.guillot_sator import CHARGES
from atomistics.builders.amorphous.pedone import TABLE
from campaign.config import Task
from campaign.errors import UserError
from campaign.files import parse
from campaign.material import Material, Phase
from preparation import isolated, pairs, phase_parameters, substances
from preparation.categories import Topic, topics
from preparation.pairs import VariantDraft
from preparation.phase_parameters import BuilderInput
from preparation.structure_plan import Category, StructurePlan, Variant

POINTS = ("vacancy", "interstitial", "antisite")
ANIONS = ("N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I")
LARGER = 1.5
FEW = 9.0  # Å, diameter of a particle of some twenty atoms
LOWEST = 6.5  # Å, of a crystal's cell where few atoms are asked for; above the cutoff when dense
QUENCH = {
    "melt": 4000,
    "picoseconds": 3.0,
    "rate": 500.0,
    "final": 300,
    "settle": 1.0,
    "timestep": 2.0,
}

# silicon melts at 1687 K, carbon above 4500 K
MELTS = {
    "stillinger-weber": {"melt": 2500},
    "tersoff": {"melt": 6000, "picoseconds": 1.0, "rate": 1000.0, "timestep": 1.0},
}


def propose(task: Task, seed: int = 1) -> StructurePlan:
    """The plan for a task that says what it is made of."""
    if task.material is None:
        raise UserError("task.yaml: material: missing; `planner prepare` asks for it")
    places = isolated.places(task)
    made: list[Category] = []
    for topic in topics(task.material, task.temperature):
        single_points = isolated.single_points(places.get(topic.name, []))
        made.append(_new_only(category(task, topic, single_points), made))
    return parse(StructurePlan, {"seed": seed, "categories": made}, "structures/plan.yaml")


def _new_only(category: Category, before: list[Category]) -> Category:
    """A category without crystals that an earlier one has, with nothing random in them."""
    there = [v.parameters for c in before for v in c.variants]
    kept = [
        v
        for v in category.variants
        if v.held_out
        or v.parameters not in there
        or getattr(v.parameters, "substitutions", True)
        or getattr(v.parameters, "interstitials", True)
    ]
    return category.model_copy(update={"variants": kept}) if len(kept) > 1 else category


def category(task: Task, topic: Topic, single_points: list[Variant]) -> Category:
    """One category with its variants; stage, role and ceiling as task.yaml has them."""
    material = task.material or Material()
    drafts = _drafts(material, topic)
    variants = [
        _variant(topic, draft, number == len(drafts)) for number, draft in enumerate(drafts, 1)
    ]
    own = next((s for s in task.subsystems if s.name == topic.name), topic.subsystem)
    return Category(
        name=topic.name,
        stage=own.stage,
        role=own.role,
        max_temperature=own.max_temperature,
        variants=variants,
        single_points=single_points,
    )


def _variant(topic: Topic, draft: VariantDraft, held_out: bool) -> Variant:
    suffix, description, parameters = draft
    name = f"{topic.name[: 63 - len(suffix)]}-{suffix}"
    data = {"id": name, "description": description, "held_out": held_out, "parameters": parameters}
    return parse(Variant, data, f"structures/plan.yaml: {name}")


def _drafts(material: Material, topic: Topic) -> list[VariantDraft]:
    phases = [material.phase(name) for name in topic.phases]
    if topic.form == "pair":
        return pairs.pair(material, phases[0], phases[1])
    if topic.form == "full":
        return pairs.full(material, phases)
    if topic.form in ("surface", "defects", "adsorbed"):
        of_form = {"surface": surface, "defects": defects, "adsorbed": adsorbed}
        return of_form[topic.form](material, phases[0])
    return _component(material, phases[0], topic.form == "solvent")


def _component(material: Material, phase: Phase, without: bool) -> list[VariantDraft]:
    if phase.kind == "crystal":
        return sheets(material, phase) if phase.sheets else solid(material, phase)
    if phase.kind == "molecule":
        return molecules(phase)
    if phase.kind == "particle":
        return cluster(phase)
    if phase.kind == "polymer":
        return polymer(material, phase, without)
    return user_file(phase) if phase.kind == "other" else fluid(material, phase, without)


def solid(material: Material, phase: Phase) -> list[VariantDraft]:
    """Crystal: lattice -3 to +4 %, sheared, pulled, two sizes; pristine beside vacancies."""
    still, sheared, pulled = [0.0] * 6, [0.0] * 5 + [4.0], [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    rows = [
        ("bulk", "reference lattice", 1.0, 0, still),
        ("dense", "lattice 3 % shorter", 0.97, 0, still),
        ("wide", "lattice 4 % longer", 1.04, 0, still),
        ("sheared", "sheared by 4 % in xy, lattice 1.5 % longer", 1.015, 0, sheared),
        ("large-dense", "larger cell, lattice 2 % shorter, 3 % longer along z", 0.98, 1, pulled),
        ("held-out", "larger cell, lattice 1 % longer", 1.01, 1, still),
    ]
    drafts = [
        (
            suffix,
            words,
            {
                "family": "solid",
                **phase_parameters.crystal(phase, rank, material.atoms),
                "interstitials": [x.model_dump() for x in phase.interstitials],
                "scale": scale,
                # of the scaled lattice: every scale has as many cells
                "min_length_angstrom": round(LOWEST * scale - 0.005, 2),
                "atoms": material.atoms,
                "further_repeats": further,
                "strain_percent": strain,
            },
        )
        for rank, (suffix, words, scale, further, strain) in enumerate(rows)
    ]
    if phase.interstitials or any(rule.by is None for rule in phase.substitutions):
        kept = [rule for rule in drafts[0][2].get("substitutions", []) if rule.get("by")]
        whole = {**drafts[0][2], "substitutions": kept, "interstitials": []}
        drafts.insert(1, ("pristine", "reference lattice, no vacancy or interstitial", whole))
    return drafts


# registry (of the common cell's a and b) and Å beyond the gap by the radii
SLID = {"stretched": ([0.0, 0.0], 0.3), "thick": ([0.17, 0.08], -0.2), "dense": ([0.05, 0.13], 0.8)}


def sheets(material: Material, phase: Phase) -> list[VariantDraft]:
    """A monolayer or a few sheets in vacuum: number, strain in the plane, width."""
    edge, count = phase_parameters.width(material), phase.sheets or 1
    rows = [
        ("sheet", f"{count} sheet(s), reference lattice", count, 0.9, 1.0),
        ("dense", f"{count} sheet(s), lattice 2 % shorter", count, 0.9, 0.98),
        ("stretched", f"{count} sheet(s), lattice 2 % longer", count, 0.9, 1.02),
        ("thick", f"{count + 1} sheets, lattice 0.5 % longer", count + 1, 0.9, 1.005),
        ("wide", f"{count} sheet(s), wider, lattice 0.5 % shorter", count, 1.4, 0.995),
        ("held-out", f"{count} sheet(s), lattice 1 % longer", count, 0.9, 1.01),
    ]
    drafts: list[VariantDraft] = []
    for suffix, words, number, size, scale in rows:
        slab: BuilderInput = {
            **phase_parameters.slab(phase, 0.0, round(edge * size, 1), scale),
            "sheets": number,
            "scale": scale,
        }
        registry, beyond = SLID.get(suffix, ([0.0, 0.0], 0.0))
        if number > 1 and suffix in SLID:  # sheets elsewhere upon each other, and at another gap
            made: BuilderInput = {
                "family": "solid-solid",
                "substrate": {**slab, "sheets": 1},
                "film": {**slab, "sheets": number - 1},
                "contact": "van-der-waals",
                "registry": registry,
                "beyond_radii_angstrom": beyond,
                "max_atoms": 1000,
            }
        else:
            made = {"family": "solid-surface", **slab}
        slid = "beyond_radii_angstrom" in made
        description = f"{words}, the first slid, gap of the radii {beyond:+g} A" if slid else words
        drafts.append((suffix, description, {**made, "vacuum_angstrom": 18.0}))
    return drafts


def defects(material: Material, phase: Phase) -> list[VariantDraft]:
    """Each kind of defect asked for, at two lattices or sizes; the last is held out."""
    crystal = phase_parameters.crystal(phase)
    present = list(dict.fromkeys(site["element"] for site in crystal.get("sites", [])))
    kinds = phase.defects
    drafts: list[VariantDraft] = []
    # each element has its turn: of an oxide the vacancies of oxygen above all
    turns = len(present) if set(kinds) & set(POINTS) else 2
    for number in range(max(6, min(turns, 4) * len(kinds))):
        kind, turn = kinds[number % len(kinds)], number // len(kinds)
        scale = round(1.0 + 0.005 * turn, 4)
        made = _defect(material, phase, kind, turn, present)
        if made.get("family") != "solid-solid":
            made["scale"] = scale
        if kind in POINTS:
            least = round(LOWEST * scale - 0.005, 2)
            made |= {"family": "solid", "min_length_angstrom": least, "atoms": material.atoms}
        drafts.append((f"{kind}-{turn + 1}", f"{kind}, lattice {scale:g} of the reference", made))
    _, words, made = drafts.pop()
    return [*drafts, ("held-out", words, made)]


def _defect(
    material: Material, phase: Phase, kind: str, turn: int, present: list[str]
) -> BuilderInput:
    """Parameters of one defect; `turn` goes through the elements and the shifts."""
    made = phase_parameters.crystal(phase)
    if kind == "interstitial":  # what is smallest finds room
        present = sorted(present, key=lambda s: covalent_radii[atomic_numbers[s]])
    if kind == "antisite":  # cations among cations, where there are several
        cations = [symbol for symbol in present if symbol not in ANIONS]
        present = cations if len(cations) > 1 else present
    one = present[turn % len(present)] if present else ""
    other = present[(turn + 1) % len(present)] if present else ""
    width = phase_parameters.width(material)
    if kind in POINTS and not one:
        raise UserError(
            f"task.yaml: material.phases.{phase.name}.defects: {kind} needs the crystal's lattice"
            " and sites, not a file"
        )
    if kind == "vacancy":
        return made | {"substitutions": [{"element": one, "count": 1}]}
    if kind == "interstitial":
        return made | {"interstitials": [{"element": one, "count": 1}]}
    if kind == "antisite":
        if one == other:
            raise UserError(
                f"task.yaml: material.phases.{phase.name}.defects: antisite needs two elements"
            )
        swap = [
            {"element": one, "by": other, "count": 1},
            {"element": other, "by": one, "count": 1},
        ]
        return made | {"substitutions": swap[: 1 + turn % 2]}
    scale = round(1.0 + 0.005 * turn, 4)
    slab = phase_parameters.slab(phase, 12.0, round(0.8 * width, 1), scale)
    if kind == "grain-boundary":  # its turned cell is several surface cells wide already
        slab |= {"min_width_angstrom": 5.5, "thickness_angstrom": 8.0}
    if kind == "stacking-fault":
        shift = [[1 / 3, 1 / 3], [0.5, 0.0], [0.5, 0.5], [0.25, 0.25], [0.0, 0.5], [0.2, 0.4]]
        return {
            "family": "solid-surface",
            **slab,
            "fault": shift[turn % 6],
            "vacuum_angstrom": 15.0,
        }
    grain = "mirrored" if turn % 2 else "turned"
    return {
        "family": "solid-solid",
        "substrate": slab | {"scale": scale},
        "grain": grain,
        "gap_angstrom": round(1.8 + 0.2 * turn, 2),
        "max_atoms": 1000,
    }


def adsorbed(material: Material, phase: Phase) -> list[VariantDraft]:
    """Molecules on the face: sites, heights, turns by the seed; one at a time, then two."""
    width = phase_parameters.width(material)
    # site, height of the atom that binds, of a molecule lying flat, molecules, which atom binds
    rows = [
        ("ontop", 2.0, 2.4, 1, 0),
        ("bridge", 1.8, 2.4, 1, 0),
        ("hollow", 1.6, 2.4, 1, 0),
        ("ontop", 2.4, 2.8, 1, 1),
        ("bridge", 2.0, 2.6, 2, 0),
        ("hollow", 1.9, 3.0, 1, 2),
    ]
    drafts: list[VariantDraft] = []
    for number, (site, upright, flat, count, binding) in enumerate(rows):
        guest = phase.adsorbates[number % len(phase.adsorbates)]
        bound = phase_parameters.binding_atoms(guest)
        down = bound[binding % len(bound)]
        height = flat if down is None else upright
        how = "lying flat" if down is None else f"by atom {down}"
        drafts.append(
            (
                f"{site}-{number + 1}" if number < len(rows) - 1 else "held-out",
                f"{count} {guest.name} {site} {how}, {height:g} A above the face",
                {
                    "family": "solid-molecule",
                    "surface": phase_parameters.slab(phase, 7.0, round(0.84 * width, 1)),
                    "adsorbate": {
                        **phase_parameters.molecule(guest),
                        "site": site,
                        "height_angstrom": height,
                        "bound_atom": down,
                        "count": count,
                    },
                    "vacuum_angstrom": 15.0,
                },
            )
        )
    return drafts


def molecules(phase: Phase) -> list[VariantDraft]:
    """Molecules alone in vacuum, not periodic: one, and a few together."""
    rows = [("one", 1), ("pair", 2), ("three", 3), ("four", 4), ("six", 6), ("held-out", 3)]
    parts = phase.substances
    return [
        (
            suffix,
            f"{count} formula unit(s) in vacuum",
            {
                "family": "molecule",
                "components": [
                    {
                        **phase_parameters.molecule(part),
                        "count": max(1, round(count * (part.ratio or 1.0))),
                    }
                    for part in parts
                ],
                "vacuum_angstrom": 8.0,
            },
        )
        for suffix, count in rows
    ]


def surface(material: Material, phase: Phase) -> list[VariantDraft]:
    """Slab under vacuum: thickness, width, strain; a lattice each, as slabs grow by whole units."""
    edge = phase_parameters.slab_width(material)
    rows = [
        (
            "thin",
            "slab of 6 A or more, termination after next, lattice 1 % shorter",
            6.0,
            0,
            0.99,
            2,
        ),
        ("slab", "slab of 9 A or more", 9.0, 0, 1.0, 0),
        ("thick", "slab of 12.5 A or more, lattice 0.5 % longer", 12.5, 0, 1.005, 0),
        ("wide", "slab of 9 A or more, wider, lattice 1.5 % longer", 9.0, 1, 1.015, 0),
        (
            "compressed",
            "slab of 9 A or more, next termination, lattice 2 % shorter",
            9.0,
            0,
            0.98,
            1,
        ),
        ("held-out", "slab of 11 A or more, lattice 1 % longer", 11.0, 0, 1.01, 0),
    ]
    return [
        (
            suffix,
            words,
            {
                "family": "solid-surface",
                **phase_parameters.slab(phase, thickness, edge, scale),
                "scale": scale,
                "further_repeats": wider,
                "termination_in_turn": turn,
                "passivated": phase.passivated,
                "vacuum_angstrom": 15.0,
            },
        )
        for suffix, words, thickness, wider, scale, turn in rows
    ]


def fluid(material: Material, phase: Phase, without: bool) -> list[VariantDraft]:
    """Liquid, melt or glass: density, size, shape, composition."""
    dissolved = [i for i in phase.substances if i.molarity is not None]
    solutes = 0.0 if without or not dissolved else 1.0
    atoms = phase_parameters.solute_atoms(phase, material.atoms, solutes)
    whole = atoms > 1.2 * material.atoms  # one formula unit of the solute takes more than asked for
    family = "amorphous" if phase.kind == "amorphous" else "molecule"
    rows = [
        ("box", "likely density", 1.0, 1.0, 1.0, 1.0),
        ("thin", "5 % less dense", 0.95, 1.0, 1.0, 1.0),
        ("dense", "5 % denser", 1.05, 1.0, 1.0, 1.0),
        ("large", "larger box", 1.0, LARGER, 1.0, 1.0),
        ("held-out", "2 % less dense, elongated", 0.98, 1.0 if whole else 1.2, 1.0, 1.3),
    ]
    potential = network(phase)
    quench = (
        {"melt_quench": {**QUENCH, **MELTS.get(potential, {}), "potential": potential}}
        if potential
        else {}
    )
    if whole:
        rows[3] = ("long", "elongated box", 1.0, 1.0, 1.0, 1.5)
    if solutes:
        rich = 3.0 if whole else 1.5  # of one formula unit alone no two ions ever meet
        rows.insert(4, ("rich", f"{rich:g} times the solute", 1.0, 1.0, rich, 1.0))
    elif len(phase.substances) - len(dissolved) > 1:
        rows.insert(4, ("rich", "1.5 times the first component", 1.0, 1.0, 1.5, 1.0))
    else:
        rows.insert(4, ("long", "elongated box", 1.0, 1.2, 1.0, 1.5))
    return [
        (
            suffix,
            words,
            {
                "family": family,
                **phase_parameters.mixture(
                    phase, density, solutes * rich, 1.0 if solutes else rich
                ),
                "atoms": round(atoms * size),
                "box_ratio": [1.0, 1.0, long],
                **quench,
            },
        )
        for suffix, words, density, size, rich, long in rows
    ]


def network(phase: Phase) -> str | None:
    """The published potential that can melt and quench a glass of single atoms.

    Parameters
    ----------
    phase : of any kind

    Returns
    -------
    its name; None where there is none, or nothing to quench
    """
    if phase.kind != "amorphous" or not all(part.formula for part in phase.substances):
        return None
    present = substances.elements(phase)
    if len(present) == 1 and present <= set(stillinger_weber.TABLE):
        return "stillinger-weber"
    if tersoff.published(present):
        return "tersoff"
    if "O" not in present or len(present) == 1:
        return None
    tables = {"pedone": set(TABLE), "guillot-sator": set(CHARGES)}
    return next((name for name, covered in tables.items() if present <= covered), None)


def cluster(phase: Phase) -> list[VariantDraft]:
    """Particle: diameter and shape."""
    size = phase.diameter or 12.0
    less = 0.8 if size >= FEW else 1.1  # of a dozen atoms hardly anything would be left
    rows = [
        ("ball", "sphere", 1.0, "spherical", 1.0),
        ("small", f"sphere, {less:g}, lattice 1 % shorter", less, "spherical", 0.99),
        ("large", "sphere, 1.2, lattice 0.5 % longer", 1.2, "spherical", 1.005),
        ("cube", "cube", less, "cubic", 1.0),
        ("dense", "sphere, lattice 3 % shorter", 1.0, "spherical", 0.97),
        ("held-out", "sphere, 1.1, lattice 1 % longer", 1.1, "spherical", 1.01),
    ]
    return [
        (
            suffix,
            words,
            {
                "family": "cluster",
                **phase_parameters.particle(phase, size * factor, shape),
                "scale": scale,
            },
        )
        for suffix, words, factor, shape, scale in rows
    ]


def polymer(material: Material, phase: Phase, without: bool) -> list[VariantDraft]:
    """Chains: length, number, density, what is added."""
    added = 0.0 if without or not phase.substances else 1.0
    units, number = pairs.chain_size(material, phase, added)
    rows = [
        ("chains", "likely density", 1.0, units, number, 1.0),
        ("thin", "7 % less dense", 0.93, units, number, 1.0),
        ("dense", "5 % denser", 1.05, units, number, 1.0),
        ("short", "half the length", 1.0, max(1, units // 2), 2 * number, 1.0),
        ("rich", "twice what is added", 1.0, units, number, 2.0)
        if added
        else ("long", "1.5 times the length", 1.0, -(-3 * units // 2), number, 1.0),
        ("held-out", "2 % less dense, a tenth longer", 0.98, units + -(-units // 10), number, 1.0),
    ]
    return [
        (
            suffix,
            words,
            {
                "family": "polymer",
                **phase_parameters.chains(phase, density, length, chains, added * rich),
            },
        )
        for suffix, words, density, length, chains, rich in rows
    ]


def user_file(phase: Phase) -> list[VariantDraft]:
    """A file of the user: as it is, and its cell a little smaller and larger."""
    rows = [("dense", 0.98), ("wide", 1.02), ("tight", 0.97), ("loose", 1.03), ("held-out", 1.01)]
    scaled = {"family": "solid", "file": phase.file, "cell": "as-given"}
    return [
        ("file", "as in the file", {"family": "other", "file": phase.file}),
        *(
            (suffix, f"cell of the file times {scale:g}", {**scaled, "scale": scale})
            for suffix, scale in rows
        ),
    ]
