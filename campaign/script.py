"""How a rule calls its script, once for all of them: a function is a command, its parameters are
the options.

`--plan` is the plan's section as one JSON leaf, validated as the function's section class;
`--items` is the JSON of the items of this job; a path that may be absent is an option without a
value. A parameter more of an action is thus a field of its section and the place that uses it.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from atomistics.contract import Strict
from campaign.actions.section import Items
from campaign.errors import UserError
from mtp.errors import MTPError

Command = Callable[..., Any]


def command_line(*commands: Command) -> None:
    """Run the command that the line names, or the only one.

    A user's error is one line on stderr and exit status 1; a defect keeps its traceback.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    choices = parser.add_subparsers(required=True) if len(commands) > 1 else None
    for command in commands:
        own = choices.add_parser(command.__name__) if choices else parser
        own.set_defaults(_command=command)
        for name, hint in parameters(command).items():
            own.add_argument(flag(name), required=True, **_parsed(hint))
    given = vars(parser.parse_args())
    command = given.pop("_command")
    try:
        command(**given)
    except (UserError, MTPError) as error:
        sys.exit(f"{_script()}: {error}")
    except OSError as error:
        sys.exit(f"{_script()}: {error.filename or 'file'}: {error.strerror}")


def words(command: Command, given: dict[str, Any]) -> list[str]:
    """The command line of a command, with those of `given` that it asks for."""
    line = []
    for name, hint in parameters(command).items():
        value = given[name]
        values = value if hint == list[Path] else [] if value is None else [value]
        line += [flag(name), *map(_written, values)]
    return line


def parameters(command: Command) -> dict[str, Any]:
    """Parameters of a command with their types, in order."""
    hints = get_type_hints(command)
    return {name: hints[name] for name in inspect.signature(command).parameters}


def flag(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


def _script() -> str:
    return Path(sys.argv[0]).stem


def _parsed(hint: Any) -> dict[str, Any]:
    """How argparse reads an option of this type."""
    if hint == list[Path]:
        return {"nargs": "*", "type": Path}
    if hint == Path | None:
        return {"nargs": "?", "type": lambda text: Path(text) if text else None}
    if hint == Items:
        return {"type": json.loads}
    if isinstance(hint, type) and issubclass(hint, Strict):
        return {"type": hint.model_validate_json}
    return {"type": hint}


def _written(value: Any) -> str:
    if isinstance(value, Strict):
        return value.argument()
    return json.dumps(value) if isinstance(value, dict) else str(value)
