"""Ordinary systems by answers alone: `python -m benchmarks.systems [NAME ...] --nep89 FILE`.

Each system is prepared, run to its verdict by the rules planner with nothing set but the reference,
and then checked outside the campaign by plain ASE: 20 ps of constant-pressure MD with the potential
at the temperature of use, and the reference's own from the same start. A campaign that stands on
disk goes on where it stopped; a result that stands is not made again (`--again` makes it).
`--table` writes results/README.md from the results.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import yaml

from benchmarks.campaigns import facts, markdown, nep89, planner, stands
from benchmarks.systems.proof import proof

HERE = Path(__file__).parent
ANSWERS, RESULTS = HERE / "answers", HERE / "results"
COLUMNS = (
    "system",
    "reference",
    "verdict",
    "iterations",
    "rounds",
    "labels",
    "all calls",
    "calls a label",
    "core-min",
    "held-out force MAE, eV/Å",
    "density, g/cm3",
    "reference's own",
    "less, %",
    "by pressure, %",
    "true",
    "20 ps",
)


def main() -> None:
    """Run what is asked for; a line a system, and a file of results each."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.stem for path in ANSWERS.glob("*.yaml"))
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(names)}; or a file of answers (.yaml)",
    )
    parser.add_argument(
        "--nep89", type=Path, help="nep89.txt; without it GFN1-xTB is the reference"
    )
    parser.add_argument("--calculator", help="another reference: package.module:Name")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows and table go")
    parser.add_argument("--work", type=Path, default=Path("build/systems"), help="campaigns")
    parser.add_argument("--hours", type=float, default=2.0, help="wall time of one campaign")
    parser.add_argument("--again", action="store_true", help="also where a result stands")
    parser.add_argument("--table", action="store_true", help="only results/README.md")
    options = parser.parse_args()
    sources = {name: ANSWERS / f"{name}.yaml" for name in names}
    sources |= {Path(n).stem: Path(n) for n in options.names if n.endswith(".yaml")}
    chosen = [Path(n).stem if n.endswith(".yaml") else n for n in options.names] or names
    if unknown := sorted(n for n in chosen if n not in sources or not sources[n].is_file()):
        parser.error(f"no system {unknown[0]}")
    kind = "nep89" if options.nep89 else "gfn1-xtb"
    if options.calculator:
        kind = options.calculator.rpartition(":")[2].lower()
    fine = True
    for name in [] if options.table else chosen:
        path = options.results / f"{name}-{kind}.json"
        if stands(path) and not options.again:
            continue
        row = run(sources[name], kind, options)
        fine &= true(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row, indent=1) + "\n")
        sys.stdout.write("  ".join(map(str, cells(row))) + "\n")
        sys.stdout.flush()
    table(options.results)
    sys.exit(0 if fine else "not every system converged and held for 20 ps: see the rows above")


