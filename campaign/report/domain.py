"""Domain of validity: what the potential has seen, and what it has never seen."""

from dataclasses import dataclass, field

from atomistics.properties.asked import kind_of
from campaign.actions.sample import Sample, SampleResult
from campaign.actions.select_data import SelectDataResult
from campaign.report.story import Story
from campaign.results import Range
from campaign.state import SubsystemState

KINDS_IN_WORDS = {
    "lattice": "Lattice parameters of the crystal at rest",
    "eos": "Equations of state",
    "elastic": "Elastic constants",
    "phonons": "Phonons",
    "vacancy": "Vacancy energies",
    "surfaces": "Surface energies",
    "adsorption": "Adsorption energies",
    "adhesion": "Works of separation of interfaces",
}
NEVER_TESTED = (
    "Migration energies, and interface energies against the bulk: no action measures them.",
    "Charged cells, magnetic order, applied fields; reactions the sampled MD did not go through.",
)


@dataclass
class Sampled:
    """What was drawn of one subsystem (or of all) into the data the potential was fitted to."""

    structures: set[str] = field(default_factory=set)
    temperatures: set[int] = field(default_factory=set)
    ensembles: set[str] = field(default_factory=set)
    scales: set[float] = field(default_factory=set)
    rattled: bool = False

    def add(self, section: Sample, subsystem: str | None = None) -> None:
        """Take in the groups of one sampling (of `subsystem` only)."""
        for group in section.groups:
            if subsystem not in (None, group.subsystem):
                continue
            self.structures.update(group.structures)
            self.temperatures.update(group.temperatures if group.ensembles else ())
            self.ensembles.update(group.ensembles if group.temperatures else ())
            self.scales.update(section.compression)
            self.rattled |= section.rattle > 0


@dataclass
class Part:
    """One subsystem of the domain: training data, and ranges of its reference MD."""

    subsystem: SubsystemState
    sampled: Sampled
    frames: int
    max_grade: float | None
    density: Range | None
    energy: Range | None
    min_distance: float | None


@dataclass
class Domain:
    """Where the potential was trained and tested, and where it was not.

    `leaked` are structures it was evaluated on although frames sampled from them trained it.
    """

    parts: list[Part]
    all: Sampled
    never: list[str]
    leaked: list[str]


def domain(story: Story) -> Domain:
    """The domain of validity of the verdict's model."""
    samplings = _samplings(story)
    everything = Sampled()
    for section, names in samplings:
        for name in names:
            everything.add(section, name)
    parts = [_part(story, subsystem, samplings) for subsystem in story.state.subsystems]
    leaked = sorted(everything.structures & set(story.evaluated()))
    return Domain(parts, everything, _never(story, parts, everything), leaked)


def _samplings(story: Story) -> list[tuple[Sample, set[str]]]:
    """Samplings behind the model's data sets, each with the subsystems labelled from it."""
    used = set(story.model.datasets) if story.model else set()
    samplings: list[tuple[Sample, set[str]]] = []
    for number, result in story.results.items():
        if isinstance(result, SampleResult) and result.dataset in used:
            names = {g.subsystem for g in result.groups if g.snapshots}
            samplings.append((story.plans[number].parameters, names))
        elif isinstance(result, SelectDataResult) and result.dataset in used:
            names = {g.subsystem for g in result.groups if g.labels}
            origins = [story.plans.get(int(sample[1:])) for sample in result.samples]
            samplings += [(plan.sample, names) for plan in origins if plan and plan.sample]
    return samplings


def _part(
    story: Story, subsystem: SubsystemState, samplings: list[tuple[Sample, set[str]]]
) -> Part:
    name = subsystem.name
    sampled = Sampled()
    for section, names in samplings:
        if name in names:
            sampled.add(section, name)
    ranges = [r for r in story.state.reference if r.subsystem == name and r.status == "ok"]
    groups = [g for s in story.state.samples for g in s.groups if g.subsystem == name]
    return Part(
        subsystem,
        sampled,
        frames=sum(
            e.frames
            for e in (story.model.errors if story.model else ())
            if e.split == "train" and e.subsystem == name
        ),
        max_grade=max((g.max_grade for g in groups if g.max_grade is not None), default=None),
        density=_hull([r.density for r in ranges]),
        energy=_hull([r.energy for r in ranges]),
        min_distance=min(
            (r.min_distance for r in ranges if r.min_distance is not None), default=None
        ),
    )


