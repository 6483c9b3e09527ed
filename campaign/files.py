"""Plain files with one writer each: read strictly, write to a temporary name, rename."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from atomistics.yaml_files import format_yaml, read_text, read_yaml
from campaign.complaints import complaints
from campaign.errors import UserError
from mtp.atomic import atomic_open
from mtp.errors import MTPError

Contract = TypeVar("Contract", bound=BaseModel)


def read_json(path: Path, *keys: str) -> Any:
    """Return the value in `path`, an object with these keys if any are named, or UserError."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON, not written whole ({error})") from None
    if keys and not (isinstance(data, dict) and set(keys) <= data.keys()):
        raise UserError(f"{path}: not a JSON object with {', '.join(keys)}")
    return data


def parse(model: type[Contract], data: Any, source: str) -> Contract:
    """Validate `data`; UserError lists every offending key of `source` in one line."""
    try:
        record = model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {'; '.join(complaints(error))}") from None
    if flags := list(flags_for_numbers(data, record)):
        raise UserError(f"{source}: {flags[0]}: true or false is no value of this key")
    return record


def flags_for_numbers(data: Any, record: Any, at: str = "") -> Iterator[str]:
    """Keys of `data` whose true or false was taken for a number when it became `record`."""
    if isinstance(data, dict):
        for key, value in data.items():
            taken = record.get(key) if isinstance(record, dict) else getattr(record, key, value)
            yield from flags_for_numbers(value, taken, f"{at}.{key}" if at else str(key))
    elif isinstance(data, (list, tuple)) and isinstance(record, (list, tuple)):
        for number, (value, taken) in enumerate(zip(data, record, strict=False)):
            yield from flags_for_numbers(value, taken, f"{at}.{number}")
    elif isinstance(data, bool) and not isinstance(record, bool):
        yield at


def read(model: type[Contract], path: Path) -> Contract:
    """Read and validate a YAML file as `model`."""
    return parse(model, read_yaml(path), str(path))


def dump_yaml(record: BaseModel) -> str:
    """Canonical YAML of a record: field order, no line folding, absent sections left out."""
    return format_yaml(record.model_dump(mode="json", exclude_none=True))


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically: readers see the old text or the new, never half of it.

    A pipe that nobody reads would be waited for, a device would swallow the text.
    """
    if not path.is_file() and (path.is_symlink() or path.exists()):
        raise UserError(f"{path}: is no regular file, nothing is written to it; delete it")
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
