"""docs/sei.md from the results alone: the table beside the paper's, the log, the densities."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.campaigns import markdown
from benchmarks.sei.figures import draw

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs/sei.md"
PAPER = (  # Table 4 of the paper; its reference is PFP, its errors are in section 4.4
    ("paper: one shot (Ablation B)", "3312", "1.500", "-4.61e-07", "4.16e-07", "1.3e-07"),
    ("paper: full", "7526", "1.477", "8.00e-07", "2.58e-06", "1.3e-06"),
    ("paper: reference", "", "1.485", "7.49e-07", "2.29e-06", "1.11e-06"),
)
HEAD = (
    "row",
    "seed",
    "verdict",
    "labels",
    "all calls",
    "core-min",
    "force MAE, eV/Å",
    "held, ps",
    "density, g/cm3",
    "D(Li), cm2/s",
    "D(O)",
    "D(C)",
)


STACK = [
    "## How the four layers keep together",
    "",
    "`python -m benchmarks.sei.stack FOLDER [--model m042] [--barostat axes]`. With all axes free",
    "(until iteration 43) the sheets of the graphite, which stands on edge, were pulled apart",
    "along y, by m042 from 13.4 to 15.4 Å in 5 ps, and by NEP89 too; then the electrolyte's film",
    "tears, and there is no density to agree on. The densities of such evaluations, over the first",
    "0.04 ps, hid that. Since then the height alone breathes: NEP89 then keeps 1.53 to 1.58 g/cm3",
    "for 7 ps, m042 1.53 to 1.57.",
    "",
    "## Why the electrolyte stopped as it began",
    "",
    "`short`, one LiPF6 a cell: after six rounds its runs still stopped 10 fs after their",
    "start, with grades of 60 to 300 on P and forces as good as elsewhere (0.197 eV/Å on those",
    "frames). 108 frames hold 110 environments of P, which has 193 coefficients of its own at",
    "level 16: 89 rows of the active set were dummies of P. Environments of so rare a species",
    "count displaced by 0.05 Å now as well (docs/planner.md): grades there are 1.4 to 6, and",
    "15,000 at a contact of Li and PF6 in the held-out cell, which no training structure had;",
    "the rich box holds three LiPF6 since. All six components, rounds to stability: 2, 2, 1, 1,",
    "2, 6 with 1,140 labels, where 2, 2, 3, 4, 4 and never with 931 before. The electrolyte's",
    "runs lasted 0.03, 0.07, 0.3, 0.8, 1.9 and 2.5 ps.",
    "",
]


def write() -> None:
    """The page, anew."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    lines = [
        "# The SEI of the paper",
        "",
        "Made by `python -m benchmarks.sei --nep89 FILE` (`make nep89` fetches the file),",
        "resumable; `--help` says what each row is. The reference is NEP89 in the place of the",
        "paper's PFP: numbers compare within a table, not between the two. `small` has 50 atoms in",
        "a component's cell, `paper` 100 and about 800 in the four layers; `short` is `small` with",
        "three training structures of a category instead of five, for an evening on two cores.",
        "",
    ]
    for size in sorted({result["size"] for result in results}):
        chosen = [result for result in results if result["size"] == size]
        rows = [
            *map(cells, chosen),
            *map(reference, one_a_seed(chosen)),
            *((row[0], "", "", row[1], "", "", "", "", *row[2:]) for row in PAPER),
        ]
        lines += [f"## {size}", "", *markdown(HEAD, rows), "", *stopped(chosen)]
        for seed, path in drawn(size, chosen):
            lines += [f"![{size}, seed {seed}]({path.name})", ""]
    for result in results:
        if result["row"] == "full":
            lines += story(result)
    lines += STACK
    PAGE.write_text("\n".join(lines) + "\n")


def drawn(size: str, results: list[dict[str, Any]]) -> Iterator[tuple[int, Path]]:
    """The figures of the seeds whose full campaign has been held against the reference."""
    for seed in sorted({r["seed"] for r in results}):
        own = [r for r in results if r["seed"] == seed]
        if any(r["row"] == "full" and "msd" in r.get("reference_observed", {}) for r in own):
            path = PAGE.with_name(f"sei_{size}_{seed}.svg")
            draw(own, path)
            yield seed, path


def with_error(pair: list[float] | None, form: str) -> str:
    """Value and standard error."""
    return "–" if not pair else f"{pair[0]:{form}} ± {pair[1]:.1g}"


def cells(result: dict[str, Any]) -> list[str]:
    """One campaign."""
    observables = result.get("model_observed", {})
    moved = observables.get("diffusion", {})
    force = result.get("force_mae")
    return [
        result["row"],
        str(result["seed"]),
        result["verdict"],
        str(result.get("labels", "–")),
        str(result.get("reference_calls", "–")),
        str(result.get("core_minutes", "–")),
        "–" if force is None else f"{force:.3f}",
        f"{result['held_ps']:g} of {result['picoseconds']:g}" if "held_ps" in result else "–",
        with_error(observables.get("density"), ".4f"),
        *(with_error(moved.get(element), ".2e") for element in ("Li", "O", "C")),
    ]


def one_a_seed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A result of each seed that holds the reference's own run."""
    return list({r["seed"]: r for r in results if "reference_observed" in r}.values())


def reference(result: dict[str, Any]) -> list[str]:
    """The reference's own run."""
    observables = result["reference_observed"]
    moved = observables.get("diffusion", {})
    values = [with_error(observables["density"], ".4f")]
    values += [with_error(moved.get(element), ".2e") for element in ("Li", "O", "C")]
    return ["reference (NEP89)", str(result["seed"]), *[""] * 6, *values]


def stopped(results: list[dict[str, Any]]) -> list[str]:
    """What ended campaigns that did not converge, in their own words."""
    rows = [r for r in results if r["verdict"] != "converged"]
    lines = [
        f"- {r['row']}, seed {r['seed']}: "
        + "; ".join([*r.get("reasons", []), *([r["stopped"]] if "stopped" in r else [])])
        for r in rows
    ]
    return [*lines, ""] if lines else []


def story(result: dict[str, Any]) -> list[str]:
    """The log of a campaign by the rules."""
    head = ("", "action", "why", "what came of it", "labels", "calls")
    lines = [f"## Log of `full`, {result['size']}, seed {result['seed']}", ""]
    keys = ("iteration", "action", "reason", "outcome", "labels", "calls")
    rows = ([str(row[key]) for key in keys] for row in result["log"])
    return [*lines, *markdown(head, rows), ""]
