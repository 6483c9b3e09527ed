"""Figures of docs/sei.md from the results alone: one page a size and seed."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.sei.mobility import INTERVAL

ELEMENTS = {"Li": "C0", "O": "C3", "C": "C7"}


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Density, MSD and RDF by layer of `full` beside the reference's; error against labels."""
    mpl.rcParams.update({"svg.hashsalt": "sei", "svg.fonttype": "none"})
    figure = Figure(figsize=(9, 7), layout="constrained")
    (course, mobility), (structure, learning) = figure.subplots(2, 2)
    full = next(r for r in results if r["row"] == "full")
    sides = [("reference", full["reference_observed"], "--"), ("full", full["model_observed"], "-")]
    for name, observables, style in sides:
        time = np.linspace(0, full["picoseconds"], len(observables["course"]))
        course.plot(time, observables["course"], style, color="k", label=name)
        for element, color in ELEMENTS.items():
            curve = observables["msd"].get(element)
            if curve:
                lags = np.array(observables["lags"]) * INTERVAL / 1000
                mobility.plot(lags, curve, style, color=color, label=f"{element}, {name}")
        for number, (layer, curve) in enumerate(observables["rdf"].items()):
            shifted = np.array(curve) + 4 * number
            label = f"{layer}, {name}"
            structure.plot(observables["r"], shifted, style, color=f"C{number}", label=label)
    _against_labels(learning, results)
    course.set(xlabel="time, ps", ylabel="density, g/cm3")
    mobility.set(xlabel="time, ps", ylabel="mean square displacement, Å2")
    structure.set(xlabel="r, Å", ylabel="g(r) within a layer, shifted")
    for axes in (course, mobility, structure, learning):
        axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def _against_labels(axes: Axes, results: list[dict[str, Any]]) -> None:
    """Held-out force error of every fit on the four layers against labels, one line a row."""
    for result in results:
        curve = result.get("learning", [])
        labels, errors = [point["labels"] for point in curve], [p["force_mae"] for p in curve]
        axes.plot(labels, errors, "o-", markersize=3, label=result["row"])
    axes.set(xlabel="labels", ylabel="held-out force MAE of the four layers, eV/Å")
