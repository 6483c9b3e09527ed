"""The steps of a preparation in turn; each leaves a file, and what a file says is not done again.

dialogue.json -> task.yaml -> structures/plan.yaml -> config.yaml -> structures -> campaign. Between
any two a person may edit what was written and give the same command again.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomistics.yaml_files import format_yaml, read_yaml
from campaign import __version__
from campaign.config import Config, Task
from campaign.create import check_methods, copy_own_files, take_over
from campaign.errors import UserError
from campaign.files import dump_yaml, read, sha256, write_text
from campaign.folder import configuration
from campaign.lock import locked
from campaign.material import Answers, CrystalSource, Phase
from campaign.terminal import printable, say
from preparation import dialogue, purpose
from preparation.dialogue import Dialogue, Terminal
from preparation.notation import slug
from preparation.phase_parameters import outside
from preparation.propose import network, propose
from preparation.structure_plan import FILE as PLAN
from preparation.structure_plan import StructurePlan, dump, table
from preparation.substances import elements
from preparation.task import task_of

if TYPE_CHECKING:
    from preparation.construct import BuildSettings

HEAD = (
    "# Written by `planner prepare`; edit what you know better and give the same command again.\n"
)
WRITTEN = ("task.yaml", f"structures/{PLAN}", "config.yaml")
MOLECULAR = ("molecule", "solid-molecule", "liquid-liquid", "polymer", "stack")
PRESSED = [0.8, 0.86, 0.92, 1.0, 1.05]  # lengths; about 2 Å between molecules at 0.8
KSPACING = {"vasp": 0.25, "cp2k": 0.25, "espresso": 0.04}  # 1/Å, pw.x's without 2 pi: cells differ
HOTTER = (0, 300, 700)  # K above use: the first MD of the reference, as far as ceilings allow


@dataclass(frozen=True)
class Options:
    """What the command line asks for beside the folder."""

    answers: Path | None = None
    config: Path | None = None
    planner: str | None = None
    only: str | None = None
    cores: int = 2
    relax: int = 0


def read_line(prompt: str) -> str:
    """A line from the terminal; EOFError at its end."""
    sys.stdout.write(printable(prompt))
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def folder_for(sentence: str | None, answers: Path | None) -> Path:
    """A folder here, named after the sentence or the answers."""
    content = read_yaml(answers) if answers else None
    given = content if isinstance(content, dict) else {}
    name = slug(str(sentence or given.get("name") or given.get("sentence") or ""))[:40].rstrip("-_")
    if not name:
        raise UserError('prepare: say what shall be simulated: planner prepare "SEI of ..." FOLDER')
    return Path(name)


def prepare(folder: Path, sentence: str | None, options: Options) -> None:
    """Everything up to a campaign on which `planner run` works."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "planner prepare"):
        _bring(folder, options)
        config = configuration(folder)
        answers = _answers(folder, sentence, options, config)
        task = _task(folder, answers)
        if options.only == "task":
            return say(f"{folder}/task.yaml: written; planner prepare goes on from it")
        plan = _plan(folder, task, options, config)
        say(table(plan))
        for line in _expected(folder, task, plan):
            say(line)
        if options.only == "plan":
            return say(f"{folder}/structures/{PLAN}: written; planner prepare goes on from it")
        if not options.answers and not (folder / "structures/report.yaml").is_file():
            _agreed(folder)
        failed = _build(folder, task, plan, options)
        campaign = take_over(folder)
        failures = f", {failed} structures failed (structures/report.yaml)" if failed else ""
        say(f"{folder}: campaign '{campaign.task.name}' is ready{failures}; planner run")
        return None


def _bring(folder: Path, options: Options) -> None:
    """The user's configuration and structure files, copied once."""
    if options.config:
        text = options.config.read_text(encoding="utf-8") if options.config.is_file() else None
        if text is None:
            raise UserError(f"{options.config}: no such file")
        here = folder / "config.yaml"
        if here.is_file() and here.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{here}: differs from {options.config}; edit it or choose a new folder"
            )
        write_text(here, text)
    files = options.answers.parent / "files" if options.answers else None
    if files and files.is_dir() and not (folder / "files").exists():
        shutil.copytree(files, folder / "files")


