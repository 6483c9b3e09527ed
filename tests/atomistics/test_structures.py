import numpy as np
import pytest
import yaml
from ase import Atoms, io
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from atomistics import dataset, structures
from atomistics.structure_index import Structure, read_index, write_index
from campaign.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two sound structures of one subsystem, indexed."""
    entries = []
    for number, held_out in enumerate((False, True)):
        atoms = bulk("NaCl", "rocksalt", 5.64 + 0.1 * number, cubic=True)
        io.write(tmp_path / f"nacl-{number}.extxyz", atoms)
        entries.append(
            Structure(
                id=f"nacl-{number}",
                file=f"nacl-{number}.extxyz",
                subsystem="salt",
                family="solid",
                held_out=held_out,
                description="rock salt",
            )
        )
    write_index(tmp_path, entries)
    return tmp_path


def edit(folder, /, number=0, **changes):
    index = folder / "index.yaml"
    entries = yaml.safe_load(index.read_text())
    entries[number] = {
        key: value for key, value in (entries[number] | changes).items() if value is not None
    }
    index.write_text(yaml.safe_dump(entries))


def test_index_round_trip(folder):
    found = read_index(folder)
    assert [(s.id, s.subsystem, s.held_out) for s in found] == [
        ("nacl-0", "salt", False),
        ("nacl-1", "salt", True),
    ]
    before = (folder / "index.yaml").read_bytes()
    write_index(folder, found)
    assert (folder / "index.yaml").read_bytes() == before
    atoms = structures.load(found[1])
    assert atoms.info == {"structure": "nacl-1", "subsystem": "salt"}
    assert atoms.calc is None
    assert np.allclose(atoms.cell.lengths(), 5.74)
    structures.check(atoms, ["Cl", "Na"], 5.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "Bad Id"}, r"entry 0 \(Bad Id\): id='Bad Id'"),
        ({"id": "x; rm -rf"}, "id="),
        ({"id": None}, r"entry 0: id=.*required"),
        ({"id": "nacl-1"}, "id 'nacl-1' appears twice"),
        ({"subsystem": "../up"}, "subsystem="),
        ({"family": "crystal"}, "family='crystal'"),
        ({"held_out": "yes"}, "held_out='yes'"),
        ({"heldout": True}, "heldout=True: Extra inputs"),
        ({"folder": "/"}, "no 'folder'"),
        ({"sha256": "0" * 64}, "sha256 is not that of 'nacl-0.extxyz'"),
        ({"file": "missing.extxyz", "sha256": None}, "'missing.extxyz' is missing"),
        ({"file": "nacl-1.extxyz", "sha256": None}, "file 'nacl-1.extxyz' appears twice"),
        ({"file": "../nacl-0.extxyz"}, "lies outside"),
        ({"file": "/etc/passwd"}, "lies outside"),
        ({"file": "index.yaml"}, "must end in one of"),
        ({"held_out": True}, "subsystem 'salt' is held out whole"),
        ({"subsystem": "pepper"}, "subsystem 'pepper' has no held-out structure"),
    ],
)
def test_each_unsound_index_is_one_line(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_index(folder)
    assert "\n" not in str(caught.value)
    assert str(folder / "index.yaml") in str(caught.value)


def test_link_out_of_the_folder_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.extxyz"
    io.write(outside, bulk("NaCl", "rocksalt", 5.6))
    (folder / "link.extxyz").symlink_to(outside)
    edit(folder, file="link.extxyz", sha256=None)
    with pytest.raises(UserError, match="lies outside"):
        read_index(folder)


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "- 1", "- [", "\x00", "- {id: [1], file: 2}"])
def test_malformed_index_is_one_line(folder, text):
    (folder / "index.yaml").write_text(text)
    with pytest.raises(UserError, match=r"index\.yaml") as caught:
        read_index(folder)
    assert "\n" not in str(caught.value)


def test_missing_index_and_user_brought_file_without_hash(folder):
    edit(folder, sha256=None)
    assert read_index(folder)[0].sha256 is None
    (folder / "index.yaml").unlink()
    with pytest.raises(UserError, match=r"index\.yaml: no such file"):
        read_index(folder)


@pytest.mark.parametrize(
    "text",
    ["", "2\n\nH 0 0 0\n", "1\nLattice=\n Qq 0 0 0", "hello", "1\n\nNa nan? 0 0\n", "0\n\n"],
)
def test_malformed_structure_file_is_one_line(folder, text):
    (folder / "nacl-0.extxyz").write_text(text)
    edit(folder, sha256=None)
    with pytest.raises(UserError, match=r"nacl-0\.extxyz") as caught:
        structures.load(read_index(folder)[0])
    assert "\n" not in str(caught.value)


def test_trajectory_is_not_a_structure(folder):
    io.write(folder / "nacl-0.extxyz", [bulk("NaCl", "rocksalt", 5.6)] * 2)
    edit(folder, sha256=None)
    with pytest.raises(UserError, match="holds 2 frames, must hold one"):
        structures.load(read_index(folder)[0])


def test_heights_are_perpendicular():
    primitive = bulk("NaCl", "rocksalt", 5.64)
    assert np.allclose(structures.heights(primitive), 5.64 / np.sqrt(3))
    cell = np.array([[5.0, 0, 0], [3, 4, 0], [1, 2, 6]])
    across = [np.cross(cell[1], cell[2]), np.cross(cell[2], cell[0]), np.cross(cell[0], cell[1])]
    expected = abs(np.linalg.det(cell)) / np.linalg.norm(across, axis=1)
    assert np.allclose(structures.heights(Atoms("Na", cell=cell, pbc=True)), expected)
    slab = Atoms("Na", cell=[4, 5, 0], pbc=(True, True, False))
    assert np.allclose(structures.heights(slab), [4, 5, np.inf])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.set_chemical_symbols(["K"] + ["Na"] * 7), "element K is not in species"),
        (lambda a: a.set_atomic_numbers([0] + [11] * 7), "unknown element"),
        (lambda a: a.set_cell([4.9, 9, 9]), r"cell height 4\.900 Å is below the cutoff 5 Å"),
        (lambda a: a.set_cell([0, 9, 9]), "no length"),
        (lambda a: a.set_cell([[9, 0, 0], [9, 0, 0], [0, 0, 9]]), "no volume"),
        (lambda a: a.positions.__setitem__((0, 0), np.nan), "NaN"),
        (lambda a: a.positions.__setitem__(0, a.positions[1] + 0.9), r"atoms .*1\.559 Å apart"),
        (lambda a: a.positions.__setitem__(0, a.positions[1] + [5.2, 0, 0]), r"0\.440 Å apart"),
    ],
)
def test_unsound_structure_is_one_line(change, message):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    structures.check(atoms, ["Na", "Cl"], 5.0)
    change(atoms)
    with pytest.raises(UserError, match=message) as caught:
        structures.check(atoms, ["Na", "Cl"], 5.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["H2", "N2", "CO", "LiF", "C2H2", "HF", "CO2", "LiH", "O2"])
def test_shortest_bonds_of_chemistry_pass(name):
    atoms = molecule(name)
    structures.check(atoms, sorted(set(atoms.symbols)), 5.0)


@pytest.mark.parametrize("count", ["999999999", "9" * 5000], ids=["many", "digits"])
def test_more_atoms_announced_than_lines_is_no_long_search(tmp_path, count):
    (tmp_path / "a.extxyz").write_text(f'{count}\nLattice="9 0 0 0 9 0 0 0 9"\nCu 0 0 0\n')
    entry = {"id": "a", "file": "a.extxyz", "subsystem": "s", "family": "solid"}
    structure = Structure(**entry, held_out=False, description="d", folder=tmp_path)
    with pytest.raises(UserError, match="atoms announced in 3 lines") as refused:
        structures.load(structure)
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


CIF = """data_x
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{column}
"""


@pytest.mark.parametrize(
    ("occupancies", "rows", "says"),
    [
        (True, "Na1 Na 0 0 0 0.6\nK1 K 0 0 0 0.4", "site Na1/K1 is shared, occupancy 0.6/0.4"),
        (True, "Na1 Na 0 0 0 0.6(1)\nK1 K 1.0 0 0 0.4(1)", "site Na1/K1 is shared"),
        (True, "Na1 Na 0 0 0 0.5", "site Na1 is partly occupied, occupancy 0.5"),
        (False, "Na1 Na 0 0 0\nK1 K 0 0 0", "site Na1/K1 is shared, occupancy 1/1"),
        (True, "Na1 Na 0 0 0 1.0", None),
        (True, "Na1 Na 0 0 0 ?", None),
        (True, "Na1 Na 0 0 0 1.000(3)", None),
        (False, "Na1 Na 0 0 0", None),
    ],
)
def test_sites_of_a_cif_that_no_frame_can_hold(tmp_path, occupancies, rows, says):
    path = tmp_path / "x.cif"
    last = "1.0" if occupancies else ""
    column = "_atom_site_occupancy" if occupancies else ""
    text = CIF.format(column=column) + f"{rows}\nCl1 Cl 0.5 0.5 0.5 {last}\n"
    path.write_text("\n".join(line for line in text.split("\n") if line))
    if says is None:
        assert str(structures.frames(path)[0].symbols) == "Na4Cl4"
        return
    with pytest.raises(UserError, match="write an ordered cell") as error:
        structures.frames(path)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("columns", "rows", "says"),
    [
        ("", ["Na1 Na 0 0 0", "K1 K 0.5 0.5 0"], "site Na1/K1 is shared, occupancy 1/1"),
        ("occupancy", ["Na1 Na 0 0 0 0.6", "K1 K 0.5 0.5 0 0.4"], "Na1/K1 is shared"),
        ("occupancy", ["Na1 Na 0 0 0 0,95"], "site Na1 has an occupancy of 0,95"),
        ("occupancy", ["Na1 Na 0 0 0 1.2"], "site Na1 has an occupancy of 1.2"),
        ("attached_hydrogens", ["O1 O 0 0 0 1"], "site O1 has 1 attached hydrogens"),
        ("calc_flag", ["Na1 Na 0 0 0 dum"], "site Na1 is a dummy"),
        ("disorder_group", ["Na1 Na 0 0 0 1", "K1 K .1 0 0 2"], "disorder groups 1, 2"),
        ("disorder_group", ["Na1 Na 0 0 0 -1"], "disorder groups -1"),
        ("", ["Na1 Na0.6K0.4 0 0 0"], "'Na0.6K0.4' is no element"),
        ("", ["Na1 NA 0 0 0"], "'NA' is no element"),
        ("formula", ["Na1 Na 0 0 0"], "its sites are Na, its formula (_chemical_formula_sum) is H"),
        ("disorder_group", ["Na1 Na 0 0 0 1"], None),
        ("", ["Na1 Na1+ 0 0 0", "Na2 Na1+ 0.5 0.5 0"], None),
    ],
)
def test_a_cif_that_lists_other_atoms_than_are_there(tmp_path, columns, rows, says):
    path, formula = tmp_path / "x.cif", columns == "formula"
    column = f"_atom_site_{columns}" if columns and not formula else ""
    text = CIF.format(column=column).rstrip() + "\n" + "\n".join(rows) + "\n"
    if formula:
        text = text.replace("loop_", "_chemical_formula_sum 'H Na O'\nloop_")
    path.write_text(text)
    if says is None:
        assert str(structures.frames(path)[0].symbols) == "Na4"
        return
    with pytest.raises(UserError) as error:
        structures.frames(path)
    assert says in str(error.value)


NAMED = "_symmetry_space_group_name_H-M 'F m -3 m'"
ORIGINS = "_space_group_IT_number 227"
TWO = ["Na1 Na 0 0 0", "Cl1 Cl 0.5 0.5 0.5"]
FOUR = [f"Na Na {at}" for at in ("0 0 0", "0 .5 .5", ".5 0 .5", ".5 .5 0")]
FOUR += [f"Cl Cl {at}" for at in (".5 0 0", ".5 .5 .5", "0 0 .5", "0 .5 0")]


@pytest.mark.parametrize(
    ("symmetry", "formula", "rows", "says"),
    [
        (NAMED, "Na Cl", TWO, "Na4Cl4"),
        (NAMED, "Na4 Cl4", TWO, "Na4Cl4"),  # of the cell, as pymatgen writes it
        ("", "Na Cl", TWO, "makes 2 atoms of its sites, _cell_formula_units_Z 4 of Na Cl are 8"),
        (
            "_space_group_name_Hall '-F 4 2 3'",
            "Na Cl",
            TWO,
            "stands only in _space_group_name_hall",
        ),
        ("_space_group_name_Hall 'P 1'", "Na4 Cl4", FOUR, "Na4Cl4"),
        ("_space_group.name_H-M_alt 'F m -3 m'", "Na Cl", TWO, "stands only in _space_group.name"),
        (ORIGINS, "Na2", ["Na1 Na 0 0 0"], "Na8"),
        (ORIGINS, "Na2", ["Na1 Na .125 .125 .125"], "makes 16 atoms of its sites"),  # origin 2
    ],
)
def test_a_cif_whose_symmetry_is_lost_or_stands_for_two(tmp_path, symmetry, formula, rows, says):
    head = f"_cell_formula_units_Z 4\n_chemical_formula_sum '{formula}'\n{symmetry}"
    text = CIF.format(column="").replace(NAMED, head).rstrip() + "\n" + "\n".join(rows) + "\n"
    path = tmp_path / "x.cif"
    path.write_text(text)
    if says.startswith("Na"):
        assert str(structures.frames(path)[0].symbols) == says
        return
    with pytest.raises(UserError) as error:
        structures.frames(path)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "key", ["charge", "total_charge", "MAGMOM", "total_spin", "U", "hubbard_u"]
)
def test_what_a_file_says_of_its_electrons_is_used_or_told(folder, key):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.info[key] = 2
    io.write(folder / "nacl-0.extxyz", atoms)
    edit(folder, sha256=None)
    assert structures.unused(read_index(folder)[0]) == [key]


def test_occupancies_of_an_extxyz_are_no_full_sites(tmp_path):
    """As ASE itself writes a shared site: a dictionary in the line, one element in the column."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.info["occupancy"] = {"0": {"Na": 0.6, "K": 0.4}, "1": {"Cl": 1.0}}
    io.write(tmp_path / "x.extxyz", atoms)
    with pytest.raises(UserError, match="occupancy is not 1 at every site"):
        structures.frames(tmp_path / "x.extxyz")


