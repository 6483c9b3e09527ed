"""The dialogue of the preparation: from a sentence to confirmed answers, kept turn by turn.

`dialogue.json` in the task folder is its whole state and its record: what was asked, heard and
answered, with every request to a model. It is written after each line, so that an interrupted
dialogue goes on where it stood, and a finished one can be replayed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atomistics.yaml_files import format_yaml, read_yaml
from campaign.errors import UserError
from campaign.files import parse, write_text
from campaign.material import Answers, ReferenceChoice
from preparation import notation
from preparation.missing import OpenPoint, needed, open_points
from preparation.sentence import recognised
from preparation.unread import left_out

FILE = "dialogue.json"
OPENING = "What shall be simulated?"
CONFIRM = "Is this complete and right? yes, or what to change"
YES = re.compile(r"^(?:yes|y|ok|okay|correct|right|confirmed)\b(?!.*\b(?:but|except|change)\b)")
LONGEST = 60
PROPOSED = "proposed"
HELP = ("?", "help")
FURTHER = "At any prompt, besides its answer:"
WRONG = 5
PHASE = re.compile(r"\bphases\.(\d+)\b")


@dataclass(frozen=True)
class Terminal:
    """Where a person sits: lines are written, lines are read (EOFError when there is no more)."""

    write: Callable[[str], None]
    read_line: Callable[[str], str]


class Dialogue(BaseModel):
    """dialogue.json."""

    model_config = ConfigDict(extra="forbid")
    format: int = 1
    planner: str
    sentence: str
    by: str
    known: dict[str, Any] = {}
    # from a person's answers file, never from a model
    reference: ReferenceChoice | None = Field(default=None, exclude_if=lambda given: given is None)
    talk: list[dict[str, Any]] = []
    heard: list[str] = []
    pending: list[str] = []
    asking: dict[str, str] = {}  # questions that a recognised sentence leaves, by key
    exchanges: list[dict[str, Any]] = []
    fallback: str | None = None
    used: dict[str, Any] = {}
    confirmed: bool = False
    written: dict[str, str] = {}

    @property
    def answers(self) -> Answers:
        """The record as far as it is known."""
        return parse(Answers, {**self.known, "sentence": self.sentence}, FILE)

    def save(self, folder: Path) -> None:
        """Write the state."""
        write_text(folder / FILE, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def load(folder: Path) -> Dialogue | None:
    """The dialogue in a folder; None where none was begun."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Dialogue.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        complaint = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a dialogue ({complaint}); remove it to begin anew") from None


class Leader(Protocol):
    """Who leads the dialogue beside the form: reads what was said, asks what comes next."""

    def understand(self, dialogue: Dialogue) -> bool:
        """Fill in the record, append the next questions; False: no valid answer, use the form."""
        ...


def hold(
    dialogue: Dialogue, terminal: Terminal, save: Callable[[], None], leader: Leader | None
) -> Answers:
    """Ask until everything needed is there and a person has confirmed it."""
    wrong = 0
    while not dialogue.confirmed:
        before = len(dialogue.heard), json.dumps(dialogue.known)
        if leader is not None and dialogue.fallback is None:
            _led(dialogue, terminal, save, leader)
        else:
            _form(dialogue, terminal, save)
        save()
        stood = json.dumps(dialogue.known) == before[1] and not dialogue.confirmed
        wrong = wrong + 1 if stood else 0
        if len(dialogue.heard) > LONGEST * WRONG or wrong > LONGEST:
            raise UserError("dialogue: no end in sight; write the answers to a file, --answers")
    return dialogue.answers


def _line(dialogue: Dialogue, terminal: Terminal, prompt: str) -> str:
    line = terminal.read_line(prompt)
    dialogue.heard.append(line)
    return line.strip()


