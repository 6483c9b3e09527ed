"""Which kinds of structures a material needs: components, pairs that meet, the whole system.

A potential learns local surroundings, so interfaces are taught as what they are and only after
their components (paper, sections 3.2.1 and 4.3). Everything here follows from task.yaml alone.
"""

from dataclasses import dataclass
from typing import Literal

from atomistics.contract import Name
from campaign.config import Subsystem
from campaign.material import Material, Phase
from preparation.quantities import kelvin_in
from preparation.sentence import meanings
from preparation.substances import elements, melting

Form = Literal["bulk", "surface", "solvent", "defects", "adsorbed", "pair", "full"]
CRYSTALLINE = ("crystal", "particle", "other")
FULL = "full"
MEETING = ("pair", "adsorbed")
LONGEST = 64


@dataclass(frozen=True)
class Topic:
    """A category before its structures: which phases, in which form, how it is learnt."""

    name: Name
    form: Form
    phases: tuple[str, ...]
    stage: int
    role: Literal["component", "interface", "target"]
    max_temperature: int

    @property
    def subsystem(self) -> Subsystem:
        """As task.yaml has it."""
        return Subsystem(
            name=self.name, stage=self.stage, role=self.role, max_temperature=self.max_temperature
        )


def topics(material: Material, temperature: int) -> list[Topic]:
    """The categories in the order of their stages; the last stage is the target."""
    parts: list[tuple[Name, Form, tuple[str, ...]]] = []
    for phase in material.phases:
        parts += [(name, form, (phase.name,)) for name, form in _forms(phase)]
    parts += [(f"{a}-{b}"[:LONGEST], "pair", (a, b)) for a, b in material.meetings]
    parts = list({_content(material, part): part for part in reversed(parts)}.values())[::-1]
    layers = tuple(material.layers or ())
    if len(layers) > 2:
        parts.append((FULL, "full", layers))
    topics_made = []
    for name, form, phases in parts:
        stage, role = _place(form, any(f in MEETING for _, f, _ in parts), len(layers) > 2)
        of_form = [material.phase(p) for p in phases]
        hottest = _ceiling(of_form, form, role, temperature, material.procedure or "")
        topics_made.append(Topic(name, form, phases, stage, role, hottest))
    return sorted(topics_made, key=lambda topic: topic.stage)


def _forms(phase: Phase) -> list[tuple[Name, Form]]:
    """A phase as bulk, before it without its solutes, after it its surface."""
    mixed: list[tuple[Name, Form]] = [(phase.name, "bulk")]
    if _solvent(phase):
        word = "pure" if phase.kind == "polymer" else "solvent"
        mixed.insert(0, (f"{phase.name[:55]}_{word}", "solvent"))
    if phase.kind == "crystal" and phase.surface and not phase.sheets:
        mixed.append((f"{phase.name[:55]}_surface", "surface"))
    if phase.defects:
        mixed.append((f"{phase.name[:55]}_defects", "defects"))
    if phase.adsorbates:
        mixed.append((f"{phase.name[:55]}_adsorbed", "adsorbed"))
    return mixed


def _content(material: Material, part: tuple[Name, Form, tuple[str, ...]]) -> tuple[str, ...]:
    """What a category is learnt from: two grains of one crystal have one bulk."""
    _, form, names = part
    others = {"bulk": ("surface", "defects", "adsorbates"), "surface": ("defects", "adsorbates")}
    made = []
    for phase in map(material.phase, names):
        left = {"name", *others.get(form, ())} - ({"surface"} if phase.sheets else set())
        made.append(phase.model_dump_json(exclude=left) if phase.kind == "crystal" else phase.name)
    return form, *sorted(made)


def _solvent(phase: Phase) -> bool:
    """Whether it is worth learning without what is dissolved in it."""
    return (phase.kind == "polymer" and bool(phase.substances)) or any(
        i.molarity is not None for i in phase.substances
    )


def _place(
    form: Form, meetings: bool, full: bool
) -> tuple[int, Literal["component", "interface", "target"]]:
    if form == "full":
        return 3, "target"
    if form in MEETING:
        return (2, "interface") if full else (2, "target")
    if meetings:
        return 1, "component"
    return (1, "component") if form == "solvent" else (2, "target")


def _ceiling(phases: list[Phase], form: Form, role: str, temperature: int, words: str) -> int:
    """Highest sampling temperature, K: 700 above use for solids and melts, 300 where there are
    molecules; the whole system is sampled to twice its use (paper, appendix G: 1000, 800, 600).
    A glass is sampled as hot as it melts, or as the procedure's words say; where they speak of
    reactions, molecules are sampled as hot as solids, for bonds to break."""
    said, reacting = kelvin_in(words) or 0, "reactions" in meanings(words)
    soft = any(p.kind in ("liquid", "polymer", "molecule") or _molecular(p) for p in phases)
    soft = soft or form == "adsorbed"
    hottest = temperature + (300 if soft and not reacting else 700)
    if reacting:
        return hottest
    if role != "interface" and len(phases) == 1 and phases[0].kind == "amorphous" and not soft:
        melts = melting(phases[0])
        if melts is not None or said:  # a glass is what its melt froze to
            return max(hottest, said, round(1.1 * (melts or 0)))
    return max(temperature + 50, min(hottest, 2 * temperature)) if role == "target" else hottest


def _molecular(phase: Phase) -> bool:
    """Whether an amorphous phase holds molecules with hydrogen, which break first."""
    return phase.kind == "amorphous" and "H" in elements(phase)
