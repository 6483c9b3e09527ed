"""The architecture as the tree shows it: layers, sizes, and what snakemake --lint says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from campaign import TOOLKIT
from campaign.actions import ACTIONS

LAYERS = ("mtp", "atomistics", "campaign", "planner", "preparation", "mtpilot")
FOREIGN = {
    "mtp": {"snakemake", "anthropic"},
    "atomistics": {"snakemake", "anthropic"},
    "campaign": {"anthropic"},
    "scripts": {"snakemake", "anthropic"},
}


def modules(folder: str) -> list[Path]:
    return sorted((TOOLKIT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return ".".join(path.relative_to(TOOLKIT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {named(path): path for folder in LAYERS for path in modules(folder)}


def imports(path: Path) -> set[str]:
    """Every module a file imports anywhere, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= submodules or {node.module}
    return found


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def test_imports_go_one_way_between_packages() -> None:
    for name, used in GRAPH.items():
        level = LAYERS.index(name.partition(".")[0])
        above = {other for other in used if other.partition(".")[0] in LAYERS[level + 1 :]}
        assert not above, f"{name} imports {above}"
    for script in modules("scripts"):
        wrong = {m for m in imports(script) if m.partition(".")[0] in ("scripts", *LAYERS[3:])}
        assert not wrong, f"{script.name} imports {wrong}"


def test_no_cycle_of_modules() -> None:
    left = {name: used & set(GRAPH) for name, used in GRAPH.items()}
    while free := {name for name, used in left.items() if not used & set(left)}:
        left = {name: used for name, used in left.items() if name not in free}
    # what is left are the cycles and what stands on them
    assert not left, f"cycles among {sorted(left)}"


@pytest.mark.parametrize("folder", FOREIGN)
def test_foreign_packages_stay_where_they_belong(folder: str) -> None:
    for path in modules(folder):
        wrong = {name.partition(".")[0] for name in imports(path)} & FOREIGN[folder]
        if path.parent.name == "slurm" and path.name == "executor.py":
            wrong -= {"snakemake"}
        assert not wrong, f"{path.relative_to(TOOLKIT)} imports {wrong}"


def test_no_package_above_a_third() -> None:
    lines = {f: sum(len(p.read_text().splitlines()) for p in modules(f)) for f in LAYERS}
    assert max(lines.values()) < sum(lines.values()) / 3, lines


def test_one_action_is_one_rule_file_one_script_one_test() -> None:
    for action in ACTIONS:
        assert (TOOLKIT / f"rules/{action}.smk").is_file()
        assert (TOOLKIT / f"scripts/{action}.py").is_file()
        assert (TOOLKIT / f"tests/actions/test_{action}.py").is_file()
    shared = ["settle"]  # what actions that start MD have in common
    assert {p.stem for p in (TOOLKIT / "rules").iterdir()} == {*ACTIONS, *shared}
    assert {p.stem for p in (TOOLKIT / "scripts").glob("*.py")} == {*ACTIONS, *shared}
    assert all((TOOLKIT / f"tests/actions/test_{name}.py").is_file() for name in shared)


@pytest.mark.parametrize("folder", [*LAYERS, "scripts"])
def test_functions_are_short(folder: str) -> None:
    lengths = []
    for path in modules(folder):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                lengths.append(lines)
                assert lines <= 60, f"{path}:{node.name} has {lines} lines"
    share = 0.85 if folder == "scripts" else 0.9  # command lines are long but flat
    assert sum(n <= 30 for n in lengths) >= share * len(lengths)


def test_no_module_that_says_nothing() -> None:
    vague = {"utils", "helpers", "common", "base", "manager", "misc"}
    assert not [p for f in LAYERS for p in modules(f) if p.stem.strip("_") in vague]


def trees() -> dict[str, ast.Module]:
    folders = [*LAYERS, "scripts", "evals", "benchmarks", ".ci", "docs"]
    return {
        str(p.relative_to(TOOLKIT)): ast.parse(p.read_text()) for f in folders for p in modules(f)
    }


