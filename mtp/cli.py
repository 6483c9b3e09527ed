"""The `mlp` command: finds the verb, runs it, and turns every failure into one line on stderr."""

import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import chain

from mtp.arguments import Verb, parse, unknown
from mtp.errors import MTPError

# names of the verbs each module of mtp.commands lists, so that no other need be loaded to find one
MODULES = {
    "train": ("train",),
    "tune": ("tune",),
    "evaluation": ("check_errors", "calc_errors", "calculate_efs", "calc_efs", "mindist"),
    "grades": ("calculate_grade", "calc_grade", "select_add", "cut_extrapolative_nbh"),
    "conversion": ("convert", "convert_cfg"),
    "relaxation": ("relax",),
    "lammps": ("lammps",),
    "fitting_problem": ("calculate_loss", "extract_problem", "add_species", "set_species"),
}
# commands of MLIP-3 that are not here, and what does their work
ABSENT = {
    "run": "use pair_style mlip in LAMMPS, or mtp.calculator.MTP in ASE",
    "test": "run pytest tests/mtp in a checkout",
    "sample": "use calculate_grade --threshold_save=G --threshold_break=G",
    "select": "use select_add",
    "to_bin": "configurations are text here; use convert",
    "from_bin": "configurations are text here; let MLIP write text",
    "add_from_outcar": "use convert --input_format=outcar --append",
    "add_from_outcar_dyn": "use convert --input_format=outcar --append",
    "add_from_outcar_last": "use convert --input_format=outcar --last --append",
    "fix_lattice": "use convert --fix_lattice",
    "make_cell_square": "use ase.build.find_optimal_cell_shape",
    "replicate_cell": "use repeat of ase.Atoms, by way of convert --output_format=extxyz",
    "mindist_filter": "use mindist --output_filename=FILE and its Feature mindists",
    "fix_mindist": "use relax --init_mindist=D",
    "subsample": "use select_add --number=N",
    "fix_cfg": "use convert",
    "filter_nonconv": "use convert, which leaves out what is not converged",
    "remap_species": "use convert --output_format=extxyz --species=..., and back in another order",
    "extract_nbhs": "use cut_extrapolative_nbh",
    "invert_stress": "virials have one sign here; mend the program that wrote them",
    "recognize": "use a structure matcher as of ASE or pymatgen",
}


def verbs(modules: Iterable[str] = MODULES) -> dict[str, Verb]:
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
    """The verb of this name in either dialect; only its own module is loaded."""
    plain = word.replace("-", "_")
    for module, names in MODULES.items():
        if plain in names:
            own = verbs((module,)).values()
            return next(verb for verb in own if plain in {verb.name, *verb.aliases})
    if plain in ABSENT:
        raise MTPError(f"mlp {plain} of MLIP-3 is not here: {ABSENT[plain]}")
    raise unknown("command", word, [*chain(*MODULES.values()), "list", "help"])


def _help(words: list[str]) -> int:
    if words:
        print(_find(words[0]).usage())
        return 0
    print("mlp COMMAND FILES [--key=value ...]   (mlp help COMMAND shows its options)\n")
    print("\n".join(f"  {verb.name:24}{verb.summary}" for verb in verbs().values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
