"""Confirmed answers made into task.yaml."""

from campaign.config import Targets, Task
from campaign.errors import UserError
from campaign.material import Answers, Material
from preparation import substances
from preparation.categories import topics
from preparation.notation import slug
from preparation.purpose import asked_of

TARGETS = Targets(
    force_mae=0.15,
    energy_mae=0.01,
    density_deviation=0.03,
    density_bias=0.008,  # measured on frames and a compressibility with errors of their own: 1 %
    rdf_overlap=0.8,
    stable_ps=10.0,
)


def task_of(answers: Answers, elements_of_files: set[str]) -> Task:
    """The task; species in alphabetical order, so that answers in any order give one potential."""
    if answers.temperature is None:
        raise UserError("answers: temperature: missing")
    sentence = answers.sentence or answers.objective or "structure"
    values = answers.model_dump(exclude_unset=True, exclude={"sentence", "name", "temperature"})
    material = Material.model_validate(values)
    species = set(elements_of_files).union(*(substances.elements(p) for p in answers.phases))
    subsystems, targets = asked_of(material, topics(material, answers.temperature), TARGETS)
    sentences = [sentence, answers.objective, answers.procedure]
    return Task(
        name=answers.name or slug(sentence)[:40].rstrip("-_") or "task",
        description=". ".join(dict.fromkeys(t.rstrip(". ") for t in sentences if t)) + ".",
        species=sorted(species),
        temperature=answers.temperature,
        subsystems=subsystems,
        targets=targets,
        material=material,
    )
