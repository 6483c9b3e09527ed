"""The structure plan by rules: six variants a category, the same for the same task.yaml.

Variants move one thing at a time around the likely state: density and lattice by a few per cent,
size, composition, shape of the cell, thickness, gap. The last one is held out: inside the range
the others span, in a cell or arrangement none of them has.
"""

from campaign.config import Task
from campaign.errors import UserError
from campaign.files import parse
from campaign.material import Material, Phase
from preparation import pairs, phase_parameters
from preparation.categories import Topic, topics
from preparation.phase_parameters import Parameters
from preparation.structure_plan import Category, StructurePlan, Variant

Draft = tuple[str, str, Parameters]
LARGER = 1.5


def propose(task: Task, seed: int = 1) -> StructurePlan:
    """The plan for a task that says what it is made of."""
    if task.material is None:
        raise UserError("task.yaml: material: missing; `planner prepare` asks for it")
    made = [category(task, topic) for topic in topics(task.material, task.temperature)]
    return parse(StructurePlan, {"seed": seed, "categories": made}, "structures/plan.yaml")


def category(task: Task, topic: Topic) -> Category:
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
    )


def _variant(topic: Topic, draft: Draft, held_out: bool) -> Variant:
    suffix, description, parameters = draft
    name = f"{topic.name[: 63 - len(suffix)]}-{suffix}"
    data = {"id": name, "description": description, "held_out": held_out, "parameters": parameters}
    return parse(Variant, data, f"structures/plan.yaml: {name}")


def _drafts(material: Material, topic: Topic) -> list[Draft]:
    phases = [material.phase(name) for name in topic.phases]
    if topic.form == "pair":
        return pairs.pair(material, phases[0], phases[1])
    if topic.form == "full":
        return pairs.full(material, phases)
    if topic.form == "surface":
        return surface(material, phases[0])
    return _component(material, phases[0], topic.form == "solvent")


def _component(material: Material, phase: Phase, without: bool) -> list[Draft]:
    if phase.kind == "crystal":
        return solid(material, phase)
    if phase.kind == "particle":
        return cluster(phase)
    if phase.kind == "polymer":
        return polymer(material, phase, without)
    return user_file(phase) if phase.kind == "other" else fluid(material, phase, without)


def solid(material: Material, phase: Phase) -> list[Draft]:
    """Crystal: lattice -3 to +4 %, two cell sizes."""
    edge = phase_parameters.width(material)
    rows = [
        ("bulk", "reference lattice", 1.0, 0.8),
        ("dense", "lattice 3 % shorter", 0.97, 0.8),
        ("wide", "lattice 4 % longer", 1.04, 0.8),
        ("large", "larger cell, lattice 1.5 % longer", 1.015, 1.1),
        ("large-dense", "larger cell, lattice 2 % shorter", 0.98, 1.1),
        ("held-out", "larger cell, lattice 1 % longer", 1.01, 1.0),
    ]
    base = {"family": "solid", **phase_parameters.crystal(phase)}
    return [
        (suffix, told, {**base, "scale": scale, "min_length_angstrom": round(edge * size, 1)})
        for suffix, told, scale, size in rows
    ]


def surface(material: Material, phase: Phase) -> list[Draft]:
    """Slab under vacuum: thickness, width, strain; a lattice each, as slabs grow by whole units."""
    edge = phase_parameters.width(material)
    rows = [
        ("thin", "slab of 6 A, lattice 1 % shorter", 6.0, 0.9, 0.99),
        ("slab", "slab of 9 A", 9.0, 0.9, 1.0),
        ("thick", "slab of 14 A, lattice 0.5 % longer", 14.0, 0.9, 1.005),
        ("wide", "slab of 9 A, wider, lattice 1.5 % longer", 9.0, 1.3, 1.015),
        ("compressed", "slab of 9 A, lattice 2 % shorter", 9.0, 0.9, 0.98),
        ("held-out", "slab of 11 A, lattice 1 % longer", 11.0, 0.9, 1.01),
    ]
    return [
        (
            suffix,
            told,
            {
                "family": "solid-surface",
                **phase_parameters.slab(phase, thickness, round(edge * size, 1)),
                "scale": scale,
                "vacuum_angstrom": 15.0,
            },
        )
        for suffix, told, thickness, size, scale in rows
    ]


def fluid(material: Material, phase: Phase, without: bool) -> list[Draft]:
    """Liquid, melt or glass: density, size, shape, composition."""
    dissolved = [i for i in phase.substances if i.molarity is not None]
    solutes = 0.0 if without or not dissolved else 1.0
    atoms = phase_parameters.solute_atoms(phase, material.atoms, solutes)
    family = "amorphous" if phase.kind == "amorphous" else "molecule"
    rows = [
        ("box", "likely density", 1.0, 1.0, 1.0, 1.0),
        ("thin", "5 % less dense", 0.95, 1.0, 1.0, 1.0),
        ("dense", "5 % denser", 1.05, 1.0, 1.0, 1.0),
        ("large", "larger box", 1.0, LARGER, 1.0, 1.0),
        ("held-out", "2 % less dense, elongated", 0.98, 1.2, 1.0, 1.3),
    ]
    if solutes:
        rows.insert(4, ("rich", "1.5 times the solute", 1.0, 1.0, 1.5, 1.0))
    elif len(phase.substances) - len(dissolved) > 1:
        rows.insert(4, ("rich", "1.5 times the first component", 1.0, 1.0, 1.5, 1.0))
    else:
        rows.insert(4, ("long", "elongated box", 1.0, 1.2, 1.0, 1.5))
    return [
        (
            suffix,
            told,
            {
                "family": family,
                **phase_parameters.mixture(
                    phase, density, solutes * rich, 1.0 if solutes else rich
                ),
                "atoms": round(atoms * size),
                "box_ratio": [1.0, 1.0, long],
            },
        )
        for suffix, told, density, size, rich, long in rows
    ]


def cluster(phase: Phase) -> list[Draft]:
    """Particle: diameter and shape."""
    size = phase.diameter or 12.0
    rows = [
        ("ball", "sphere", 1.0, "spherical", 1.0),
        ("small", "sphere, 0.8, lattice 1 % shorter", 0.8, "spherical", 0.99),
        ("large", "sphere, 1.2, lattice 0.5 % longer", 1.2, "spherical", 1.005),
        ("cube", "cube", 0.8, "cubic", 1.0),
        ("dense", "sphere, lattice 3 % shorter", 1.0, "spherical", 0.97),
        ("held-out", "sphere, 1.1, lattice 1 % longer", 1.1, "spherical", 1.01),
    ]
    return [
        (
            suffix,
            told,
            {
                "family": "cluster",
                **phase_parameters.particle(phase, size * factor, shape),
                "scale": scale,
            },
        )
        for suffix, told, factor, shape, scale in rows
    ]


def polymer(material: Material, phase: Phase, without: bool) -> list[Draft]:
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
        ("held-out", "one chain more", 0.98, units, number + 1, 1.0),
    ]
    return [
        (
            suffix,
            told,
            {
                "family": "polymer",
                **phase_parameters.chains(phase, density, length, chains, added * rich),
            },
        )
        for suffix, told, density, length, chains, rich in rows
    ]


def user_file(phase: Phase) -> list[Draft]:
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
