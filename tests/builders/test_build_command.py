"""`planner build`: the same structure as from Python; flags with units; one line when wrong."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from atomistics.builders.building import as_text
from atomistics.builders.families import FAMILIES, PARAMETERS, table_family
from campaign.files import dump_yaml
from mtpilot.cli import main
from tests.builders.recipes import NACL, made

FLAGS = ["--prototype", "rocksalt", "--formula", "NaCl", "--lattice", "{a_angstrom: 5.64}"]


def test_flags_file_and_python_agree(tmp_path, capsys):
    out, again = tmp_path / "a.extxyz", tmp_path / "b.extxyz"
    more = ["--substitutions", "[{element: Na, by: K, count: 1}]", "--seed", "4"]
    assert main(["build", "solid", *FLAGS, *more, "--output", str(out)]) == 0
    assert "8 atoms" in capsys.readouterr().out
    parameters = {**NACL, "substitutions": [{"element": "Na", "by": "K", "count": 1}]}
    assert out.read_text() == as_text(made("solid", seed=4, **parameters))
    file = tmp_path / "salt.yaml"
    file.write_text(dump_yaml(PARAMETERS.validate_python({"family": "solid", **parameters})))
    command = ["build", "solid", "--parameters", str(file), "--seed", "4", "--output", str(again)]
    assert main(command) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_help_names_every_parameter_with_units(family, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["build", family, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for key in FAMILIES[family].model_fields:
        assert key == "family" or "--" + key.replace("_", "-") in text
    assert "Å" in text or "angstrom" in text


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["solid", "--formula", "NaCl", "--output", "x.extxyz"], 1, "give exactly one of"),
        (["solid", *FLAGS, "--output", "x.cif"], 1, "must end in .extxyz"),
        (["solid", *FLAGS, "--lattice", "{a", "--output", "x.extxyz"], 1, "--lattice"),
        (["solid", "--file", "../x.cif", "--output", "x.extxyz"], 1, "file"),
        (["molecule", "--parameters", "none.yaml", "--output", "x.extxyz"], 1, "no such file"),
        (
            [
                "polymer",
                "--repeat-unit",
                "CCO[*]",
                "--degree-of-polymerisation",
                "3",
                "--density-g-cm3",
                "1",
                "--output",
                "x.extxyz",
            ],
            1,
            "attachment point",
        ),
        (
            ["solid", *FLAGS, "--min-length-angstrom", "400", "--output", "x.extxyz"],
            1,
            "2863288 atoms, more than 200000",
        ),
        (
            [
                "solid",
                "--space-group",
                "225",
                "--lattice",
                "{a_angstrom: 4}",
                "--sites",
                "[{element: Qq, position: [0, 0, 0]}]",
                "--output",
                "x.extxyz",
            ],
            1,
            "Qq is no element",
        ),
        (["gas", "--output", "x.extxyz"], 2, "invalid choice"),
        (["solid", *FLAGS], 2, "--output"),
    ],
)
def test_bad_input_is_one_line(arguments, status, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(["build", *arguments])
    except SystemExit as ended:
        found = ended.code
    error = capsys.readouterr().err
    assert found == status
    assert said in error
    assert status == 2 or error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('0\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\n', "holds no atom"),
        ("1\n\nH 0 0 0\n1\n\nH 0 0 0\n", "holds 2 structures"),
        ("what is this\n", "not a structure"),
        ("999999999\n\nH 0 0 0\n", "atoms announced in 3 lines"),
    ],
)
def test_a_file_without_a_structure_is_one_line(text, said, capsys, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/host.extxyz").write_text(text)
    order = ["build", "other", "--file", "files/host.extxyz", "--folder", str(tmp_path)]
    assert main([*order, "--output", str(tmp_path / "x.extxyz")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not error.rstrip().endswith(":")


@pytest.mark.parametrize(
    "hostile",
    [
        {"family": "molecule", "components": [{"smiles": "O; rm -rf /", "count": 1}]},
        {"family": "molecule", "components": [{"file": "files/../../x.xyz", "count": 1}]},
        {"family": "molecule", "components": [{"structure": "../x", "count": 1}]},
        {"family": "molecule", "components": [{"smiles": "O\n", "count": 1}]},
        {"family": "solid", "file": "/etc/passwd"},
        {"family": "solid", "optimade": "cod", "optimade_id": "../../x"},
        {"family": "solid", "optimade": "http://evil", "optimade_id": "x"},
        {"family": "other", "file": "files/a.py"},
        {"family": "stack", "layers": [{"name": "A b", "structure": "x"}] * 2},
    ],
)
def test_text_of_a_model_cannot_be_a_path_or_a_command(hostile):
    with pytest.raises(ValidationError):
        PARAMETERS.validate_python({"density_g_cm3": 1, **hostile})


def test_boxes_need_a_size_and_stacks_a_place_in_the_table():
    ratio = {"components": [{"smiles": "O", "mole_ratio": 1}], "density_g_cm3": 1}
    with pytest.raises(ValidationError, match="atoms: required"):
        PARAMETERS.validate_python({"family": "molecule", **ratio})
    slab = {"family": "solid-surface", **NACL, "miller": [0, 0, 1], "thickness_angstrom": 5}
    water = {"family": "molecule", **ratio}
    glass = {**water, "family": "amorphous"}
    for top, family in ((water, "solid-molecule"), (glass, "solid-solid")):
        layers = [
            {"name": "a", "content": slab},
            {"name": "b", "content": top, "thickness_angstrom": 5},
        ]
        stack = PARAMETERS.validate_python({"family": "stack", "layers": layers})
        assert table_family(stack) == family


def test_contracts_load_nothing_heavy():
    code = (
        "import sys, preparation.build_command;"
        "print([m for m in ('numpy', 'ase', 'rdkit', 'pymatgen') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