def _led(dialogue: Dialogue, terminal: Terminal, save: Callable[[], None], leader: Leader) -> None:
    """A turn led by a model; completion is still decided here."""
    if not dialogue.talk:
        dialogue.talk.append({"questions": [OPENING], "said": dialogue.sentence})
    if dialogue.talk[-1]["said"] is not None:
        try:
            understood = leader.understand(dialogue)
        finally:
            save()
        if not understood:
            terminal.write(
                f"No answer from the planner LLM ({dialogue.fallback}); the form goes on."
            )
            return
    turn, points = dialogue.talk[-1], needed(dialogue.answers)
    asked = turn["questions"] or [point.question for point in points[:3]]
    terminal.write(status(dialogue, not points, asked, turn.get("remark", "")))
    line = _line(dialogue, terminal, f"{CONFIRM}: " if not points else "> ")
    if not points and YES.match(line.lower()):
        dialogue.confirmed = True
    elif line:
        turn["said"] = line
    else:
        terminal.write("An answer is needed.")


def _form(dialogue: Dialogue, terminal: Terminal, save: Callable[[], None]) -> None:
    """A turn without a model: at most three open points, or the confirmation."""
    points = _points(dialogue)
    dialogue.pending = [k for k in dialogue.pending if k in points] or list(points)[:3]
    questions = [points[key].question for key in dialogue.pending]
    terminal.write(status(dialogue, not needed(dialogue.answers), questions))
    if not points:
        line = _line(dialogue, terminal, f"{CONFIRM} (KEY: VALUE; ? shows what can be said): ")
        dialogue.confirmed = bool(YES.match(line.lower()))
        if line.lower() in HELP:
            terminal.write("\n".join([FURTHER, *notation.further(dialogue.known)]))
        elif not dialogue.confirmed:
            _try(dialogue, terminal, lambda record: notation.take(record, line))
    proposal = _proposed(dialogue, terminal)
    while dialogue.pending:
        point = points[dialogue.pending[0]]
        default = "" if point.default is None else f" [{point.default}]"
        line = _line(dialogue, terminal, f"{point.key}{default}: ")
        given = notation.correction(line)
        if line.lower() in HELP:
            terminal.write("\n".join([point.question, FURTHER, *notation.further(dialogue.known)]))
        elif given and given[0] != point.key and given[0] in _sayable(dialogue):
            _try(dialogue, terminal, lambda record, text=line: notation.take(record, text))
        elif proposal and line.lower() == PROPOSED:
            _try(dialogue, terminal, lambda record: {**proposal, **record})
            dialogue.asking = recognised(dialogue.sentence)[1]
            dialogue.pending.clear()
        else:
            text = given[1].strip() if given and given[0] == point.key else line
            _try(dialogue, terminal, lambda record, p=point, t=text: settled(record, p, t))
            dialogue.asking.pop(point.key, None)
            dialogue.pending.pop(0)
        save()


def _points(dialogue: Dialogue) -> dict[str, OpenPoint]:
    """What is open, by key; what a recognised sentence leaves open before what has defaults."""
    opened = {point.key: point for point in open_points(dialogue.answers)}
    left = {
        key: OpenPoint(key, question, shown)
        for key, question in dialogue.asking.items()
        if key not in opened and (shown := notation.shown(dialogue.known, key)) is not None
    }
    first = {key: point for key, point in opened.items() if point.needed} if left else {}
    return first | left | opened


def _sayable(dialogue: Dialogue) -> set[str]:
    """Keys that a line may address whatever is asked: those of the record, and of its phases."""
    names = [phase["name"] for phase in dialogue.known.get("phases", [])]
    plain = set(notation.READERS)
    return plain | {f"phases.{name}.{key}" for name in names for key in plain}


def _proposed(dialogue: Dialogue, terminal: Terminal) -> dict[str, Any]:
    """What the sentence says by config/sentences.yaml, shown while no phase is known."""
    if dialogue.known.get("phases"):
        return {}
    proposal, questions = recognised(dialogue.sentence)
    for line in left_out(dialogue.sentence):
        terminal.write(f"Of the sentence: {line}")
    if not proposal:
        terminal.write("Of the sentence: nothing to propose; its phases are asked for")
    else:
        text = format_yaml(proposal, width=96).rstrip()
        terminal.write(f"Recognised in the sentence; type `{PROPOSED}` to take it:")
        terminal.write("\n".join(f"  {line}" for line in text.splitlines()))
        if questions:
            terminal.write("  Asked then, with these as defaults:")
            terminal.write("\n".join(f"  - {text}" for text in questions.values()))
    return proposal


