"""The .cfg format: every field survives, every defect is one line with file and line number."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtp.configuration import Configuration, from_atoms
from mtp.errors import MTPError
from mtp.formats.cfg import iterate_cfg, parse_cfg, read_cfg, write_cfg
from tests.mtp.samples import SPECIES, configuration, needs_shared, shared, training_set

GOOD = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.1 0.0
    0.0 5.0 0.2
    0.3 0.0 6.0
 AtomData:  id type direct_x direct_y direct_z fz fx fy nbh_grades site_en charge
    1 1 0.5 0.25 0.125 3 1 2 1.5 -0.25 0.1
    2 0 0.0 0.00 0.000 6 4 5 0.5 -0.75 0.2
 Energy
    -1.0
 PlusStress:  xy yz xz zz yy xx
    6 4 5 3 2 1
 Feature   EFS_by   some  code, twice
 Feature   note
END_CFG
"""


def read_text(tmp_path, text):
    path = tmp_path / "in.cfg"
    path.write_text(text)
    return read_cfg(path)


numbers = st.floats(-1e6, 1e6, allow_nan=False, width=64)


@st.composite
def configurations(draw):
    size, periodic = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-12, 12))

    def array(*shape):
        return rng.normal(size=shape) * scale

    def maybe(*shape):
        return array(*shape) if draw(st.booleans()) else None

    words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1)
    columns = draw(st.sets(st.sampled_from(["charge", "magmom_x", "magmom_y", "ghost"])))
    return Configuration(
        cell=np.vstack([array(periodic, 3), np.zeros((3 - periodic, 3))]),
        pbc=np.arange(3) < periodic,
        types=rng.integers(0, 5, size),
        positions=array(size, 3),
        energy=draw(st.none() | numbers),
        forces=maybe(size, 3),
        virial=maybe(6),
        site_energies=maybe(size),
        grades=maybe(size),
        features=draw(st.dictionaries(words, words, max_size=3)),
        columns={
            name: rng.integers(0, 2, size) * 1.0 if name == "ghost" else array(size)
            for name in columns
        },
    )


@settings(max_examples=60, deadline=None)
@given(items=st.lists(configurations(), max_size=3))
def test_reading_what_was_written_gives_the_same(items, tmp_path_factory):
    path = tmp_path_factory.mktemp("cfg") / "x.cfg"
    assert write_cfg(path, items) == len(items)
    assert read_cfg(path) == items


