"""Plain files with one writer each: read strictly, write to a temporary name, rename."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from campaign.errors import UserError
from mtp.atomic import atomic_open
from mtp.errors import MTPError

BREAKS = frozenset("\x85\u2028\u2029\ufeff")
Record = TypeVar("Record", bound=BaseModel)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML 1.2: the element NO is not False, 1e-3 is a number, 12:30:00 text, no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                why = f"key {key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rpartition(":")[2] in ("null", "merge")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false|True|False)$", "tfTF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read_yaml(path: Path) -> Any:
    """Return the document in `path`; UserError names the line of a syntax error."""
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text in `path`; UserError says why there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def read_json(path: Path, *keys: str) -> Any:
    """Return the value in `path`, an object with these keys if any are named, or UserError."""
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON, not written whole ({error})") from None
    if keys and not (isinstance(found, dict) and set(keys) <= found.keys()):
        raise UserError(f"{path}: not a JSON object with {', '.join(keys)}")
    return found


def parse_yaml(text: str, source: str) -> Any:
    """Return the document in `text`; UserError names `source` and the line of a syntax error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        why = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{where}: not valid YAML ({why})") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML ({str(error).splitlines()[0]})") from None


def parse(model: type[Record], data: Any, source: str) -> Record:
    """Validate `data`; UserError lists every offending key of `source` in one line."""
    try:
        record = model.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors()
        )
        raise UserError(f"{source}: {faults}") from None
    if flags := list(_flags(data, record, "")):
        raise UserError(f"{source}: {flags[0]}: true or false is no value of this key")
    return record


def _flags(data: Any, record: Any, at: str) -> Iterator[str]:
    """Keys whose true or false was taken for a number."""
    if isinstance(data, dict):
        for key, value in data.items():
            known = record.get(key) if isinstance(record, dict) else getattr(record, key, value)
            yield from _flags(value, known, f"{at}.{key}" if at else key)
    elif isinstance(data, list) and isinstance(record, list):
        for number, (value, known) in enumerate(zip(data, record, strict=False)):
            yield from _flags(value, known, f"{at}.{number}")
    elif isinstance(data, bool) and not isinstance(record, bool):
        yield at


def read(model: type[Record], path: Path) -> Record:
    """Read and validate a YAML file as `model`."""
    return parse(model, read_yaml(path), str(path))


def dump_yaml(record: BaseModel) -> str:
    """Canonical YAML of a record: field order, no line folding, absent sections left out."""
    data = record.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(data, sort_keys=False, width=10**6, allow_unicode=True)
    if not BREAKS.isdisjoint(text):  # line breaks to YAML, yet written as they are
        text = yaml.safe_dump(data, sort_keys=False, width=10**6)
    return text


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically: readers see the old text or the new, never half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(path) as file:
            file.write(text)
    except MTPError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as canonical YAML."""
    write_text(path, dump_yaml(record))


def sha256(text: str) -> str:
    """Hash of a text as it stands on disk."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical_json(data: Any) -> str:
    """One byte string per value: sorted keys, no spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
