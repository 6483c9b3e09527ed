"""YAML 1.2, read strictly: one loader and one writer of configurations, plans and indices."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from atomistics.errors import UserError

LARGEST = 2**28  # bytes of a text
DEEPEST = 64  # levels of a YAML file
MOST_LINES = 1_000_000  # and commas of a YAML file: minutes to read
MOST_NODES = 100_000  # values of a YAML file with its aliases written out
INDENTED = re.compile(rf"^[ ?-]{{{DEEPEST // 2}}}", re.MULTILINE)  # two levels share a column


BREAKS = frozenset("\x85\u2028\u2029\ufeff")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML 1.2: the element NO is not False, 1e-3 is a number, 12:30:00 text, no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                why = f"key {key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or this loader would take for a number (873e352259875215)."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rpartition(":")[2] in ("null", "merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false|True|False)$", "tfTF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read_yaml(path: Path) -> Any:
    """Return the document in `path`; UserError names the line of a syntax error."""
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text in `path`; UserError says why there is none."""
    try:
        kind = path.stat()
        if not (stat.S_ISREG(kind.st_mode) or stat.S_ISDIR(kind.st_mode)):
            raise UserError(f"{path}: is no regular file, and could be waited for for ever")
        if kind.st_size > LARGEST:
            raise UserError(f"{path}: {kind.st_size / 2**20:.0f} MB are no text of a campaign")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def parse_yaml(text: str, source: str) -> Any:
    """Return the document in `text`; UserError names `source` and the line of a syntax error."""
    if text.count(",") + text.count("\n") > MOST_LINES:
        raise UserError(f"{source}: over {MOST_LINES} lines or values are no file of a campaign")
    try:
        _refuse_bombs(text, source)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        why = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{where}: not valid YAML ({why})") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML ({str(error).splitlines()[0]})") from None


def format_yaml(data: Any, *, width: int = 10**6) -> str:
    """`data` as YAML that `parse_yaml` reads back as it is, keys in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=width, allow_unicode=True)
    if BREAKS.isdisjoint(text):
        return text
    # these break a line for YAML, yet are written as they are
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=width))


def _refuse_bombs(text: str, source: str) -> None:
    """UserError where nesting would overflow the loader's stack, or aliases grow without bound.

    The parser's events are read one by one, and only where a text could hold such a thing.
    """
    deep = text.count("[") + text.count("{") > DEEPEST or INDENTED.search(text)
    if not deep and not ("&" in text and "*" in text):
        return
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            open_nodes.append((event.anchor, total))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, 1)
        total += 1
        where = f"{source}:{event.start_mark.line + 1}"
        if len(open_nodes) > DEEPEST:
            raise UserError(f"{where}: not valid YAML (nested more than {DEEPEST} deep)")
        if isinstance(event, yaml.AliasEvent) and event.anchor in {a for a, _ in open_nodes}:
            raise UserError(f"{where}: not valid YAML (*{event.anchor} stands within itself)")
        if sizes and total > MOST_NODES:
            raise UserError(f"{where}: not valid YAML (aliases for over {MOST_NODES} values)")


def refuse_nul(data: Any, source: str) -> None:
    """UserError for a string with a NUL, where commands or file names may come from it."""
    for place in _with_nul(data, ""):
        raise UserError(f"{source}: {place or 'document'}: holds a NUL character")


def _with_nul(data: Any, place: str) -> Iterator[str]:
    """Places of strings with a NUL, which no file name and no command may hold."""
    if isinstance(data, str) and "\0" in data:
        yield place
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _with_nul(key, place)
            yield from _with_nul(value, f"{place}.{key}" if place else str(key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _with_nul(value, f"{place}.{number}")