def _answers(folder: Path, sentence: str | None, options: Options, config: Config) -> Answers:
    state = dialogue.load(folder)
    if options.answers:
        answers = dialogue.from_file(options.answers, sentence)
        if "reference" not in answers.model_fields_set:
            answers = answers.model_copy(update={"reference": config.reference.method})
        title = answers.sentence or answers.objective or "structure"
        record = answers.model_dump(mode="json", exclude={"sentence"}, exclude_unset=True)
        fresh = Dialogue(planner=__version__, sentence=title, by="answers", known=record)
        fresh.reference = dialogue.reference_in(options.answers)
        if state and _given(state) != _given(fresh):
            _begin_anew(folder, state)
        elif state:
            fresh.written = state.written
        fresh.confirmed = True
        fresh.save(folder)
        if fresh.reference:
            copy_own_files(fresh.reference, options.answers.parent, folder)
        return fresh.answers
    by = options.planner or ("anthropic" if config.planner == "anthropic" else "rules")
    if state is None:
        if not sentence:
            raise UserError("prepare: say what shall be simulated, or give --answers FILE")
        state = Dialogue(planner=__version__, sentence=sentence, by=by)
    elif sentence and sentence != state.sentence:
        raise UserError(
            f"{folder}/{dialogue.FILE}: was begun with {state.sentence!r}; choose another folder"
        )
    return _held(folder, state, config)


def _begin_anew(folder: Path, state: Dialogue) -> None:
    """Remove what follows from the former answers; UserError where a person or a campaign built on
    it. Structures stay: those that the new plan has alike are not built again."""
    here = f"{folder}/{dialogue.FILE}: holds other answers"
    if (folder / "iterations").is_dir() and any((folder / "iterations").iterdir()):
        raise UserError(f"{here}, and iterations rest on them; choose another folder")
    ours = [name for name in WRITTEN if name != "config.yaml" or name in state.written]
    for name in ours:
        path = folder / name
        if path.is_file() and _digest(path) != state.written.get(name):
            raise UserError(f"{here}, and {name} was edited; remove it or choose another folder")
    for name in ours:
        (folder / name).unlink(missing_ok=True)
    say(f"{folder}: other answers than before; task, plan and configuration follow the new ones")


def _digest(path: Path) -> str:
    return sha256(path.read_text(encoding="utf-8"))


def _write(folder: Path, name: str, text: str) -> None:
    """Write a file of ours and note its hash: one that a person edits is told from it later."""
    write_text(folder / name, text)
    if (state := dialogue.load(folder)) is not None:
        state.written[name] = _digest(folder / name)
        state.save(folder)


def _given(state: Dialogue) -> tuple[Any, ...]:
    return state.known, state.sentence, state.reference


def _held(folder: Path, state: Dialogue, config: Config) -> Answers:
    leader = None
    if state.by == "anthropic" and not state.confirmed:
        from preparation.model import Model

        leader = Model(config)
    try:
        return dialogue.hold(state, Terminal(say, read_line), lambda: state.save(folder), leader)
    except EOFError:
        raise UserError(
            f"{folder}/{dialogue.FILE}: the input ended; the same command goes on from here"
        ) from None


def _task(folder: Path, answers: Answers) -> Task:
    path = folder / "task.yaml"
    if path.is_file():
        return read(Task, path)
    answers = answers.model_copy(update={"phases": [_filled(folder, p) for p in answers.phases]})
    unseen: set[str] = set()
    if any(outside(phase) for phase in answers.phases):
        from preparation.construct import elements_of

        unseen = elements_of(folder, [phase for phase in answers.phases if outside(phase)])
    task = task_of(answers, unseen)
    _write(folder, "task.yaml", HEAD + dump_yaml(task))
    _purpose(folder, task)
    _unquenched(task)
    return task


