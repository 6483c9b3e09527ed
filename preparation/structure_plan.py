"""structures/plan.yaml: which structures are built, by category, before anything is built.

A category is a subsystem of task.yaml; its variants differ in size, density, composition,
orientation or gap, and exactly one of them is held out from training. Parameters are those of the
builders (atomistics.builders.families), so a plan that validates can be built.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atomistics.builders.families import Parameters, table_family
from atomistics.contract import Name, Strict, Temperature
from atomistics.yaml_files import format_yaml
from campaign.config import Task
from campaign.errors import UserError
from campaign.files import sha256

FILE = "plan.yaml"
Varied = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()+_.,:/%*=<>|-]{0,119}$"),
    Field(description="what this variant is and how it differs, for people"),
]


class Variant(Strict):
    """One structure: id, words for people, and a builder's parameters."""

    id: Name
    description: Varied
    held_out: bool = False
    parameters: Parameters

    @property
    def rests_on(self) -> list[str]:
        """Ids of earlier structures that it is made from."""
        return _referred(self.parameters.model_dump())


class Category(Strict):
    """Structures of one subsystem."""

    name: Name
    stage: int = Field(ge=1, le=20, description="components first, the whole system last")
    role: Literal["component", "interface", "target"]
    max_temperature: Temperature = Field(description="highest sampling temperature, K")
    source: Annotated[str, StringConstraints(pattern=r"^[a-z_:]{1,64}$")] = Field(
        default="rules", description="who wrote the variants: rules, model, person"
    )
    variants: list[Variant] = Field(min_length=2, max_length=20)
    single_points: list[Variant] = Field(
        default=[], max_length=200, description="isolated atoms and dimers, labelled as they stand"
    )

    @model_validator(mode="after")
    def _one_held_out(self) -> "Category":
        held_out = [v.id for v in self.variants if v.held_out]
        if len(held_out) != 1:
            raise ValueError(f"{self.name}: held_out: exactly one variant (now: {held_out})")
        if any(v.held_out for v in self.single_points):
            raise ValueError(f"{self.name}: single_points: none can be held out")
        return self


class StructurePlan(Strict):
    """Every structure of a campaign, components first."""

    seed: int = Field(default=1, ge=0, lt=2**31, description="of every random number")
    categories: list[Category] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _coherent(self) -> "StructurePlan":
        names = [c.name for c in self.categories]
        if len(set(names)) < len(names):
            raise ValueError("categories: every name once")
        if [c.stage for c in self.categories] != sorted(c.stage for c in self.categories):
            raise ValueError("categories: in the order of their stages")
        ids: set[str] = set()
        for variant in self.structures:
            if variant.id in ids:
                raise ValueError(f"{variant.id}: every id once")
            for name in variant.rests_on:
                if name not in ids:
                    raise ValueError(f"{variant.id}: structure {name} is not built before it")
            ids.add(variant.id)
        return self

    @property
    def variants(self) -> list[Variant]:
        """All variants in the order they are built."""
        return [v for c in self.categories for v in c.variants]

    @property
    def structures(self) -> list[Variant]:
        """Everything that is built: the variants, then the single points."""
        return [*self.variants, *(v for c in self.categories for v in c.single_points)]

    def seed_of(self, variant: Variant) -> int:
        """The variant's own seed: neither order nor company matters."""
        return int(sha256(f"{self.seed}:{variant.id}")[:8], 16) % 2**31

    def agree_with(self, task: Task) -> None:
        """UserError unless categories and the task's subsystems are the same."""
        mine = {c.name: (c.stage, c.role, c.max_temperature) for c in self.categories}
        theirs = {s.name: (s.stage, s.role, s.max_temperature) for s in task.subsystems}
        if mine != theirs:
            name = next(n for n in {**mine, **theirs} if mine.get(n) != theirs.get(n))
            raise UserError(
                f"structures/{FILE}: category {name}: {_size_words(mine.get(name))} here,"
                f" {_size_words(theirs.get(name))} in task.yaml subsystems; make them the same"
            )


def _size_words(facts: tuple[int, str, int] | None) -> str:
    return f"stage {facts[0]}, {facts[1]}, {facts[2]} K" if facts else "absent"


def _referred(value: Any) -> list[str]:
    """Ids of earlier structures named anywhere in parameters."""
    if isinstance(value, list):
        return [name for entry in value for name in _referred(entry)]
    if not isinstance(value, dict):
        return []
    own = [value["structure"]] if isinstance(value.get("structure"), str) else []
    if isinstance(value.get("particle"), str):
        own.append(value["particle"])
    return own + [name for entry in value.values() for name in _referred(entry)]


def short(parameters: Parameters) -> dict[str, Any]:
    """Parameters without the builders' defaults; every `family` stays, for it tells them apart."""
    whole, slim = (parameters.model_dump(mode="json", exclude_defaults=e) for e in (False, True))
    return _families_kept(whole, slim)


def _families_kept(whole: Any, slim: Any) -> Any:
    if isinstance(slim, list):
        return [_families_kept(w, s) for w, s in zip(whole, slim, strict=True)]
    if not isinstance(slim, dict):
        return slim
    return {
        key: _families_kept(value, slim[key]) if key in slim else value
        for key, value in whole.items()
        if key in slim or key == "family"
    }


def dump(plan: StructurePlan) -> str:
    """The plan as YAML, as short as it can be read back."""
    data: dict[str, Any] = {"seed": plan.seed, "categories": []}
    for category in plan.categories:
        entry = category.model_dump(exclude={"variants", "single_points"})
        entry["variants"] = [_dumped(v) for v in category.variants]
        if category.single_points:
            entry["single_points"] = [_dumped(v) for v in category.single_points]
        data["categories"].append(entry)
    return format_yaml(data)


def _dumped(variant: Variant) -> dict[str, Any]:
    return {**variant.model_dump(exclude={"parameters"}), "parameters": short(variant.parameters)}


def table(plan: StructurePlan) -> str:
    """The plan as a table: a line a structure."""
    lines = [f"{'stage':<6}{'category':<26}{'structure':<40}{'family':<16}description"]
    for category in plan.categories:
        for number, variant in enumerate(category.variants):
            head = f"{category.stage:<6}{category.name:<26}" if not number else " " * 32
            mark = " (held out)" if variant.held_out else ""
            family = table_family(variant.parameters)
            lines.append(f"{head}{variant.id:<40}{family:<16}{variant.description}{mark}")
    held_out = sum(v.held_out for v in plan.variants)
    single = [v.id for c in plan.categories for v in c.single_points]
    counted = f"{len(plan.categories)} categories, {len(plan.variants)} structures"
    lines.append(f"{counted}, {held_out} held out")
    if single:
        shown = ", ".join(single[:4]) + (", ..." if len(single) > 4 else "")
        lines.append(f"{len(single)} isolated atoms and dimers, one reference call each: {shown}")
    return "\n".join(lines)
