"""Bulk crystals against spglib, files and databases; nothing read outside the task folder."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import spglib
from ase.io import write

from atomistics.builders.building import as_text
from atomistics.builders.crystals import databases
from campaign.errors import UserError
from tests.builders.recipes import GRAPHITE, LITHIUM_CARBONATE, MGO, NACL, RUTILE, density, made


def space_group(atoms):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-3).number


@pytest.mark.parametrize(
    ("crystal", "group", "lengths", "atoms", "g_cm3"),
    [
        (NACL, 225, [5.64, 5.64, 5.64], 8, 2.163),
        (RUTILE, 136, [4.594, 4.594, 2.959], 6, 4.248),
        (GRAPHITE, 194, [2.464, 2.464, 6.711], 4, 2.261),
        (LITHIUM_CARBONATE, 15, [8.359, 4.973, 6.197], 24, 2.099),
    ],
    ids=["NaCl", "rutile", "graphite", "Li2CO3"],
)
def test_symmetry_lattice_and_density(crystal, group, lengths, atoms, g_cm3):
    built = made("solid", **crystal)
    assert space_group(built) == group
    assert sorted(built.cell.lengths()) == pytest.approx(sorted(lengths), abs=1e-4)
    assert len(built) == atoms
    assert density(built) == pytest.approx(g_cm3, abs=2e-3)


def test_cells_and_scale():
    assert len(made("solid", **NACL, cell="primitive")) == 2
    wide = made("solid", **NACL, min_length_angstrom=10, scale=1.02)
    assert wide.cell.lengths() == pytest.approx([2 * 5.64 * 1.02] * 3)
    assert space_group(wide) == 225


def test_solid_solution_has_the_exact_composition_and_is_seeded():
    parameters = {
        **NACL,
        "supercell": [2, 2, 2],
        "substitutions": [
            {"element": "Na", "by": "K", "fraction": 0.25},
            {"element": "Cl", "count": 2},
        ],
    }
    first, again, other = (made("solid", seed=s, **parameters) for s in (1, 1, 2))
    assert dict(first.symbols.formula.count()) == {"Na": 24, "K": 8, "Cl": 30}
    assert as_text(first) == as_text(again)
    assert list(first.symbols) != list(other.symbols)
    with pytest.raises(UserError, match="substitutions: 9 of 4 Na"):
        made("solid", **NACL, substitutions=[{"element": "Na", "by": "K", "count": 9}])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sites": [{"element": "Na", "position": [0, 0, 0], "wyckoff": "8c"}]}, "4-fold"),
        ({"sites": [{"element": "Xx", "position": [0, 0, 0]}]}, "Xx"),
        ({"lattice": {"a_angstrom": 5, "b_angstrom": 6}}, "b = a"),
        ({"space_group": 14}, "b_angstrom, c_angstrom"),
        (
            {"space_group": 5, "lattice": {"a_angstrom": 5, "b_angstrom": 6, "c_angstrom": 7}},
            "beta_degrees",
        ),
        ({"sites": [{"element": "Na", "position": [0, 0, 0]}] * 2}, "space_group 225"),
    ],
)
def test_contradictions_are_named(changes, said):
    crystal = {
        "space_group": 225,
        "lattice": {"a_angstrom": 5.64},
        "sites": [{"element": "Na", "position": [0, 0, 0]}],
    }
    with pytest.raises(UserError, match=said) as caught:
        made("solid", **{**crystal, **changes})
    assert "\n" not in str(caught.value)


def test_files_of_the_task_folder_and_no_others(tmp_path):
    (tmp_path / "files").mkdir()
    reference = made("solid", **RUTILE)
    write(tmp_path / "files/rutile.cif", reference)
    write(tmp_path / "secret.cif", reference)
    (tmp_path / "files/link.cif").symlink_to(tmp_path / "secret.cif")
    (tmp_path / "files/broken.vasp").write_text("nonsense")
    built = made("solid", folder=tmp_path, file="files/rutile.cif")
    assert space_group(built) == 136
    assert len(built) == 6
    for name, said in (
        ("link.cif", "outside"),
        ("broken.vasp", "is no POSCAR"),
        ("none.cif", "no such"),
    ):
        with pytest.raises(UserError, match=said):
            made("solid", folder=tmp_path, file=f"files/{name}")


class Database(BaseHTTPRequestHandler):
    """Answers as OPTIMADE and the Materials Project would, for one crystal."""

    def do_GET(self):
        atoms = made("solid", **MGO)
        cell = atoms.cell.array.tolist()
        if "/v1/structures/one" in self.path:
            data = {
                "data": {
                    "attributes": {
                        "species": [{"name": s, "chemical_symbols": [s]} for s in ("Mg", "O")],
                        "species_at_sites": list(atoms.symbols),
                        "lattice_vectors": cell,
                        "cartesian_site_positions": atoms.positions.tolist(),
                    }
                }
            }
        elif "mp-1265" in self.path and self.headers["X-API-KEY"] == "key":
            rows = zip(atoms.symbols, atoms.get_scaled_positions().tolist(), strict=True)
            sites = [{"species": [{"element": s}], "abc": x} for s, x in rows]
            data = {"data": [{"structure": {"lattice": {"matrix": cell}, "sites": sites}}]}
        else:
            data = {"data": []}
        body = json.dumps(data).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_databases_with_and_without_key_and_network(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(UserError, match="MP_API_KEY is not set"):
        made("solid", materials_project="mp-1265")
    monkeypatch.setitem(databases.OPTIMADE, "cod", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="check key and network"):
        made("solid", optimade="cod", optimade_id="one")
    server = HTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(databases.OPTIMADE, "cod", here)
    monkeypatch.setattr(databases, "MATERIALS_PROJECT", here + "/")
    monkeypatch.setenv("MP_API_KEY", "key")
    for source in ({"optimade": "cod", "optimade_id": "one"}, {"materials_project": "mp-1265"}):
        assert space_group(made("solid", **source)) == 225
    for source in ({"optimade": "cod", "optimade_id": "two"}, {"materials_project": "mp-1"}):
        with pytest.raises(UserError, match="no such"):
            made("solid", **source)
    server.shutdown()