def _hull(ranges: list[Range | None]) -> Range | None:
    given = [r for r in ranges if r is not None]
    if not given:
        return None
    return Range(low=min(r.low for r in given), high=max(r.high for r in given))


def _never(story: Story, parts: list[Part], everything: Sampled) -> list[str]:
    """Sentences on what lies outside the training data or was never tested."""
    task, config = story.campaign.task, story.campaign.config
    said = [f"Any element other than {', '.join(task.species)}."]
    if everything.temperatures:
        low, high = min(everything.temperatures), max(everything.temperatures)
        said.append(f"Temperatures below {low} K or above {high} K: no training data.")
        if not low <= task.temperature <= high:
            said.append(f"The intended {task.temperature} K lies outside the sampled range.")
    if "npt" in everything.ensembles:
        said.append(f"Pressures other than {config.md.pressure:g} GPa in NPT MD.")
    else:
        said.append("Constant pressure: no NPT run is in the training data.")
    if everything.scales:
        low, high = min(everything.scales), max(everything.scales)
        said.append(f"Cells scaled in length beyond {low:g} to {high:g} of the start.")
    else:
        said.append("Compressed or expanded cells: no such series is in the training data.")
    for part in parts:
        said += _never_of(story, part)
    if not any(evaluated.diffusion for _, evaluated in story.evaluated().values()):
        said.append("Diffusion: not measured for this potential.")
    held = [s for _, s in story.evaluated().values() if s.compared_ps is not None]
    if brief := [s.compared_ps for s in held if s.compared_ps < s.picoseconds]:
        said.append(
            f"Equilibrium density and slow change of structure: held against {min(brief):g} ps of "
            "reference MD, from the same start."
        )
    measured = {
        kind_of(p.name)
        for _, s in story.evaluated().values()
        if s.properties
        for p in s.properties.values
        if p.model is not None
    }
    if missing := [words for kind, words in KINDS_IN_WORDS.items() if kind not in measured]:
        listed = ", ".join([missing[0], *(w[0].lower() + w[1:] for w in missing[1:])])
        said.append(f"{listed}: not measured for this potential.")
    said.append(
        f"Forces between atoms more than {config.mlp.cutoff:g} Å apart, long-range electrostatics "
        "and dispersion among them: the potential is local."
    )
    return [*said, *NEVER_TESTED]


def _never_of(story: Story, part: Part) -> list[str]:
    subsystem, temperatures = part.subsystem, part.sampled.temperatures
    name, said = subsystem.name, []
    if not part.frames:
        return [f"{name}: no frame of it is in the training data."]
    if temperatures and max(temperatures) < subsystem.max_temperature:
        foreseen = subsystem.max_temperature
        said.append(f"{name}: above {max(temperatures)} K, though the task foresaw {foreseen} K.")
    if not subsystem.rounds:
        said.append(f"{name}: its MD with a model was never sampled.")
    fraction = subsystem.early_stop_fraction or 0.0
    if fraction > story.campaign.config.rules.unstable_above:
        kelvin = subsystem.sampled_temperature
        said.append(f"{name}: up to {kelvin} K {fraction:.0%} of the last runs stopped early.")
    evaluated = [s for _, s in story.evaluated().values() if s.subsystem == name]
    if bare := [s.structure for s in evaluated if not s.compared]:
        said.append(f"{name}: no reference MD of {', '.join(bare)} to hold density, RDF against.")
    if not evaluated:
        said.append(f"{name}: this potential was never evaluated on it.")
    said += [
        f"{s.structure}: its evaluation did not last ({s.stop or s.status}, {s.picoseconds:g} ps)."
        for s in evaluated
        if s.status != "ok"
    ]
    return said
