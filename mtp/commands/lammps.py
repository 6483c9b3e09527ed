"""The verb lammps: a LAMMPS input of one's own on the embedded kernel."""

import shlex

from mtp.arguments import Arguments, Option, Verb
from mtp.errors import MTPError
from mtp.parallel import launched_size


def run_input(arguments: Arguments) -> int:
    """Run the input; one rank, so that every atom is counted once."""
    if (ranks := launched_size()) > 1:
        raise MTPError(f"lammps: started on {ranks} ranks; start it on one and use --threads")
    from mtp.lammps import run

    try:
        words = shlex.split(arguments["arguments"])
    except ValueError as error:
        raise MTPError(f"--arguments: {error}") from None
    outcome = run(arguments["input"], words, arguments["threads"])
    if outcome.selector:
        print(f"largest grade {outcome.largest_grade:.4g}; {outcome.saved} configurations saved")
    return 0


VERBS = (
    Verb(
        "lammps",
        "run a LAMMPS input of pair style mtp or mlip on this kernel",
        run_input,
        (("input",),),
        (
            Option("threads", "threads of the kernel.", int, 1, minimum=1),
            Option("arguments", "LAMMPS's own: '-log none -var T 300'.", str, "-log none"),
        ),
    ),
)