def _unquenched(task: Task) -> None:
    """Glasses of single atoms that no potential here melts and quenches, told."""
    for phase in task.material.phases if task.material else []:
        glass = phase.kind == "amorphous" and all(part.formula for part in phase.substances)
        if glass and network(phase) is None:
            say(
                f"note: {phase.name}: packed at random, as no published potential here melts and"
                f" quenches {', '.join(sorted(elements(phase)))}; the campaign's own MD, at most"
                f" {_ceiling(task, phase.name)} K, is what settles it; or"
                " give melt_quench: {potential: reference} in structures/plan.yaml, or a file"
            )


def _ceiling(task: Task, name: str) -> int:
    """K, the highest temperature at which a phase by itself is sampled."""
    return max((s.max_temperature for s in task.subsystems if s.name == name), default=0)


def _purpose(folder: Path, task: Task) -> None:
    """Protocols drafted from procedure and properties, and what of these nothing measures, told."""
    material = task.material
    for name, protocol in purpose.drafts(task).items():
        path = f"protocols/{name}.yaml"
        state, there = dialogue.load(folder), (folder / path).is_file()
        if not there or (state and _digest(folder / path) == state.written.get(path)):
            data = protocol.model_dump(mode="json", exclude_defaults=True)
            _write(folder, path, HEAD + format_yaml(data, width=80))
        say(
            f"{path}: drafted from the words of the task; edit it, then `planner protocol try`,"
            " `planner protocol approve`, and name it in config.yaml (model_sample.protocols,"
            " model_eval.protocol)"
        )
    if material and (strange := purpose.unknown(material)):
        say(
            f"note: properties: {', '.join(strange)}: nothing here measures that (words that do:"
            " config/sentences.yaml); it stays in task.yaml as a remark"
        )


def _filled(folder: Path, phase: Phase) -> Phase:
    """A phase whose file has shared sites, marked so that they are filled; a person is told."""
    source = phase.crystal
    if not isinstance(source, CrystalSource) or not source.file or source.shared_sites:
        return phase
    from atomistics.builders.crystals.ordering import disordered

    if not disordered(source.file, folder):
        return phase
    say(
        f"{source.file}: has shared or partly occupied sites; each structure fills them with whole"
        " atoms, charges balanced, by another of the lowest electrostatic energies (shared_sites)"
    )
    return phase.model_copy(update={"crystal": source.model_copy(update={"shared_sites": True})})


def _plan(folder: Path, task: Task, options: Options, config: Config) -> StructurePlan:
    path = folder / "structures" / PLAN
    if path.is_file():
        plan = read(StructurePlan, path)
        plan.agree_with(task)
        return plan
    by = options.planner or ("anthropic" if config.planner == "anthropic" else "rules")
    plan = propose(task, config.seed)
    if by == "anthropic" and not options.answers:
        from preparation.planning import varied

        plan = varied(folder, task, plan, config, say)
    _write(folder, f"structures/{PLAN}", HEAD + dump(plan))
    return plan


def _expected(folder: Path, task: Task, plan: StructurePlan) -> Iterator[str]:
    """What the largest planned structures will cost, before any is built."""
    from preparation.sizes import cost, expected

    if task.material and not (folder / "structures/report.yaml").is_file():
        yield from cost(expected(plan, folder), task.material.atoms, about=True)


def _agreed(folder: Path) -> None:
    try:
        line = read_line("Build these structures? yes, or stop here and edit the plan: ")
    except EOFError:
        line = ""
    if not dialogue.YES.match(line.strip().lower()):
        raise UserError(
            f"{folder}/structures/{PLAN}: not built; edit it and give the same command again"
        )


