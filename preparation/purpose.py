"""What the properties and the procedure a person names come to: measurements, targets, protocols.

Words are those of config/sentences.yaml; what is not in that table is told, never guessed.
"""

from typing import Any

from atomistics.md.protocol import StagedProtocol
from atomistics.properties.asked import CRYSTAL, KINDS, Kind, PropertiesAsked
from atomistics.reference.catalog import NAMED
from atomistics.yaml_files import read_yaml
from campaign import TOOLKIT
from campaign.config import PropertyTarget, Targets, Task
from campaign.files import parse
from campaign.material import Material, Phase
from preparation import substances
from preparation.categories import Topic
from preparation.phase_parameters import outside
from preparation.quantities import kelvin_in
from preparation.sentence import meanings

# how near the value of a kind is asked to be to the reference's: name, key of the bound, bound
BOUNDS: dict[Kind, list[tuple[str, str, float]]] = {
    "lattice": [("volume", "relative", 0.02)],
    "eos": [("bulk_modulus", "relative", 0.1)],
    "elastic": [("elastic_bulk_modulus", "relative", 0.1), ("shear_modulus", "relative", 0.15)],
    "phonons": [("phonon_highest", "relative", 0.05), ("phonon_mean", "relative", 0.05)],
    "cohesion": [("cohesive_energy", "relative", 0.05)],
    "adsorption": [("adsorption", "absolute", 0.1)],
    "adhesion": [("work_of_separation", "relative", 0.15)],
    "vaporisation": [("heat_of_vaporisation", "relative", 0.1)],
}
DIFFUSION = 0.5  # of the reference's own; or inside both error bars
FORMING_PS = 5.0  # in which a liquid comes to the structure and density of its own potential
MOBILE = ("liquid", "melt", "polymer")
PROTOCOLS = TOOLKIT / "config/protocols"


def meant(material: Material) -> set[str]:
    """Kinds of properties, and names of protocols, that the words of a task stand for."""
    words = [*material.properties, material.procedure or "", material.objective or ""]
    return set().union(*map(meanings, words))


def unknown(material: Material) -> list[str]:
    """Properties that no word of the table stands for: nothing measures them."""
    return [text for text in material.properties if not meanings(text)]


def asked_of(material: Material, topics: list[Topic], base: Targets) -> tuple[list, Targets]:
    """Subsystems with what is measured on their held-out structures, and the targets with it."""
    named = set().union(*map(meanings, material.properties))
    subsystems, wanted = [], []
    for topic in topics:
        phase = material.phase(topic.phases[0])
        solid = all(material.phase(name).kind == "crystal" for name in topic.phases)
        kinds = [k for k in _possible(topic, phase, solid) if k in named]
        asked = None
        if kinds:
            given: dict[str, Any] = {"kinds": kinds}
            if "surfaces" in kinds and phase.surface:
                given["planes"] = [[*phase.surface[:2], phase.surface[-1]]]
            asked = PropertiesAsked(**given)
            wanted += [t for kind in kinds for t in _targets(kind, asked, topic.name, phase)]
        subsystems.append(topic.subsystem.model_copy(update={"properties": asked}))
    mobile = any(p.kind in MOBILE for p in material.phases)
    program = material.reference in NAMED and NAMED[material.reference].program
    asked_too = {
        "properties": wanted,
        "diffusion_deviation": DIFFUSION if mobile and "diffusion" in named else None,
        # nobody pays a DFT code for thousands of steps: the report says how long was compared
        "compared_ps": FORMING_PS if mobile and not program else None,
    }
    return subsystems, base.model_copy(update=asked_too)


def _possible(topic: Topic, phase: Phase, solid: bool) -> list[Kind]:
    """Kinds that can be measured on a category's structures: of whole crystals, of liquids, of
    molecules on a face, of two crystals on each other."""
    if topic.form == "adsorbed":
        return ["adsorption"]
    if topic.form == "pair" and solid:
        return ["adhesion"]
    if topic.form != "bulk" or phase.sheets:
        return []
    if phase.kind == "crystal" and not phase.substitutions:
        return [kind for kind in KINDS if kind in CRYSTAL]
    return ["vaporisation"] if phase.kind == "liquid" and len(phase.substances) == 1 else []


def _targets(kind: Kind, asked: PropertiesAsked, name: str, phase: Phase) -> list[PropertyTarget]:
    bounds = list(BOUNDS.get(kind, []))
    if kind == "surfaces":
        planes = ("".join(map(str, plane)) for plane in asked.planes)
        bounds = [(f"surface_{plane}", "relative", 0.1) for plane in planes]
    elif kind == "vacancy" and not outside(phase):
        compound = len(substances.elements(phase)) > 1
        bounds = [("schottky" if compound else "vacancy", "absolute", 0.2)]
    return [
        PropertyTarget.model_validate({"name": value, "subsystem": name, key: bound})
        for value, key, bound in bounds
    ]


def drafts(task: Task) -> dict[str, StagedProtocol]:
    """Protocols by name that procedure and properties ask for, at the task's temperatures.

    Drafts by the table: a person tries and approves each before a plan may name it.
    """
    material = task.material or Material()
    named = meant(material)
    paths = [path for path in sorted(PROTOCOLS.glob("*.yaml")) if path.stem in named]
    return {path.stem: _at_temperatures(read_yaml(path), task) for path in paths}


def _at_temperatures(data: dict[str, Any], task: Task) -> StagedProtocol:
    """A shipped protocol between the temperature of use and the one the procedure names, or the
    highest that the task samples."""
    words = (task.material.procedure if task.material else None) or ""
    ceilings = [s.max_temperature for s in task.subsystems]
    target = max(s.max_temperature for s in task.subsystems if s.role == "target")
    said, least = kelvin_in(words), task.temperature + 50
    keys = {"temperature": task.temperature, "low": task.temperature, "final": task.temperature}
    keys |= {"high": max(least, said or target), "melt": max(least, said or max(ceilings))}
    stages = [{key: keys.get(key, value) for key, value in s.items()} for s in data["stages"]]
    return parse(StagedProtocol, {**data, "stages": stages}, "protocols")