def test_columns_in_any_order_direct_coordinates(tmp_path):
    (found,) = read_text(tmp_path, GOOD)
    assert found.positions[0] == pytest.approx(np.array([0.5, 0.25, 0.125]) @ found.cell)
    assert found.forces.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.virial.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.types.tolist() == [1, 0]
    assert found.grades.tolist() == [1.5, 0.5]
    assert found.site_energies.tolist() == [-0.25, -0.75]
    assert found.columns["charge"].tolist() == [0.1, 0.2]
    assert found.features == {"EFS_by": "some  code, twice", "note": ""}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("PlusStress:", "Stress:", 13, "PlusStress"),
        ("    2\n", "    3\n", 11, "columns"),
        ("    2\n", "    1\n", 10, "keyword"),
        ("    2\n", "    99999999999999999\n", 3, "positive integer"),
        ("    1 1 0.5", "    1 -1 0.5", 9, "type"),
        ("    2 0 0.0", "    7 0 0.0", 10, "id must be 2"),
        ("0.25 0.125", "nan 0.125", 9, "finite"),
        ("0.25 0.125", "1e999 0.125", 9, "finite"),
        ("0.25 0.125", "1_0 0.125", 9, "not a number"),
        ("direct_y", "cartes_y", 1, "not all of"),
        ("charge", "chrg", 8, "chrg"),
        ("charge", "fx", 8, "repeated"),
        ("    0.3 0.0 6.0\n", "", 1, "three Supercell"),
        ("    0.3 0.0 6.0\n", "    0.3 0.0 6.0\n  1 2 3\n", 8, "more than three"),
        ("    -1.0", "    -1.0 2", 12, "one value"),
        (" Energy\n    -1.0", " Energy\n 1\n Energy\n    -1.0", 13, "twice"),
        ("END_CFG", "", 1, "truncated"),
        ("BEGIN_CFG", "BEGIN", 1, "BEGIN_CFG"),
        (" Size\n    2\n", "", 6, "Size before"),
        ("xx\n", "xz\n", 13, "six components"),
    ],
)
def test_defects_are_one_line_with_file_and_line(tmp_path, old, new, line, words):
    assert old in GOOD
    with pytest.raises(MTPError) as caught:
        read_text(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert re.match(rf".*in\.cfg:{line}: ", message), message
    assert words in message
    assert "\n" not in message


def test_second_configuration_counts_lines_of_the_file(tmp_path):
    with pytest.raises(MTPError, match=r":26: .*nan is not finite"):
        read_text(tmp_path, GOOD + GOOD.replace("0.25 0.125", "nan 0.125"))


def test_reading_streams(tmp_path):
    path = tmp_path / "in.cfg"
    path.write_text(GOOD + "rubbish\n")
    stream = iterate_cfg(path)
    assert len(next(stream)) == 2
    with pytest.raises(MTPError, match="rubbish"):
        next(stream)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.cfg"
    path.write_text("old")

    def broken():
        yield configuration()
        raise MTPError("stop")

    with pytest.raises(MTPError, match="stop"):
        write_cfg(path, broken())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.cfg"]


def test_missing_folder_is_one_line(tmp_path):
    with pytest.raises(MTPError, match="cannot be written"):
        write_cfg(tmp_path / "no" / "out.cfg", [])


def test_devices_are_written_not_replaced(tmp_path):
    assert write_cfg("/dev/null", [configuration()]) == 1
    assert not Path("/dev/null").is_file()


def test_virial_has_mlips_sign_and_survives_ase():
    before = training_set(1)[0]
    atoms = before.to_atoms(SPECIES)
    assert atoms.get_stress() == pytest.approx(-before.virial / before.volume)
    after = from_atoms(atoms, SPECIES)
    assert after.virial == pytest.approx(before.virial, rel=1e-12)
    assert replace(after, virial=before.virial) == before


def test_types_follow_the_order_of_species():
    atoms = configuration(atoms=6).to_atoms(SPECIES)
    assert from_atoms(atoms, SPECIES[::-1]).types.tolist() == [
        2 - kind for kind in configuration(atoms=6).types
    ]
    with pytest.raises(MTPError, match=r"element C is not among .*Li, O"):
        from_atoms(atoms, ["Li", "O"])
    with pytest.raises(MTPError, match="type 2 has no element"):
        configuration(atoms=6).to_atoms(["Li", "C"])


def test_labels_of_another_state_are_not_taken():
    atoms = training_set(1)[0].to_atoms(SPECIES)
    atoms.positions[0] += 0.1
    assert from_atoms(atoms, SPECIES).energy is None


def test_mixed_boundaries_write_only_periodic_vectors(tmp_path):
    before = configuration(pbc=(True, False, True))
    write_cfg(tmp_path / "x.cfg", [before])
    (after,) = read_cfg(tmp_path / "x.cfg")
    assert after.pbc.tolist() == [True, True, False]
    assert np.array_equal(after.cell[:2], before.cell[[0, 2]])


def test_text_lines_parse_with_their_numbers():
    with pytest.raises(MTPError, match=r"^here:101: "):
        list(parse_cfg(["x"], "here", 101))


PLAIN = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.0 4.0 0.0
    0.0 0.0 4.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz
    1 0 0.0 0.0 0.0  0.5  0.1 -0.2
    2 1 2.1 2.0 2.0 -0.5 -0.1  0.2
 Energy
    -7.5
 PlusStress:  xx yy zz yz xz xy
    -0.64 -1.28 -1.92 -0.256 -0.192 -0.128
 Feature   EFS_by VASP
 Feature   mindist 3.46
END_CFG
"""
GHOSTS = {"id type": "ghost id type", "    1 0": "    false 1 0", "    2 1": "    true 2 1"}


def edited(changes):
    text = PLAIN
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "changes",
    [
        {"Supercell": "SuperCell"},
        {"AtomData:": "Atomic_data:"},
        {"BEGIN_CFG": "\ufeffBEGIN_CFG"},
        {"id type": "type", "    1 0": "    0", "    2 1": "    1"},
        {
            " Feature   EFS_by VASP\n Feature   mindist 3.46\n": (
                " Features:  EFS_by  mindist\n   VASP  3.46\n"
            )
        },
        {" Supercell\n": " Supercell"},
        {"    4.0 0.0 0.0\n    0.0 4.0 0.0\n": "    4.0 0.0 0.0  0.0 4.0 0.0\n"},
        {"END_CFG\n": "END_CFG"},
        {"\n": "\r\n"},
        {" 0.5 ": " +0.5 "},
    ],
)
def test_dialects_mean_the_same(tmp_path, changes):
    (plain,) = read_text(tmp_path, PLAIN)
    (tmp_path / "in.cfg").write_bytes(edited(changes).encode())
    assert read_cfg(tmp_path / "in.cfg") == [plain]


def test_what_mlip_reads_and_we_did_not(tmp_path):
    (plain,) = read_text(tmp_path, PLAIN)
    (no_type,) = read_text(
        tmp_path, edited({"id type": "id", "    1 0": "    1", "    2 1": "    2"})
    )
    assert no_type == replace(plain, types=np.zeros(2, int))
    (ghost,) = read_text(tmp_path, edited(GHOSTS))
    assert ghost.ghosts.tolist() == [False, True]
    assert plain.ghosts is None
    magnetic = {
        " fz\n": " fz magmom_x en_der_mx\n",
        "-0.2\n": "-0.2 2.2 1e-2\n",
        "0.2\n": "0.2 -2.2 0\n",
    }
    text = PLAIN
    for old, new in magnetic.items():
        text = text.replace(old, new, 1)
    (spins,) = read_text(tmp_path, text)
    assert spins.columns["en_der_mx"].tolist() == [0.01, 0.0]


def test_half_a_virial_and_a_virial_per_volume_are_read_as_mlip_does_and_counted(tmp_path):
    some = {"xx yy zz yz xz xy": "xx yy zz", "-1.92 -0.256 -0.192 -0.128": "-1.92"}
    with pytest.warns(UserWarning, match=r"in\.cfg: .*lacks 3 .* count as 0.*: 2 configurations"):
        found = read_text(tmp_path, 2 * edited(some))
    assert found[1].virial.tolist() == [-0.64, -1.28, -1.92, 0, 0, 0]
    with pytest.warns(UserWarning, match=r"divided by the volume.*: 1 configurations"):
        (found,) = read_text(tmp_path, edited({"PlusStress:": "Virial:"}))
    assert found.virial[0] == -0.64 / 64
    with pytest.raises(MTPError, match="three vectors"):
        read_text(tmp_path, edited({"PlusStress:": "Virial:", "    0.0 0.0 4.0\n": ""}))


def test_long_files_are_read_and_written_by_the_kernel_as_by_python(tmp_path, monkeypatch):
    many = training_set(5)
    write_cfg(tmp_path / "fast.cfg", many)
    monkeypatch.setattr("mtp.formats.cfg.KERNEL_TEXT", False)
    write_cfg(tmp_path / "slow.cfg", many)
    for name in ("fast.cfg", "slow.cfg"):
        assert read_cfg(tmp_path / name) == many


@needs_shared
@pytest.mark.parametrize("name", ["test.cfg", "test-grades-L08-nbh.cfg", "test-efs-L12.cfg"])
def test_files_of_mlip_survive(tmp_path, name):
    before = read_cfg(shared(name, tmp_path))
    write_cfg(tmp_path / "again.cfg", before)
    assert len(before) == 40
    assert read_cfg(tmp_path / "again.cfg") == before
