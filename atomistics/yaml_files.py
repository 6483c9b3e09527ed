"""YAML 1.2, read strictly: the one loader of configurations, plans and indices."""

import re
from pathlib import Path
from typing import Any

import yaml

from atomistics.errors import UserError


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
