"""What pydantic found wrong in a file, in words for whoever wrote it: no regular expressions."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

# of every pattern in the records that people write (tests/campaign/test_complaints.py)
WORDS = {
    r"^[a-z0-9][a-z0-9_-]{0,63}$": "lower-case letters, digits, _ and -, at most 64",
    r"^[A-Z][a-z]?$": "the symbol of an element, like Na",
    r"^[A-Za-z0-9][A-Za-z0-9 ()+_.,-]{0,63}$": "letters, digits, blanks and ()+_.,- up to 64,"
    " beginning with a letter or digit",
    r"^[A-Za-z0-9@+\-\[\]()=#%/\\.]{1,400}$": "a SMILES, like CCO or [Li+].[Cl-]",
    r"^[A-Za-z0-9@+\-\[\]()=#%/\\* ]{1,400}$": "a known name, or SMILES with marked ends, *CCO*",
    r"^(?:[A-Z][a-z]?[0-9]{0,3}){1,16}$": "a formula without brackets, like SiO2",
    r"^files/[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(?:cif|vasp|poscar|extxyz|xyz)$": "a file below files/"
    " that ends in .cif, .vasp, .poscar, .extxyz or .xyz, like files/X.cif",
    r"^mp-[0-9]{1,9}$": "an id of the Materials Project, like mp-22862",
    r"^[A-Z][a-z]?(?: +-?[0-9]{0,3}[./]?[0-9]{1,6}){3}$": "an element and fractional x y z, like"
    " C 1/3 2/3 0.25",
    r"^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*"
    r"(?:\.[A-Za-z_][A-Za-z0-9_]*)*$": "package.module:Name",
    r"^[A-Za-z0-9_-]{1,80}$": "letters, digits, _ and -",
}
OF_ANOTHER_KIND = ("model_type", "dict_type", "string_type", "list_type", "model_attributes_type")
BRANCH = re.compile(r"\[|^(?:str|int|float|bool|constrained-str)$|^[A-Z]")


def complaints(error: ValidationError) -> Iterator[str]:
    """`key: what is wrong` for everything wrong; of a value with two forms that of the form given.

    A key is the path in the file, without the names of our classes.
    """
    at: dict[str, list[dict[str, Any]]] = {}
    for one in error.errors():
        place = [str(part) for part in one["loc"] if not BRANCH.search(str(part))]
        at.setdefault(".".join(place) or "document", []).append(dict(one))
    for key, faults in at.items():
        below = any(other.startswith(f"{key}.") for other in at)
        form = [f for f in faults if f["type"] not in OF_ANOTHER_KIND]
        meant = form or ([] if below else faults)
        yield from dict.fromkeys(f"{key}: {_words(fault)}" for fault in meant)


def _words(fault: dict[str, Any]) -> str:
    if fault["type"] != "string_pattern_mismatch":
        return str(fault["msg"])
    words = WORDS.get(fault["ctx"]["pattern"], "see config/schema")
    return f"String should match pattern: {words} (given: {str(fault['input'])[:60]!r})"
