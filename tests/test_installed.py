"""A wheel in an empty environment does what the checkout does, in any folder."""

from pathlib import Path

import pytest
import yaml

from campaign import __version__
from tests.campaign.conftest import make_source
from tests.installation import install, run


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"))


def test_nothing_of_the_checkout_is_used(commands: Path, tmp_path: Path) -> None:
    for name in ("campaign", "mtp", "mtp._kernel", "planner.llm.requests", "preparation"):
        where = run(
            commands / "python", "-c", f"import {name} as m; print(m.__file__)", cwd=tmp_path
        )
        assert Path(where.strip()).is_relative_to(commands.parent), where
    assert run(commands / "planner", "--version", cwd=tmp_path) == f"mtpilot {__version__}\n"
    code = "from importlib.metadata import version; print(version('mtpilot'))"
    assert run(commands / "python", "-c", code, cwd=tmp_path).strip() == __version__


def test_the_demo_begins_in_any_folder(commands: Path, tmp_path: Path) -> None:
    run(commands / "planner", "init", "dry_ice_nitrogen", "d", cwd=tmp_path)
    folder = tmp_path / "d"
    run(commands / "planner", "next", cwd=folder)
    told = run(commands / "planner", "audit", cwd=folder)
    assert "reference_md" in told
    jobs = run(commands / "snakemake", "-n", cwd=folder)
    assert run(commands / "snakemake", "-n", "--profile", "slurm", cwd=folder).count("finalize") > 0
    assert "reference_md" in jobs
    # what `planner init` wrote before the wheel
    snakefile = folder / "Snakefile"
    text = snakefile.read_text().replace("from campaign import", "from planner import")
    snakefile.write_text(text)
    assert "reference_md" in run(commands / "snakemake", "-n", cwd=folder)


def test_a_campaign_with_fits_comes_to_its_end(commands: Path, tmp_path: Path) -> None:
    """On EMT and four decisions: reference, sampling, labels, `mlp` under MPI, report."""
    source = make_source(tmp_path / "source")
    config = yaml.safe_load((source / "config.yaml").read_text())
    config["limits"]["decisions"] = 4
    (source / "config.yaml").write_text(yaml.safe_dump(config))
    run(commands / "planner", "init", source, "c", cwd=tmp_path)
    folder = tmp_path / "c"
    told = run(commands / "planner", "run", cwd=folder, status=5)  # its decisions are used up
    assert (folder / "result/potential.almtp").is_file(), told
    assert (folder / "result/report.html").is_file()
    header = run(commands / "mlp", "help", cwd=folder)
    assert "train" in header