def defined(node: ast.AST) -> str | None:
    """The name that a node gives to a value, a parameter, a function or a class."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return getattr(node, "arg", None) if isinstance(node, ast.arg) else getattr(node, "name", None)


def test_one_name_means_one_class() -> None:
    """Classes, and capitalised aliases of types, are defined once."""
    places: dict[str, list[str]] = {}
    for path, tree in trees().items():
        aliases = [n.targets[0] for n in tree.body if isinstance(n, ast.Assign)]
        for node in [*aliases, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]:
            name = getattr(node, "id", None) or getattr(node, "name", "")
            if name[:1].isupper() and not name.isupper():
                places.setdefault(name, []).append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_name_is_imported_from_where_it_is_defined() -> None:
    own: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        nodes = ast.parse(path.read_text()).body
        own[name] = {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    second_hand = {
        f"{name}: {node.module}.{alias.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in own.get(str(node.module), ())
        if f"{node.module}.{alias.name}" not in MODULES
        if (node.module, alias.name) != ("campaign.errors", "UserError")  # beside its subclasses
    }
    assert second_hand == set()


def test_names_say_what_they_hold() -> None:
    vague = {"found", "seen", "told", "known", "stuff", "thing", "tmp"}
    witty = {"workshop", "rehearsal", "yardstick", "metered", "pile", "push_off", "openpoints"}
    witty |= {"ingredients", "mending", "desk", "mind", "hear", "wishes", "speak", "tape", "seal"}
    witty |= {"fold", "folded", "dear", "bought", "sealed"}
    in_files = {  # keys of dialogue.json, and of what a model answers there
        ("preparation/dialogue.py", "known"),
        ("preparation/interview.py", "known"),
    }
    names = {
        (path, name)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if (name := defined(node)) and name.strip("_").lower() in vague | witty
    }
    assert names - in_files == set()


def test_one_module_renames_what_is_written() -> None:
    renaming = {
        path
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == 1)
        if not node.keywords  # Path.replace, not dataclasses.replace
    }
    assert renaming == {
        "mtp/atomic.py",
        "campaign/spread.py",  # what an item's work, of any kind, has left under a name of its own
        "campaign/doctor/this_machine.py",  # whether a disk can
        "atomistics/reference/resuming.py",  # a killed calculation's folder, to its next owner
        "benchmarks/sei/mobility.py",  # a trajectory that ASE writes by itself
    }


def swallowing() -> set[str]:
    """Functions that catch every exception and do not raise it again, or `raise` another."""
    names = set()
    for path, tree in trees().items():
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            for handler in (n for n in ast.walk(function) if isinstance(n, ast.ExceptHandler)):
                kinds = {n.id for n in ast.walk(handler.type or handler) if isinstance(n, ast.Name)}
                broad = handler.type is None or kinds & {"Exception", "BaseException"}
                if broad and ast.unparse(handler.body[-1]) != "raise":
                    names.add(f"{path}:{function.name}")
    return names


def test_only_what_others_raise_is_caught_whole() -> None:
    """A defect of ours is a traceback: `except Exception` stands around calls of others alone."""
    readers = {
        "atomistics/builders/crystals/ordering.py:_parsed",
        "atomistics/builders/crystals/source.py:_from_prototype",
        "atomistics/builders/crystals/source.py:_from_space_group",
        "atomistics/structures.py:_reading",
        "mtp/commands/conversion.py:_read",
        "mtp/reading/data_sets.py:read_ase",
        "mtp/reading/data_sets.py:read_deepmd",
        "mtp/reading/extxyz.py:_frame",
        "mtp/reading/lammps_dump.py:read_dump",
        "mtp/reading/programs.py:_last",
        "mtp/reading/programs.py:_single_of_cp2k",
        "mtp/reading/poscar.py:read_poscar",
        "mtp/reading/vasp.py:read_vasprun",
    }
    calculators = {
        "atomistics/md/bias.py:calculate",
        "atomistics/reference/building.py:_built",
        "atomistics/reference/building.py:_factory",
        "atomistics/reference/building.py:_results",
        "atomistics/reference/counting.py:_ask",
        "mtp/lammps.py:_run_text",
    }
    passed_on = {  # to the process, thread or rank that raises it, or ends by it
        "atomistics/md/lammps.py:__call__",
        "atomistics/reference/isolated.py:serve",
        "campaign/spread.py:spread",
        "mtp/lammps.py:__call__",
        "mtp/parallel.py:run_on_ranks",
        "planner/llm/messages_api.py:_post",
        "preparation/pool.py:answer",
    }
    assert swallowing() == readers | calculators | passed_on


PHYSICS = re.compile(r"\b(Atoms|ndarray|NDArray|Matrix|Configuration|Potential|Neighbours)\b")


def sections_missing(function: ast.FunctionDef) -> list[str]:
    """Numpy sections that a function of arrays or atoms should have and does not."""
    values = [a for a in [*function.args.args, *function.args.kwonlyargs] if a.annotation]
    given, returned = (ast.unparse(n.annotation) for n in values), function.returns
    returns = "None" if returned is None else ast.unparse(returned)
    if not any(PHYSICS.search(text) for text in [*given, returns]):
        return []
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    is_property = "property" in decorators or ".setter" in decorators
    raises = any(isinstance(n, ast.Raise) and n.exc for n in ast.walk(function))
    wanted = {
        "Parameters": bool(values) and not is_property,
        "Returns": returns != "None" and not is_property,
        "Raises": raises,
    }
    text = (ast.get_docstring(function) or "").replace("Yields\n", "Returns\n")
    return [name for name, needed in wanted.items() if needed and f"{name}\n---" not in text]


def public(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions and methods of public classes that others may call."""
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    nodes = [n for body in (tree, *classes) for n in body.body]
    return [n for n in nodes if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]


@pytest.mark.parametrize("folder", ["mtp", "atomistics"])
def test_docstrings_of_physics_say_shapes_units_and_errors(folder: str) -> None:
    lacking = {
        f"{path.relative_to(TOOLKIT)}:{function.name}": missing
        for path in modules(folder)
        for function in public(ast.parse(path.read_text()))
        if (missing := sections_missing(function))
    }
    assert lacking == {}


def test_planner_next_needs_no_heavy_import() -> None:
    code = (
        "import sys, planner.decide, campaign.workflow, mtpilot.cli;"
        "heavy = ('numpy', 'ase', 'anthropic', 'jinja2', 'snakemake');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_snakemake_lint_finds_nothing_but_missing_environments() -> None:
    """One virtual environment holds everything the jobs run (DESIGN.md), so that one is ours."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), "--lint"],
        cwd=TOOLKIT,
        capture_output=True,
        text=True,
        check=False,
    )
    titles = set(re.findall(r"^    \* (.+)$", done.stdout + done.stderr, re.MULTILINE))
    assert titles == {"Specify a conda environment or container for each rule.:"}