def _try(
    dialogue: Dialogue, terminal: Terminal, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Lay a typed answer over the record, or say in one line why it cannot be."""
    changed = dialogue.known
    try:
        changed = change(dialogue.known)
        parse(Answers, changed, "answer")
    except UserError as error:
        terminal.write(_plain(str(error), changed))
    else:
        dialogue.known = changed


def _plain(complaint: str, record: dict[str, Any]) -> str:
    """What the record complains of, in the keys that a person types: phases by their names."""
    names = [str(phase.get("name")) for phase in record.get("phases", [])]
    numbered = dict(enumerate(names))
    text = complaint.removeprefix("answer: ").replace("Value error, ", "")
    return PHASE.sub(lambda place: f"phases.{numbered.get(int(place[1]), place[1])}", text)


def settled(record: dict[str, Any], point: OpenPoint, line: str) -> dict[str, Any]:
    """What is known with the answer to a point; UserError when it is none."""
    if not line and point.default is None:
        raise UserError(f"{point.key}: an answer is needed")
    if point.fault and line.lower() in notation.NONE and point.key.startswith("phases."):
        return notation.put(record, point.key, None)
    return notation.put(record, point.key, notation.read(point.key, line or point.default or ""))


def status(dialogue: Dialogue, completed: bool, questions: list[str], remark: str = "") -> str:
    """The state of the collection: completed or not, what is known, what is asked."""
    record = dialogue.answers.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    summary = format_yaml(record, width=96).rstrip()
    lines = [f"Completed: {'yes' if completed else 'no'}", "Summary:"]
    lines += [f"  {line}" for line in summary.splitlines()]
    lines += [f"Question {n}: {text}" for n, text in enumerate(questions, start=1)]
    return "\n".join([*([remark] if remark else []), *lines])


def reference_in(path: Path) -> ReferenceChoice | None:
    """The reference of an answers file, where it stands there with its options."""
    data = read_yaml(path)
    if isinstance(data, dict) and isinstance(data.get("reference"), dict):
        return parse(ReferenceChoice, data["reference"], f"{path}: reference")
    return None


def from_file(path: Path, sentence: str | None) -> Answers:
    """The answers in a file; UserError in one line for what is missing, wrong or contradictory."""
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be a mapping of answers (see config/schema/answers.json)")
    if reference := reference_in(path):
        data["reference"] = reference.method
    try:
        data = notation.as_typed(data)
    except notation.NotationError as error:
        raise UserError(f"{path}: {error}") from None
    answers = parse(Answers, {**data, **({"sentence": sentence} if sentence else {})}, str(path))
    if points := needed(answers):
        complaint = "; ".join(f"{p.key}: {p.fault or f'missing ({p.question})'}" for p in points)
        raise UserError(f"{path}: {complaint}")
    return answers


def replayed(recorded: Dialogue, tell: Callable[[str], None], leader: Leader | None) -> Dialogue:
    """The dialogue held again from its record; UserError when it comes to anything else."""
    again = Dialogue(planner=recorded.planner, sentence=recorded.sentence, by=recorded.by)
    if recorded.by == "answers":
        again.known, again.confirmed = recorded.known, recorded.confirmed
        if points := needed(again.answers):
            raise UserError(f"replay: {points[0].key}: {points[0].fault or 'missing'} today")
        return again
    lines = iter(recorded.heard)

    def read_line(prompt: str) -> str:
        tell(prompt)
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    try:
        hold(again, Terminal(tell, read_line), lambda: None, leader)
    except EOFError:
        pass  # the recorded dialogue had not come to its end either
    except ValidationError as error:
        raise UserError(f"replay: {error.errors()[0]['msg']}") from None
    for key in ("known", "confirmed"):
        if getattr(again, key) != getattr(recorded, key):
            raise UserError(f"replay: {key} differs from the record")
    return again