def run(given: Path, kind: str, options: argparse.Namespace) -> dict:
    """One system from its answers to its verdict, and the check of it."""
    name, answers = given.stem, yaml.safe_load(given.read_text())
    folder = (options.work / f"{name}-{kind}").resolve()
    answers["reference"] = reference(options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = folder.with_suffix(".answers.yaml")
    source.write_text(yaml.safe_dump(answers, sort_keys=False))
    began = time.monotonic()
    refusal = ""
    if not (folder / "Snakefile").is_file():
        refusal = planner(["prepare", "--answers", source, folder], folder.parent, options.hours)
    if not refusal:
        refusal = planner(["run", "--campaign", folder], folder.parent, options.hours)
    minutes = (time.monotonic() - began) / 60
    row = {"system": name, "reference": kind, "wall_minutes": round(minutes, 1)}
    row |= facts(folder) if (folder / "task.yaml").is_file() else {"verdict": "not prepared"}
    if refusal:
        row["stopped"] = refusal
    if row.get("model") and (folder / "result/potential.almtp").is_file():
        row |= proof(folder, row["model"])
    return row


def reference(options: argparse.Namespace) -> object:
    """The only thing that is set."""
    if options.calculator:
        return {"method": "ase", "calculator": options.calculator}
    return nep89(options.nep89) if options.nep89 else "gfn1-xtb"


def cells(row: dict) -> list[str]:
    """A row of the table."""

    def shown(key: str, form: str = "") -> str:
        value = row.get(key)
        return "–" if value is None else format(value, form)

    labels, calls = row.get("labels"), row.get("reference_calls")
    held = {None: "–", True: "holds"}.get(row.get("stable"), row.get("broke", "–"))
    return [
        row["system"],
        row["reference"],
        f"**{row['verdict']}**" if row["verdict"] != "converged" else "converged",
        shown("iterations"),
        shown("rounds"),
        shown("labels"),
        shown("reference_calls"),
        f"{calls / labels:.2f}" if labels and calls else "–",
        shown("core_minutes"),
        shown("held_out_force_mae", ".4f"),
        with_error(row, "density"),
        with_error(row, "reference_density"),
        deviation(row),
        percent(row),
        {None: "–", True: "yes", False: "**no**"}[dense(row)],
        held,
    ]


def with_error(row: dict, key: str) -> str:
    """A mean density and the standard error of its last digits."""
    if row.get(key) is None:
        return "–"
    error = row.get(f"{key}_error")
    return f"{row[key]:.3f}" + (f" ({1000 * error:.0f})" if error is not None else "")


def deviation(row: dict) -> str:
    """Density less the reference's, in percent, with the standard error of both."""
    mine, own = row.get("density"), row.get("reference_density")
    if mine is None or own is None:
        return "–"
    errors = [row.get(f"{kind}density_error") or 0.0 for kind in ("", "reference_")]
    error = sum(e * e for e in errors) ** 0.5
    return f"{100 * (mine / own - 1):+.2f}" + (f" ± {100 * error / own:.2f}" if error else "")


def percent(row: dict) -> str:
    """Bias of the density by the pressures of both on the model's own MD."""
    if row.get("density_bias") is None:
        return "–"
    return f"{100 * row['density_bias']:+.2f} ± {100 * row['density_bias_error']:.2f}"


def dense(row: dict) -> bool | None:
    """Whether the density is within 1 % of the reference's, by MD of both and by their pressures,
    each but for twice its error."""
    measured = []
    if row.get("density") and row.get("reference_density"):
        errors = [row.get(f"{kind}density_error") or 0.0 for kind in ("", "reference_")]
        bias = row["density"] / row["reference_density"] - 1
        measured.append((sum(e * e for e in errors) ** 0.5 / row["density"], bias))
    if row.get("density_bias") is not None:
        measured.append((row["density_bias_error"], row["density_bias"]))
    return all(abs(bias) - 2 * error <= 0.01 for error, bias in measured) if measured else None


def true(row: dict) -> bool:
    """Converged, its 20 ps hold, and the density is the reference's."""
    ended = row["verdict"] == "converged" and "stopped" not in row
    return ended and row.get("stable") is True and dense(row) is not False


def table(results: Path) -> None:
    """README.md of the results, from them alone."""
    rows = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    lines = [
        "# Ordinary systems on defaults",
        "",
        "Made by `python -m benchmarks.systems --nep89 FILE` (`make nep89` fetches the file);",
        "nothing is set but the reference. Density: means over the second half of 20 ps (model)",
        "and of 5 ps (reference, from where that run ended; 20 ps of what flows, in rows since",
        "30 November 2026) of constant-pressure MD by plain ASE, outside the campaign; in brackets",
        "the standard error of the last digit. By pressure: the model's pressure less the",
        "reference's on 450 frames of the 20 ps, times the compressibility; sharper, and blind to",
        "what the reference would make of the structure. True: within 1 % by both, each but for",
        "twice its error. Core-minutes are CPU time of all jobs.",
        "",
        *markdown(COLUMNS, map(cells, rows)),
    ]
    failed = [row for row in rows if not true(row) or row.get("note")]
    lines += [""] * bool(failed)
    for row in failed:
        causes = (
            [] if true(row) else [*row.get("reasons", []), row.get("stopped"), row.get("broke")]
        )
        causes += [row.get("note")]
        causes += ["density off by more than 1 %"] if dense(row) is False else []
        why = "; ".join(filter(None, causes))
        lines.append(f"- {row['system']}: {why}")
    (results / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
