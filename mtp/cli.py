"""The `mlp` command: finds the verb, runs it, and turns every failure into one line on stderr."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mtp.arguments import Verb, parse, unknown
from mtp.errors import MTPError

MODULES = ("evaluation", "grades")
RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def verbs() -> dict[str, Verb]:
    """All verbs by their MLIP-3 names; each module of mtp.commands lists its own as VERBS."""
    modules = (import_module(f"mtp.commands.{name}") for name in MODULES)
    return {verb.name: verb for module in modules for verb in module.VERBS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; 0: it did what was asked, 1: an error, 130: interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except MTPError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("out of memory; use smaller batches or fewer configurations")
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    return status


def _fail(message: str) -> int:
    print("ERROR:", " ".join(message.split()), file=sys.stderr)
    return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"help", "--help", "-h"}:
        return _help(words[1:])
    known = verbs()
    if words[0] == "list":
        print("\n".join(f"{verb.name:24}{verb.summary}" for verb in known.values()))
        return 0
    verb = _find(known, words[0])
    if "--help" in words[1:]:
        print(verb.usage())
        return 0
    arguments = parse(verb, words[1:])
    if verb.name != "train" and _launched_rank() > 0:
        return 0  # only training shares its work between ranks; the first rank does the rest whole
    return verb.run(arguments)


def _find(known: dict[str, Verb], word: str) -> Verb:
    by_name = {name: verb for verb in known.values() for name in (verb.name, *verb.aliases)}
    verb = by_name.get(word.replace("-", "_"))
    if verb is None:
        raise unknown("command", word, [*known, "list", "help"])
    return verb


def _help(words: list[str]) -> int:
    known = verbs()
    if words:
        print(_find(known, words[0]).usage())
        return 0
    print("mlp COMMAND FILES [--key=value ...]   (mlp help COMMAND shows its options)\n")
    print("\n".join(f"  {verb.name:24}{verb.summary}" for verb in known.values()))
    return 0


def _launched_rank() -> int:
    ranks = (os.environ.get(name, "") for name in RANK_VARIABLES)
    return next((int(rank) for rank in ranks if rank.isdecimal()), 0)


if __name__ == "__main__":
    sys.exit(main())