def configure(folder: Path, task: Task, plan: StructurePlan) -> None:
    """config.yaml where there is none; the first MD at the temperature of use and above.

    Molecules are pressed together, far beyond what MD visits, and such frames count less: a
    potential that has not seen how molecules repel each other may invent a well there.
    """
    path, material = folder / "config.yaml", task.material
    if path.is_file() or material is None:
        if material and (method := configuration(folder).reference.method) != material.reference:
            raise UserError(
                f"{path}: reference.method: {method}, task.yaml says {material.reference};"
                " make them the same"
            )
        return
    state = dialogue.load(folder)
    reference = state.reference if state else None
    if material.reference == "ase" and reference is None:
        raise UserError(
            f"{path}: reference.calculator: missing; write `reference: {{method: ase, calculator:"
            " package.module:Name}` there, or under reference: of an answers file"
        )
    chosen = reference.model_dump(mode="json", exclude_unset=True) if reference else None
    if (spacing := KSPACING.get(material.reference)) and chosen is None:
        chosen = {"method": material.reference, "options": {"kspacing": spacing}}
    rungs = [task.temperature + hotter for hotter in HOTTER]
    data: dict[str, Any] = {
        "reference": chosen or {"method": material.reference},
        "reference_sample": {"temperatures": rungs},
    }
    if material.pressure:
        data["md"] = {"pressure": material.pressure}
    if any(v.parameters.family in MOLECULAR for v in plan.variants):
        data["reference_sample"]["compression"] = PRESSED
        data["mlp"] = {"scale_by_force": 1.0, "scale_by_pressure": 5.0}
    _write(folder, "config.yaml", HEAD + format_yaml(data, width=80))


def _settings(folder: Path, task: Task, options: Options) -> "BuildSettings":
    from preparation.construct import BuildSettings

    return BuildSettings(folder, task, configuration(folder), options.cores, options.relax)


def _build(folder: Path, task: Task, plan: StructurePlan, options: Options) -> int:
    """Build and draw; the number of structures that failed."""
    from preparation.construct import construct, summary
    from preparation.sheet import sheets

    configure(folder, task, plan)
    _reference_files(folder)
    check_methods(folder, configuration(folder), periodic=False)
    made = construct(plan, _settings(folder, task, options), say)
    if made.plan != plan:  # task.yaml first: a plan that lacks a category of the task is refused
        _write(folder, "task.yaml", HEAD + dump_yaml(made.task))
        _write(folder, f"structures/{PLAN}", HEAD + dump(made.plan))
    sheets(made.plan, folder / "structures")
    say(summary(made.plan, made.report, task.material.atoms if task.material else None))
    return sum(made.report[v.id]["status"] != "ok" for v in made.plan.structures)


def _reference_files(folder: Path) -> None:
    """UserError for a file of the reference's options that is not there, before any building."""
    for key, value in configuration(folder).reference.options.items():
        if isinstance(value, str) and value.startswith("./") and not (folder / value).exists():
            raise UserError(
                f"{folder}/config.yaml: reference.options.{key}: {value}: no such file; put it"
                " there and give the same command again"
            )


def plan_anew(folder: Path, options: Options) -> str:
    """Write the plan of a folder that has none; the table."""
    path = folder / "structures" / PLAN
    if path.is_file():
        raise UserError(f"{path}: exists; remove it to plan anew")
    task = read(Task, folder / "task.yaml")
    return table(_plan(folder, task, options, configuration(folder)))


def shown(folder: Path) -> str:
    """The plan of a folder as a table."""
    return table(read(StructurePlan, folder / "structures" / PLAN))


def build_or_check(folder: Path, options: Options, building: bool) -> int:
    """Build what is missing, or check what is there; the number of failures."""
    from preparation.construct import check_all, summary

    task = read(Task, folder / "task.yaml")
    plan = read(StructurePlan, folder / "structures" / PLAN)
    with locked(folder, "planner structures"):
        if building:
            return _build(folder, task, plan, options)
        report = check_all(plan, _settings(folder, task, options))
        say(summary(plan, report))
        return sum(entry["status"] != "ok" for entry in report.values())


def replay(folder: Path, tell: Callable[[str], None]) -> None:
    """Hold a recorded dialogue again; UserError when it comes to anything else today."""
    recorded = dialogue.load(folder)
    if recorded is None:
        raise UserError(f"{folder}/{dialogue.FILE}: no such file; nothing was recorded here")
    leader = None
    if recorded.by == "anthropic":
        from preparation.model import Model

        leader = Model(configuration(folder), recorded)
    dialogue.replayed(recorded, tell, leader)
    for note in dict.fromkeys(leader.notes if leader else ()):
        tell(f"note: {note}")
    task = folder / "task.yaml"
    tell(
        f"{folder}/{dialogue.FILE}: replayed, the same answers"
        + ("" if task.exists() else ", no task")
    )
