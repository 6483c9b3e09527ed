"""The `mlp` command in process: both dialects, one-line failures, inputs left alone."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase.io import read

from mtp.arguments import Option, Verb, parse
from mtp.cli import main, verbs
from mtp.errors import MTPError
from mtp.formats.almtp import read_potential, write_potential
from mtp.formats.cfg import read_cfg, write_cfg
from mtp.selection.selector import RowWeights, Selector
from tests.mtp.samples import (
    SPECIES,
    configuration,
    needs_shared,
    potential,
    shared,
    training_set,
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """pot.mtp, set.cfg (labelled by another potential), and al.almtp with an active set."""
    monkeypatch.chdir(tmp_path)
    model, labelled = potential(), training_set(6)
    write_potential("pot.mtp", model)
    write_cfg("set.cfg", labelled)
    selector = Selector(model, RowWeights.of_mode("nbh"))
    selector.add(labelled[:3])
    write_potential("al.almtp", selector.with_active_set())
    return tmp_path


def fails(capsys, *words, says=""):
    capsys.readouterr()
    assert main(list(words)) == 1
    captured = capsys.readouterr()
    assert re.fullmatch(r"ERROR: .+\n", captured.err), captured.err
    assert says in captured.err
    return captured.err


def test_unknown_names_are_errors_with_the_nearest(files, capsys):
    fails(capsys, "chek_errors", says="did you mean check_errors?")
    fails(capsys, "check_errors", "pot.mtp", "set.cfg", "--report-too=x", says="--report_to?")
    fails(capsys, "check_errors", "-x", says="--key=value")
    fails(capsys, "check_errors", "pot.mtp", says="takes potential database, found 1")
    fails(capsys, "check_errors", "pot.mtp", "set.cfg", "--log", "x", says="--log needs a value")
    fails(capsys, "check_errors", "pot.mtp", "set.cfg", "--log=a", "--log=b", says="twice")
    fails(capsys, says="no command")


def test_missing_and_broken_files_are_errors(files, capsys):
    fails(capsys, "check_errors", "no.mtp", "set.cfg", says="no.mtp")
    fails(capsys, "check_errors", "pot.mtp", "no.cfg", says="no.cfg")
    fails(capsys, "check_errors", "set.cfg", "set.cfg", says="set.cfg")
    fails(capsys, "calculate_grade", "pot.mtp", "set.cfg", "out.cfg", says="active set")
    (files / "empty.cfg").touch()
    for verb in ("check_errors", "calculate_efs"):
        extra = ["--output_filename=out.cfg"] if verb == "calculate_efs" else []
        fails(capsys, verb, "pot.mtp", "empty.cfg", *extra, says="no configuration")
    fails(capsys, "mindist", "empty.cfg", says="no two atoms")
    assert not (files / "out.cfg").exists()


def test_types_beyond_the_potential_are_errors(files, capsys):
    write_cfg("bad.cfg", [replace(configuration(), types=np.full(8, 7))])
    fails(capsys, "calculate_efs", "pot.mtp", "bad.cfg", "--output_filename=o.cfg", says="type 7")
    assert not (files / "o.cfg").exists()


def test_errors_name_the_file_and_the_number_of_the_configuration(files, capsys, monkeypatch):
    monkeypatch.setattr("mtp.commands.evaluation.BATCH_ATOMS", 1)
    monkeypatch.setattr("mtp.selection.selector.GRADE_BYTES", 1)
    assert main(["train", "pot.mtp", "set.cfg", "--save_to=a.almtp", "--iteration_limit=1"]) == 0
    several = read_cfg("set.cfg")
    close = several[2].positions.copy()
    close[1] = close[0]
    kinds = {
        "type.cfg": ({"types": several[2].types + 6}, "not in the potential"),
        "close.cfg": ({"positions": close}, "coincides with another"),
    }
    for name, (change, says) in kinds.items():
        write_cfg(name, [*several[:2], replace(several[2], **change)])
        for words in (
            ("check_errors", "pot.mtp", name),
            ("calculate_grade", "a.almtp", name, "o.cfg"),
            ("select_add", "a.almtp", "set.cfg", name, "o.cfg"),
            ("select_add", "a.almtp", name, "set.cfg", "o.cfg"),
        ):
            error = fails(capsys, *words, says=says)
            assert error.startswith(f"ERROR: {name}: configuration 3: "), error
    fit = ("train", "pot.mtp", "set.cfg", "--save_to=o.mtp")
    error = fails(capsys, *fit, "--validation=type.cfg", says="not in the potential")
    assert error.startswith("ERROR: the validation set: configuration 3: "), error
    error = fails(capsys, "train", "pot.mtp", "close.cfg", "--save_to=o.mtp", says="coincides")
    assert "configuration 3: " in error
    write_cfg("w.cfg", [several[0], replace(several[1], features={"weight": "-1"})])
    fails(capsys, "train", "pot.mtp", "w.cfg", "--save_to=o.mtp", says="configuration 2: Feature w")
    (files / "empty.cfg").touch()
    fails(capsys, "cut_extrapolative_nbh", "empty.cfg", "o.cfg", says="no configuration")
    assert not (files / "o.cfg").exists()


@pytest.mark.parametrize("pbc", [(False,) * 3, (True, False, False), (True, True, False)])
def test_open_directions_get_vacuum_where_a_format_needs_a_box(files, pbc):
    c = configuration()
    write_cfg("open.cfg", [replace(c, pbc=np.array(pbc), cell=c.cell * np.array(pbc)[:, None])])
    for form, reader in (("lammps_datafile", "lammps_datafile"), ("poscar", "poscar")):
        options = [f"--species={','.join(SPECIES)}"] if form == "poscar" else []
        assert main(["convert", "open.cfg", "boxed", f"--output_format={form}", *options]) == 0
        assert main(["convert", "boxed", "back.cfg", f"--input_format={reader}", *options]) == 0
        (back,) = read_cfg("back.cfg")
        lengths = np.linalg.norm(back.cell, axis=1)
        assert (lengths[~np.array(pbc)] >= 20).all()
        offsets = back.positions - back.positions[0]
        if form == "poscar":
            grouped = c.positions[np.argsort(c.types, kind="stable")]  # one block an element
            assert np.abs(offsets - (grouped - grouped[0])).max() < 1e-6


def test_options_convert_and_refuse():
    verb = Verb(
        "v",
        "",
        lambda _: 0,
        ((),),
        (
            Option("n", "", int, 3, minimum=0, aliases=("max_n",)),
            Option("x", "", float, 1.0),
            Option("flag", "", bool, False),
            Option("mode", "", choices=("a", "b")),
        ),
    )
    assert parse(verb, ["--max-n=5", "--flag", "--mode=b"]).options == {
        "n": 5,
        "x": 1.0,
        "flag": True,
        "mode": "b",
    }
    assert parse(verb, ["--flag=FALSE"])["flag"] is False
    assert parse(verb, ["--x=2"]).given == {"x"}
    for word in ("--n=1.5", "--n=-1", "--x=nan", "--x", "--flag=maybe", "--mode=c", "--n="):
        with pytest.raises(MTPError, match="--"):
            parse(verb, [word])


def test_help_covers_every_verb(capsys):
    assert main(["help"]) == main(["list"]) == 0
    listed = capsys.readouterr().out
    for name, verb in verbs().items():
        assert name in listed
        assert main(["help", name.replace("_", "-")]) == 0
        usage = capsys.readouterr().out
        assert all(f"--{option.name}" in usage for option in verb.options)


@pytest.mark.parametrize("verb", ["check_errors", "calc-errors"])
def test_errors_against_own_labels_vanish(files, capsys, verb):
    assert main(["calculate_efs", "pot.mtp", "set.cfg", "--output_filename=own.cfg"]) == 0
    capsys.readouterr()
    assert main([verb, "pot.mtp", "own.cfg", "--log=each.txt"]) == 0
    report = capsys.readouterr().out
    assert "Errors checked for 6 configurations\n\tMaximal absolute difference = 0\n" in report
    assert (files / "each.txt").read_text().count("cfg# ") == 6
    assert main(["check_errors", "pot.mtp", "set.cfg", "--report_to=r.txt"]) == 0
    assert re.search(r"RMS     absolute difference = [1-9]", (files / "r.txt").read_text())


def test_unlabelled_configurations_are_an_error(files, capsys):
    write_cfg("bare.cfg", [configuration()])
    fails(capsys, "check_errors", "pot.mtp", "bare.cfg", says="no energy, force or stress")


def test_input_is_overwritten_only_when_asked(files, capsys):
    before = (files / "set.cfg").read_bytes()
    fails(capsys, "calculate_efs", "pot.mtp", "set.cfg", says="--output_filename=FILE")
    assert main(["mindist", "set.cfg"]) == 0
    assert (files / "set.cfg").read_bytes() == before
    assert main(["calculate_efs", "pot.mtp", "set.cfg", "--output-filename=set.cfg"]) == 0
    assert (files / "set.cfg").read_bytes() != before
    assert main(["calc-efs", "pot.mtp", "set.cfg", "third.cfg"]) == 0
    assert read_cfg("third.cfg") == read_cfg("set.cfg")


@pytest.mark.parametrize(
    "words",
    [
        "train pot.mtp set.cfg --save_to=set.cfg --overwrite",
        "train pot.mtp set.cfg --save_to=new.mtp --checkpoint=new.mtp",
        "train pot.mtp set.cfg --save_to=new.mtp --validation=own.cfg --log=own.cfg",
        "convert set.cfg set.cfg",
        "convert set.cfg link.cfg --append",
        "calculate_grade al.almtp set.cfg ./set.cfg",
        "select_add al.almtp set.cfg own.cfg set.cfg",
        "select_add al.almtp set.cfg own.cfg new.cfg --save_selected_to=new.cfg",
        "select_add al.almtp set.cfg own.cfg new.cfg --save_to=al.almtp",
        "relax pot.mtp set.cfg set.cfg",
        "check_errors pot.mtp set.cfg --report_to=set.cfg",
    ],
)
def test_no_input_and_no_other_output_is_written_over(files, capsys, words):
    write_cfg("own.cfg", read_cfg("set.cfg")[:1])
    (files / "link.cfg").symlink_to("set.cfg")
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    error = fails(capsys, *words.split(), says="; name another file")
    assert " is also the " in error
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before


def test_streams_may_be_named_twice(files, capsys):
    words = ("check_errors", "pot.mtp", "set.cfg", "--report_to=stdout", "--log=stdout")
    assert main(list(words)) == 0


def test_a_full_disk_names_the_file(files, capsys, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtp.atomic.os.fsync", full)
    before = sorted(path.name for path in files.iterdir())
    for words in ("convert set.cfg o.cfg", "train pot.mtp set.cfg --save_to=o.cfg"):
        fails(capsys, *words.split(), says="o.cfg: cannot be written (No space left on device)")
    assert sorted(path.name for path in files.iterdir()) == before


def test_other_ranks_leave_the_work_to_the_first(files, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["calculate_efs", "pot.mtp", "set.cfg", "--output_filename=o.cfg"]) == 0
    assert not list(files.glob("o.cfg*"))


def test_grades_thresholds_and_lines(files, capsys):
    assert main(["calculate_grade", "al.almtp", "set.cfg", "g.cfg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Sampling: cfg# 0\tgrade: [\d.e+-]+", lines[0])
    graded = read_cfg("g.cfg")
    values = [float(c.features["MV_grade"]) for c in graded]
    assert values == pytest.approx([c.grades.max() for c in graded], abs=1e-6)
    middle = sorted(values)[3]
    words = ["al.almtp", "set.cfg", "h.cfg", "--log=none", "--add_grade_feature=false"]
    assert main(["calc-grade", *words, f"--threshold_save={middle - 1e-5}"]) == 0
    kept = read_cfg("h.cfg")
    assert len(kept) == sum(v >= middle - 1e-5 for v in values)
    assert "MV_grade" not in kept[0].features
    number = next(k for k, v in enumerate(values) if v > middle)
    fails(capsys, "calculate_grade", *words[:3], f"--threshold-break={middle}", says="threshold")
    assert len(read_cfg("h.cfg")) == number + 1


def test_mlip2_grades_make_their_own_active_set(files):
    words = ["calc-grade", "pot.mtp", "set.cfg", "set.cfg", "g.cfg", "--als-filename=s.almtp"]
    assert main(words) == 0
    grades = [float(c.features["MV_grade"]) for c in read_cfg("g.cfg")]
    assert max(grades) < 1.01
    assert all(c.grades is None for c in read_cfg("g.cfg"))
    assert read_potential("s.almtp").active_set.energy_weight == 1.0


def test_select_add_and_cut(files, capsys):
    write_cfg("train.cfg", read_cfg("set.cfg")[:3])
    assert (
        main(["select_add", "al.almtp", "train.cfg", "set.cfg", "new.cfg", "--save_to=n.almtp"])
        == 0
    )
    new = read_cfg("new.cfg")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Training set was increased by {len(new)} configurations"
    assert 0 < len(new) <= 3
    selector = Selector.stored(read_potential("n.almtp"))
    assert max(g.grade for g in selector.grade(read_cfg("set.cfg"))) < 1.01
    assert (
        main(["select-add", "pot.mtp", "train.cfg", "set.cfg", "c.cfg", "--selection-limit=1"]) == 0
    )
    assert len(read_cfg("c.cfg")) <= 1
    assert main(["calculate_grade", "al.almtp", "set.cfg", "g.cfg"]) == 0
    assert main(["cut_extrapolative_nbh", "g.cfg", "cut.cfg", "--cutoff=3.5"]) == 0
    graded = [c for c in read_cfg("g.cfg") if c.grades.max() >= 1.1]
    for sphere, source in zip(read_cfg("cut.cfg"), graded, strict=True):
        assert not sphere.pbc.any()
        assert sphere.types[0] == source.types[np.argmax(source.grades)]
        radii = np.linalg.norm(sphere.positions, axis=1)
        assert radii[0] == 0 < radii[1:].min()
        assert radii.max() <= 3.5
    fails(capsys, "cut_extrapolative_nbh", "set.cfg", "x.cfg", says="nbh_grades")


def test_mindist_of_images(files, capsys):
    cell = np.diag([3.0, 4.0, 5.0])
    write_cfg("one.cfg", [replace(configuration(atoms=1), cell=cell, positions=np.zeros((1, 3)))])
    assert main(["mindist", "one.cfg", "--output_filename=m.cfg"]) == 0
    assert capsys.readouterr().out == "mindist(0, 0) = 3\nGlobal mindist: 3\n"
    assert read_cfg("m.cfg")[0].features["mindists"] == "(0,0):3"


@pytest.mark.parametrize("form", ["extxyz", "poscar", "lammps_datafile"])
def test_conversion_there_and_back(files, form):
    write_cfg("one.cfg", [replace(c, features={}) for c in read_cfg("set.cfg")[:1]])
    species = f"--species={','.join(SPECIES)}"
    assert main(["convert", "one.cfg", "x", f"--output_format={form}", species]) == 0
    back = ["convert", "x", "back.cfg", f"--input-format={form}", species]
    assert main(back) == 0
    (before,), (after,) = read_cfg("one.cfg"), read_cfg("back.cfg")
    lengths = [
        [c.to_atoms(SPECIES).get_distance(0, k, mic=True) for k in range(1, len(c))]
        for c in (before, after)
    ]
    if form != "poscar":
        assert np.array_equal(after.types, before.types)
        assert lengths[1] == pytest.approx(lengths[0], abs=1e-7)
    if form == "extxyz":
        assert after.energy == pytest.approx(before.energy)
        assert after.virial == pytest.approx(before.virial)
    assert sorted(after.types) == sorted(before.types)
    assert main([*back, "--append"]) == 0
    assert len(read_cfg("back.cfg")) == 2


def test_conversion_options(files, capsys):
    assert main(["convert", "set.cfg", "o.cfg", "--last", "--no_forces_stresses"]) == 0
    (last,) = read_cfg("o.cfg")
    assert last.forces is None
    assert np.array_equal(last.positions, read_cfg("set.cfg")[-1].positions)
    skew = replace(last, cell=np.array([[1.0, 0, 0], [5, 1, 0], [0, 7, 1]]) @ last.cell)
    write_cfg("skew.cfg", [skew])
    assert main(["convert", "skew.cfg", "fixed.cfg", "--fix_lattice"]) == 0
    (fixed,) = read_cfg("fixed.cfg")
    assert np.linalg.norm(fixed.cell) < np.linalg.norm(skew.cell) / 2
    for name in ("skew.cfg", "fixed.cfg"):
        assert main(["calculate_efs", "pot.mtp", name, f"--output_filename=e-{name}"]) == 0
    energies = [read_cfg(f"e-{name}")[0].energy for name in ("skew.cfg", "fixed.cfg")]
    assert energies[0] == pytest.approx(energies[1])
    fails(capsys, "convert", "set.cfg", "P", "--output_format=poscar", says="--species")
    fails(capsys, "convert", "set.cfg", "P", "--input_format=outcar", says="no outcar file")
    assert main(["convert", "set.cfg", "P", "--output_format=vasp-poscar", "--species=3,6,8"]) == 0
    assert len(list(files.glob("P[0-9]"))) == 6
    assert set(read("P0", format="vasp").symbols) <= set(SPECIES)


def test_relaxation_finds_a_minimum(files, capsys):
    words = ["pot.mtp", "set.cfg", "relaxed.cfg", "--save-unrelaxed=failed.cfg"]
    (files / "settings").write_text("relax:iteration_limit 300 # steps\nforce_tolerance = 1e-3\n")
    assert main(["relax", *words, "--relaxation_settings=settings", "--stress_tolerance=0"]) == 0
    assert re.search(r"From 6 configurations \d were relaxed", capsys.readouterr().out)
    relaxed, failed = read_cfg("relaxed.cfg"), read_cfg("failed.cfg")
    assert len(relaxed) + len(failed) == 6
    assert relaxed
    for c in relaxed:
        assert np.linalg.norm(c.forces, axis=1).max() <= 1e-3
        assert c.features["from"] == "relaxation_OK"
    fails(capsys, "relax", *words[:3], "--iteration_limit=1", says="not relaxed")
    watch = ["--extrapolation_control", "--threshold_break=0.5", "--threshold_save=0.1"]
    assert main(["relax", "al.almtp", *words[1:], *watch]) == 0
    assert "Breaking threshold exceeded" in capsys.readouterr().out
    assert len(read_cfg("preselected.cfg")) == 6
    (files / "settings").write_text("presure 1\n")
    fails(capsys, "relax", *words, "--relaxation_settings=settings", says="settings:1")


def test_relaxation_under_pressure(files):
    """A purely repulsive crystal is held together by the pressure that was asked for."""
    model = potential(level=4, species=1)
    radial, moment = np.zeros_like(model.radial_coeffs), np.zeros_like(model.moment_coeffs)
    radial[..., 0, 0], moment[0] = 1.0, 10.0
    write_potential(
        "r.mtp",
        replace(model, radial_coeffs=radial, moment_coeffs=moment, species_coeffs=np.zeros(1)),
    )
    write_cfg("one.cfg", [configuration(species=1)])
    settings = ["--pressure=20", "--stress_tolerance=0.05", "--force_tolerance=1e-3"]
    assert main(["relax", "r.mtp", "one.cfg", "out.cfg", *settings]) == 0
    (relaxed,) = read_cfg("out.cfg")
    gpa = relaxed.virial / relaxed.volume * 160.21766
    assert gpa == pytest.approx([20, 20, 20, 0, 0, 0], abs=0.06)


@needs_shared
@pytest.mark.parametrize("level", ["08", "12", "16"])
def test_energies_of_mlip_to_the_printed_digits(tmp_path, level):
    model, given = shared(f"trained-L{level}.mtp", tmp_path), shared("test.cfg", tmp_path)
    out = tmp_path / "out.cfg"
    assert main(["calculate_efs", str(model), str(given), f"--output_filename={out}"]) == 0
    printed = read_cfg(shared(f"test-efs-L{level}.cfg", tmp_path))
    for ours, theirs in zip(read_cfg(out), printed, strict=True):
        assert ours.energy == pytest.approx(theirs.energy, rel=1e-10)
        assert ours.forces == pytest.approx(theirs.forces, abs=6e-7)
        assert ours.virial == pytest.approx(theirs.virial, abs=6e-6)
        assert ours.features == theirs.features


@needs_shared
def test_error_report_of_mlip_byte_for_byte(tmp_path, capsys):
    model, given = shared("trained-L16.mtp", tmp_path), shared("test.cfg", tmp_path)
    assert main(["check_errors", str(model), str(given)]) == 0
    assert capsys.readouterr().out == shared("test-errors-L16.txt", tmp_path).read_text()


def test_a_link_to_itself_is_no_file(tmp_path, capsys) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert main(["convert", str(tmp_path / "loop"), str(tmp_path / "loop")]) != 0
    assert "loop" in capsys.readouterr().err
