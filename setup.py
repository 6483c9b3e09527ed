"""The compiled MTP kernel; everything else is declared in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

ParallelCompile("MTP_BUILD_JOBS", default=0).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "mtp._kernel",
            [f"mtp/kernel/{name}.cpp" for name in ("bindings", "baseline", "avx2")],
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
    ]
)
