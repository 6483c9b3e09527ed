"""Crystals from public databases, where a key or a network exists."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ase import Atoms

from atomistics.errors import UserError

MATERIALS_PROJECT = "https://api.materialsproject.org/materials/core/"
OPTIMADE = {
    "alexandria": "https://alexandria.icams.rub.de/pbe",
    "cod": "https://www.crystallography.net/cod/optimade",
    "jarvis": "https://jarvis.nist.gov/optimade/jarvisdft",
    "mp": "https://optimade.materialsproject.org",
    "mpdd": "http://mpddoptimade.phaseslab.org",
    "nmd": "https://nomad-lab.eu/prod/rae/optimade",
    "odbx": "https://optimade.odbx.science",
    "oqmd": "https://oqmd.org/optimade",
    "tcod": "https://www.crystallography.net/tcod/optimade",
}
SECONDS = 30


def from_materials_project(identifier: str) -> Atoms:
    """The relaxed structure of a material; needs MP_API_KEY in the environment.

    Parameters
    ----------
    identifier : mp-NUMBER

    Returns
    -------
    the cell as it stands there, Å

    Raises
    ------
    UserError
        There is no key, no answer, no such material, or no ordered crystal.

    Source: A. Jain et al., APL Mater. 1, 011002 (2013).
    """
    key = os.environ.get("MP_API_KEY")
    if not key:
        raise UserError(
            f"materials_project {identifier}: MP_API_KEY is not set; set it, or export a CIF file "
            "from the web site and name it by `file`"
        )
    query = urllib.parse.urlencode({"material_ids": identifier, "_fields": "structure"})
    where = f"materials_project {identifier}"
    entries = _json(f"{MATERIALS_PROJECT}?{query}", {"X-API-KEY": key}, where).get("data")
    try:
        structure = entries[0]["structure"]
        sites = structure["sites"]
        return Atoms(
            [site["species"][0]["element"] for site in sites],
            scaled_positions=[site["abc"] for site in sites],
            cell=structure["lattice"]["matrix"],
            pbc=True,
        )
    except (TypeError, KeyError, IndexError, ValueError):
        raise UserError(f"{where}: no such material, or not an ordered crystal") from None


def from_optimade(provider: str, identifier: str) -> Atoms:
    """A structure by the OPTIMADE API v1 (Evans et al., Digital Discovery 3, 1509 (2024)).

    Parameters
    ----------
    provider : of OPTIMADE
    identifier : of the structure there

    Returns
    -------
    the cell as it stands there, Å

    Raises
    ------
    UserError
        There is no answer, no such structure, or it is disordered.
    """
    where = f"optimade {provider} {identifier}"
    url = f"{OPTIMADE[provider]}/v1/structures/{urllib.parse.quote(identifier, safe='')}"
    entries = _json(url, {}, where).get("data")
    try:
        entry = (entries[0] if isinstance(entries, list) else entries)["attributes"]
        kinds = {kind["name"]: kind["chemical_symbols"] for kind in entry["species"]}
        if any(len(symbols) != 1 for symbols in kinds.values()):
            raise UserError(f"{where}: has disordered sites; give an ordered file instead")
        symbols = [kinds[name][0] for name in entry["species_at_sites"]]
        cell, positions = entry["lattice_vectors"], entry["cartesian_site_positions"]
        return Atoms(symbols, positions, cell=cell, pbc=True)
    except (TypeError, KeyError, IndexError, ValueError):
        raise UserError(f"{where}: no such structure there, or not a crystal") from None


def _json(url: str, headers: dict[str, str], where: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            reply = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:150]
        raise UserError(
            f"{where}: not to be had ({reason}); check key and network, or give a file"
        ) from None
    if not isinstance(reply, dict):
        raise UserError(f"{where}: the answer is not a JSON object; give a file instead")
    return reply
