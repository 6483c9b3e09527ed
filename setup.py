"""The compiled MTP kernel, and the workflow's files in the wheel; the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("rules", "scripts", "config", "profiles")
OTHERS = shutil.ignore_patterns("__pycache__", "nep89.txt*")  # a fetched file is not ours to ship


class BuildWithToolkit(build_py):
    """Copies what Snakemake reads into campaign/toolkit; an editable install has it in place."""

    def run(self) -> None:
        """Build the packages, then put the files beside them."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "campaign", "toolkit")
        shutil.rmtree(target, ignore_errors=True)  # no file of an older build
        target.mkdir()
        shutil.copy("Snakefile", target)
        for folder in FOLDERS:
            shutil.copytree(folder, target / folder, ignore=OTHERS)


ParallelCompile("MTP_BUILD_JOBS", default=0).install()
setup(
    cmdclass={"build_py": BuildWithToolkit},
    ext_modules=[
        Pybind11Extension(
            "mtp._kernel",
            [f"mtp/kernel/{name}.cpp" for name in ("bindings", "baseline", "avx2", "avx512")],
            cxx_std=17,
            depends=sorted(map(str, Path("mtp/kernel").glob("*.hpp"))),
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=fast",
                "-fno-tree-loop-distribute-patterns",  # accumulators stay in registers
                "-Wno-psabi",
                "-pthread",
            ],
            extra_link_args=["-pthread"],
        )
    ],
)
