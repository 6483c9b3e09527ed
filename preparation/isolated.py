"""Isolated atoms and dimers of a task's elements: where each belongs in the curriculum.

They give the potential its zero and the repulsion that MD visits too late. Each belongs to the
first category whose phases hold its elements; elements that never meet make no dimer. Spin is the
reference's affair: a restricted method labels an open-shell atom as it can.
"""

from itertools import combinations_with_replacement

from ase.data import atomic_numbers, covalent_radii

from campaign.config import Task
from campaign.files import parse
from campaign.material import Material
from preparation import phase_parameters, substances
from preparation.categories import topics
from preparation.structure_plan import Variant

# of the sum of the covalent radii: from a double bond's length inwards. Further apart bare atoms
# attract each other, and a potential that has seen them so makes H2 of the hydrogens of water
DISTANCES = {"near": 0.75, "far": 0.95}


def places(task: Task) -> dict[str, list[tuple[str, ...]]]:
    """Atoms and pairs of elements by the name of their category; none where none are wanted."""
    material = task.material or Material()
    placed: dict[str, list[tuple[str, ...]]] = {}
    if not material.isolated:
        return placed
    elements_of = {phase.name: substances.elements(phase) for phase in material.phases}
    # what only files or databases hold
    unseen = set(task.species).difference(*elements_of.values())
    elements_of = {
        p.name: elements_of[p.name] | (unseen if phase_parameters.outside(p) else set())
        for p in material.phases
    }
    wanted = [(e,) for e in task.species]
    wanted += list(combinations_with_replacement(task.species, 2))
    for topic in topics(material, task.temperature):
        present = set().union(*(elements_of[name] for name in topic.phases))
        own = [one for one in wanted if set(one) <= present]
        placed[topic.name] = own
        wanted = [one for one in wanted if one not in own]
    return placed


def single_points(wanted: list[tuple[str, ...]]) -> list[Variant]:
    """One structure an atom, two a dimer."""
    made = []
    for elements in wanted:
        label = "-".join(elements).lower()
        if len(elements) == 1:
            made.append(_variant(f"atom-{label}", f"isolated {elements[0]}", elements, None))
            continue
        radii = sum(float(covalent_radii[atomic_numbers[e]]) for e in elements)
        for word, factor in DISTANCES.items():
            length = round(factor * radii, 2)
            description = f"{'-'.join(elements)} alone, {length:g} A apart"
            made.append(_variant(f"dimer-{label}-{word}", description, elements, length))
    return made


def _variant(
    name: str, description: str, elements: tuple[str, ...], length: float | None
) -> Variant:
    parameters = {"family": "isolated", "elements": list(elements), "distance_angstrom": length}
    data = {"id": name, "description": description, "parameters": parameters}
    return parse(Variant, data, f"structures/plan.yaml: {name}")