def test_moments_and_charges_stay_from_file_to_data_set(folder, tmp_path):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.set_initial_magnetic_moments(np.arange(8.0) - 4)
    atoms.set_initial_charges([1, -1] * 4)
    atoms.set_tags([1] * 8)
    atoms.set_constraint(FixAtoms([0]))
    io.write(folder / "nacl-0.extxyz", atoms)
    edit(folder, sha256=None)
    entry = read_index(folder)[0]
    found = structures.load(entry)
    dataset.write(tmp_path / "d.h5", [found, Atoms("Ar")])
    for kept in (found, dataset.read(tmp_path / "d.h5")[0]):
        assert kept.get_initial_magnetic_moments().tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
        assert kept.get_initial_charges().tolist() == [1, -1] * 4
        assert not kept.constraints, "forces of a label are those of every atom"
        assert kept.info == {"structure": "nacl-0", "subsystem": "salt"}
    assert structures.unused(entry) == ["constraints", "tags"]


def test_a_poscar_without_elements_is_refused(tmp_path):
    path = tmp_path / "x.vasp"
    io.write(path, bulk("NaCl", "rocksalt", 5.64, cubic=True), sort=True)
    lines = path.read_text().split("\n")
    assert str(structures.frames(path)[0].symbols) == "Cl4Na4"
    path.write_text("\n".join(["my cell", *lines[1:5], *lines[6:]]))
    with pytest.raises(UserError, match="names no elements"):
        structures.frames(path)
    path.write_text("\n".join(["Cl4 Na4", *lines[1:5], *lines[6:]]))
    assert str(structures.frames(path)[0].symbols) == "Cl4Na4"
