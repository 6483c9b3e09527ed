"""The `mlp` command: finds the verb, runs it, and turns every failure into one line on stderr."""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from mtp.arguments import Verb, parse, unknown
from mtp.errors import MTPError

MODULES = ("train", "evaluation", "grades", "conversion", "relaxation", "lammps")


def verbs(modules: Sequence[str] = MODULES) -> dict[str, Verb]:
    """All verbs by their MLIP-3 names; each module of mtp.commands lists its own as VERBS."""
    loaded = (import_module(f"mtp.commands.{name}") for name in modules)
    return {verb.name: verb for module in loaded for verb in module.VERBS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; 0: it did what was asked, 1: an error, 130: interrupted."""
    # ranks share the cores, and digits must not depend on threads; read when numpy is imported
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
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


def _show_warning(message: Warning | str, *_: object) -> None:
    print("WARNING:", " ".join(str(message).split()), file=sys.stderr)


def _fail(message: str) -> int:
    print("ERROR:", " ".join(message.split()), file=sys.stderr)
    return 1


def _dispatch(words: list[str]) -> int:
    if not words:
        raise MTPError("no command was given; mlp help lists them")
    if words[0] in {"help", "--help", "-h"}:
        return _help(words[1:])
    if words[0] == "list":
        print("\n".join(f"{verb.name:24}{verb.summary}" for verb in verbs().values()))
        return 0
    verb = _find(words[0])
    if "--help" in words[1:]:
        print(verb.usage())
        return 0
    arguments = parse(verb, words[1:])
    from mtp.parallel import launched_rank  # numpy, which `mlp help` does not need

    if verb.name != "train" and launched_rank() > 0:
        return 0  # only training shares its work between ranks; the first rank does the rest whole
    return verb.run(arguments)


def _find(word: str) -> Verb:
    """The verb of this name in either dialect; only modules up to its own are loaded."""
    plain = word.replace("-", "_")
    for module in MODULES:
        for verb in verbs((module,)).values():
            if plain in {verb.name, *verb.aliases}:
                return verb
    raise unknown("command", word, [*verbs(), "list", "help"])


def _help(words: list[str]) -> int:
    if words:
        print(_find(words[0]).usage())
        return 0
    print("mlp COMMAND FILES [--key=value ...]   (mlp help COMMAND shows its options)\n")
    print("\n".join(f"  {verb.name:24}{verb.summary}" for verb in verbs().values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
