"""A wheel of the tracked and new files of this checkout, in an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fresh() -> dict[str, str]:
    """An environment without a word of this checkout or its virtual environment."""
    own = str(Path(sys.executable).parent)
    path = [p for p in os.environ["PATH"].split(os.pathsep) if p != own]
    left = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**left, "PATH": os.pathsep.join(path)}


def run(*words: object, cwd: Path, status: int = 0, **environment: str) -> str:
    """What a command says; any exit status but this one is the test's failure."""
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env={**fresh(), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == status, f"{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def install(folder: Path) -> Path:
    """Build the wheel from a copy, install it with all it asks for; the folder of its commands."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():  # neither a deletion nor a link to a virtual environment
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "copy" / name)
    constraint = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    python = folder / "environment/bin/python"
    run(sys.executable, "-m", "venv", folder / "environment", cwd=folder)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "dist", "./copy", cwd=folder, **constraint)
    (wheel,) = (folder / "dist").glob("mtpilot-*.whl")
    shutil.rmtree(folder / "copy")
    run(*pip, "install", "--no-compile", wheel, cwd=folder, **constraint)
    return python.parent
