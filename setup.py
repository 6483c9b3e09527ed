"""The compiled MTP kernel; everything else is declared in pyproject.toml."""

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

ParallelCompile("MTP_BUILD_JOBS", default=0).install()
setup(
    ext_modules=[
        Pybind11Extension(
            "mtp._kernel",
            [f"mtp/kernel/{name}.cpp" for name in ("bindings", "baseline", "avx2")],
            cxx_std=17,
            depends=[
                f"mtp/kernel/{name}.hpp"
                for name in (
                    "tables",
                    "model",
                    "neighbours",
                    "motion",
                    "vectors",
                    "site",
                    "graph",
                    "passes",
                )
            ],
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=fast",
                "-Wno-psabi",
                "-pthread",
            ],
            extra_link_args=["-pthread"],
        )
    ]
)
