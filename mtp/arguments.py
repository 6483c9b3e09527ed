"""Verbs of the `mlp` command and their arguments: MLIP-3's `--key=value`, MLIP-2's hyphens too."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any, NoReturn

from mtp.atomic import real_path
from mtp.errors import MTPError

# Names of what a verb writes; output_filename is missing, for it may name the input on purpose.
WRITTEN = ("output", "save_to", "als_filename", "save_selected_to", "save_unrelaxed", "log")
WRITTEN += ("save_extrapolative_to", "report_to", "checkpoint", "matrix", "vector", "table")
READ = ("potential", "train_set", "structures", "candidates", "database", "input", "settings")
READ += ("validation", "relaxation_settings", "core")
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True)
class Option:
    """One `--name=value`; `kind` is str, int, float or bool, `aliases` are MLIP-2's names."""

    name: str
    meaning: str
    kind: type = str
    default: Any = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    minimum: float = -math.inf

    def convert(self, text: str | None) -> str | int | float | bool:
        """The value in `text`; None is a bare `--name`, which only a bool may be."""
        if text is None or text == "":
            if self.kind is bool and text is None:
                return True
            raise MTPError(f"--{self.name} needs a value: write --{self.name}=VALUE")
        if self.kind is bool:
            return self._bool(text)
        try:
            value = self.kind(text)
        except ValueError:
            raise self._error(text, {int: "an integer", float: "a number"}[self.kind]) from None
        if self.kind is not str and not (math.isfinite(value) and value >= self.minimum):
            raise self._error(text, f"a finite number not below {self.minimum:g}")
        if self.choices and value not in self.choices:
            raise self._error(text, f"one of {', '.join(self.choices)}")
        return value

    def _bool(self, text: str) -> bool:
        if text.lower() not in TRUE + FALSE:
            raise self._error(text, "true or false")
        return text.lower() in TRUE

    def _error(self, text: str, wanted: str) -> MTPError:
        return MTPError(f"--{self.name}={text!r:.60}: the value must be {wanted}")


@dataclass(frozen=True)
class Verb:
    """One subcommand: its files in order, its options, and the function that does the work.

    `positional` may hold several forms, tried by length: the first is MLIP-3's. The last name of
    a form may end in "..." and then takes all that are left, comma-separated. `refused` are options
    of MLIP that are not offered, with the reason.
    """

    name: str
    summary: str
    run: Callable[["Arguments"], int]
    positional: tuple[tuple[str, ...], ...]
    options: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def usage(self) -> str:
        """Help text of this verb."""
        lines = [f"mlp {self.name} {' '.join(form)} [options]" for form in self.positional]
        lines += [f"  {self.summary}"] + (
            [f"  also: {' '.join(self.aliases)}"] * bool(self.aliases)
        )
        for option in self.options:
            value = "" if option.kind is bool else f"=<{option.kind.__name__}>"
            default = "" if option.default in (None, False) else f" Default: {option.default}."
            also = f" (also --{', --'.join(option.aliases)})" if option.aliases else ""
            lines.append(f"    --{option.name}{value}  {option.meaning}{default}{also}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Arguments:
    """What the user gave: files by the names of the verb's form, options by their MLIP-3 names."""

    verb: str
    files: dict[str, str]
    options: dict[str, Any]
    given: frozenset[str] = field(default_factory=frozenset)

    def __getitem__(self, name: str) -> Any:
        return self.files[name] if name in self.files else self.options[name]


def parse(verb: Verb, words: Sequence[str]) -> Arguments:
    """Arguments of a verb; an unknown, repeated or malformed option is an error, never ignored."""
    options_by_name = {_plain(name): o for o in verb.options for name in (o.name, *o.aliases)}
    options, files = {}, []
    for word in words:
        if not word.startswith("-") or word == "-":
            files.append(word)
            continue
        if not word.startswith("--"):
            raise MTPError(f"mlp {verb.name}: {word!r:.60}: options are written --key=value")
        key, equals, value = word[2:].partition("=")
        option = options_by_name.get(_plain(key))
        if option is None and (reason := verb.refused.get(_plain(key))):
            raise MTPError(f"mlp {verb.name}: --{key} is not offered: {reason}")
        if option is None:
            raise unknown(
                f"mlp {verb.name}: option", f"--{key}", [f"--{o.name}" for o in verb.options]
            )
        if option.name in options:
            raise MTPError(f"mlp {verb.name}: --{option.name} is given twice")
        options[option.name] = option.convert(value if equals else None)
    form, files = _form_of(verb, files)
    values = {option.name: option.default for option in verb.options} | options
    given = Arguments(verb.name, dict(zip(form, files, strict=True)), values, frozenset(options))
    _check_written(given)
    return given


def _form_of(verb: Verb, files: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The form that fits so many words, and the words it names."""
    for form in verb.positional:
        if form and form[-1].endswith("...") and len(files) >= len(form):
            kept = len(form) - 1
            names = (*form[:-1], form[-1].removesuffix("..."))
            return names, [*files[:kept], ",".join(files[kept:])]
        if len(form) == len(files):
            return form, files
    return _wrong_files(verb, files)


def _check_written(given: Arguments) -> None:
    """No file is written that is also read, or written twice; --overwrite allows one."""
    values = given.options | given.files
    read = [(name, values[name]) for name in READ if values.get(name)]
    written = [(name, values[name]) for name in WRITTEN if values.get(name)]
    for (name, path), (other, other_path) in chain(
        product(written, read), combinations(written, 2)
    ):
        replaceable = (name, other) == ("save_to", "potential") and "overwrite" in values
        if not (replaceable and values["overwrite"]) and _same_file(path, other_path):
            what = f"the {name} {path}" if name in given.files else f"--{name}={path}"
            remedy = "add --overwrite to replace it" if replaceable else "name another file"
            raise MTPError(f"mlp {given.verb}: {what} is also the {other}; {remedy}")


def _same_file(path: str, other: str) -> bool:
    if {path, other} & {"stdout", "stderr", "none"}:
        return False
    one, two = Path(path), Path(other)
    if one.exists() and two.exists():
        return one.is_file() and one.samefile(two)
    return real_path(one) == real_path(two)


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _wrong_files(verb: Verb, files: list[str]) -> NoReturn:
    forms = " or ".join(" ".join(form) or "nothing" for form in verb.positional)
    raise MTPError(
        f"mlp {verb.name} takes {forms}, found {len(files)} names ({' '.join(files)!r:.80}); "
        "options are written --key=value"
    )


def unknown(what: str, name: str, valid: Sequence[str]) -> MTPError:
    """An error for a name that does not exist, with the nearest one that does."""
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"valid are {', '.join(valid) or 'none'}"
    return MTPError(f"{what} {name!r:.60} is unknown; {remedy}")
