"""`planner build FAMILY`: one structure from flags that are generated from the contracts."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import RootModel

from atomistics.builders.families import FAMILIES, Parameters
from atomistics.contract import Strict
from atomistics.yaml_files import parse_yaml, read_yaml
from campaign.errors import UserError
from campaign.files import parse, write_text

OWN = ("seed", "output", "folder", "parameters", "reference")  # flags that are no parameters


class Document(RootModel[Parameters]):
    """Parameters of any family, as `--parameters` reads them."""


def main(arguments: list[str]) -> int:
    """Build one structure, write it as extxyz and say what it is."""
    given = parser().parse_args(arguments)
    output: Path = given.output
    if output.suffix != ".extxyz":
        raise UserError(f"--output {output}: must end in .extxyz")
    parameters = read(given)
    from atomistics.builders.building import as_text, build, summary

    atoms = build(parameters, given.seed, given.folder, _calculator(given.reference))
    write_text(output, as_text(atoms))
    sys.stdout.write(f"{output}: {summary(atoms)}\n")
    return 0


def read(given: argparse.Namespace) -> Parameters:
    """The parameters of --parameters FILE, those given by flags before them."""
    data: dict[str, Any] = {}
    if given.parameters is not None:
        data = read_yaml(given.parameters)
        if not isinstance(data, dict):
            raise UserError(f"{given.parameters}: must be a mapping of parameters")
    if data.setdefault("family", given.family) != given.family:
        raise UserError(f"{given.parameters}: family: is '{data['family']}', not '{given.family}'")
    for name, schema in _properties(FAMILIES[given.family]).items():
        text = getattr(given, name, None)
        if text is not None:
            data[name] = text if _is_text(schema) else parse_yaml(text, _flag(name))
    return parse(Document, data, f"planner build {given.family}").root


def parser() -> argparse.ArgumentParser:
    """Flags, defaults, bounds and units of every family, from its JSON schema."""
    top = argparse.ArgumentParser(
        prog="planner build",
        description="Build one structure. Lengths in Å, densities in g/cm3, temperatures in K.",
    )
    families = top.add_subparsers(dest="family", required=True, metavar="FAMILY")
    for name, model in FAMILIES.items():
        about = (model.__doc__ or "").split("\n")[0]
        sub = families.add_parser(
            name,
            help=about,
            description=about,
            epilog=_nested(model),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for key, schema in _properties(model).items():
            sub.add_argument(_flag(key), dest=key, metavar=_kind(schema), help=_about(schema))
        _own(sub)
    return top


def _own(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--parameters", type=Path, metavar="FILE", help="YAML with these keys; flags win"
    )
    sub.add_argument("--folder", type=Path, default=Path(), help="task folder: files/, structures/")
    sub.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    sub.add_argument(
        "--output", type=Path, required=True, metavar="FILE.extxyz", help="what to write"
    )
    sub.add_argument("--reference", help="method for a melt-quench, such as gfn1-xtb")


def _calculator(method: str | None) -> Any:
    if method is None:
        return None
    from atomistics.reference.catalog import Method
    from atomistics.reference.methods import reference_calculator

    return reference_calculator(Method(method, max_force=1e3))


def _properties(model: type[Strict]) -> dict[str, dict[str, Any]]:
    properties = model.model_json_schema()["properties"]
    return {key: schema for key, schema in properties.items() if key != "family"}


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _variants(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in schema.get("anyOf", [schema]):
        if one.get("type") != "null":
            yield one


def _is_text(schema: dict[str, Any]) -> bool:
    return all(one.get("type") == "string" for one in _variants(schema))


def _kind(schema: dict[str, Any]) -> str:
    names = {"string": "TEXT", "number": "NUMBER", "integer": "INTEGER", "boolean": "true|false"}
    kinds = [
        "|".join(map(str, one["enum"]))
        if "enum" in one
        else _list(one)
        if one.get("type") == "array"
        else names.get(one.get("type", ""), "{" + one.get("$ref", "").rpartition("/")[2] + "}")
        for one in _variants(schema)
    ]
    return " or ".join(kinds)


def _list(schema: dict[str, Any]) -> str:
    inner = _kind(schema["items"]) if "items" in schema else "..."
    return f"[{inner}, ...]"


def _about(schema: dict[str, Any]) -> str:
    """Description, bounds and default, as help text (argparse formats % itself)."""
    bounds = []
    for one in _variants(schema):
        low = one.get("minimum", one.get("exclusiveMinimum"))
        high = one.get("maximum", one.get("exclusiveMaximum"))
        bounds += [f"{low} to {high}"] if low is not None and high is not None else []
    inherited = next((one["description"] for one in _variants(schema) if "description" in one), "")
    parts = [schema.get("description", inherited), *bounds]
    default = schema.get("default")
    parts += [f"default: {default}"] if default not in (None, [], "") else []
    return "; ".join(part for part in parts if part).replace("%", "%%")


def _nested(model: type[Strict]) -> str:
    """What stands inside {...}: the keys of each nested record."""
    lines = []
    for name, schema in model.model_json_schema().get("$defs", {}).items():
        lines.append(f"{name}: {schema.get('description', '').splitlines()[0]}")
        for key, inner in schema.get("properties", {}).items():
            about = _about(inner).replace("%%", "%")
            lines.append(f"  {key}: {_kind(inner)}" + (f"  ({about})" if about else ""))
    intro = (
        "Values in [] and {} are YAML, as in --sites '[{element: Na, position: [0, 0, 0]}]'.\n\n"
    )
    return intro + "\n".join(lines) if lines else ""
