"""The report holds what the campaign holds, whatever is missing, and nothing a user wrote runs."""

import json
import re
import shutil
import subprocess
import sys
import time
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

from atomistics import dataset
from campaign.actions.end import End, conclude
from campaign.config import Targets
from campaign.errors import UserError
from campaign.folder import Campaign
from campaign.report import figures
from campaign.report.bill import settle
from campaign.report.compare import compare, sides
from campaign.report.document import gather, write
from campaign.report.domain import domain
from campaign.report.story import checks, failures, target_rows, tell
from campaign.results import EvaluatedStructure, Measurements, Property
from campaign.verdict import shortfalls
from mtp.calculator import MTP
from mtp.formats.almtp import write_potential
from mtp.potential import untrained
from mtpilot.cli import main
from tests.campaign import story_campaign

VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Tags, ids, attributes and text of a page; fails where tags do not nest."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.styles = [], [], [], [], []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [v for k, v in attributes if k == "id"]
        self.links += [v for k, v in attributes if k in ("href", "src", "xlink:href")]
        assert not [k for k, _ in attributes if k.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return story_campaign.build(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="module")
def page(whole):
    start = time.process_time()
    write(*whole)
    assert time.process_time() - start < 15
    return (whole[3] / "report.html").read_text()


@pytest.fixture
def copy(whole, tmp_path):
    """A campaign to break: same content, another place."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(whole[0].folder, folder)
    return Campaign.at(folder), whole[1], whole[2], folder / "result"


def row(page: str, *cells: str) -> str:
    """The words of the one table row that holds all of `cells`."""
    rows = [
        " ".join(re.sub(r"<[^>]+>", " ", r).split()) for r in re.findall(r"<tr.*?</tr>", page, re.S)
    ]
    (found,) = [r for r in rows if all(cell in r for cell in cells)]
    return found


def test_page_is_self_contained_and_well_formed(page):
    seen = Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert all(link.startswith(("#", "data:image/png")) for link in seen.links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert len(seen.ids) == len(set(seen.ids))
    assert seen.tags.count("svg") == 8
    targets = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page))
    assert targets <= set(seen.ids)


def test_text_of_users_and_models_is_only_text(page, whole):
    assert page.count("&lt;script&gt;") == 1 + 15 + 1  # task, reasons, recommendation
    card = (whole[3] / "model_card.md").read_text()
    assert "<" not in card
    assert "&lt;script&gt;alert\\('task'\\)" in card


def test_same_campaign_elsewhere_gives_the_same_bytes(page, copy):
    write(*copy)
    for name in ("report.html", "model_card.md"):
        original = copy[3] / name
        assert str(copy[0].folder.parent) not in original.read_text()
    assert (copy[3] / "report.html").read_text() == page


def test_errors_of_means_elements_grades_and_first_stops_are_shown(page):
    cell = re.search(r"<td[^>]*>0\.094<small>± ([\d.]+)</small></td>", page)
    assert cell[1] == "0.004"
    table = re.search(r"Force MAE by element.*?</table>", page, re.S)[0]
    row = '<td class="n">0.071</td><td class="n">0.102</td><td class="n">0.083</td>'
    assert row in table
    table = re.search(r"Extrapolation grade of the frames.*?</table>", page, re.S)[0]
    assert '<td class="n">0.62</td>' in table
    table = re.search(r"What fails first.*?</table>", page, re.S)[0]
    assert "graphite-a" in table
    assert "beyond its limit" in table


def test_targets_are_shown_with_value_bound_and_mark(page):
    reached = row(page, "graphite-h-bn (target)")
    assert "0.094 ✓ ≤ 0.12 0.101 ✓ ≤ 0.12 3.1 ✓ ≤ 6 0.8 ✓ ≤ 3 0.962 ✓ ≥ 0.9 10 ✓ ≥ 10" in reached
    loose = row(page, "h-bn (component)")
    assert "0.094 ✓ ≤ 0.24" in loose
    assert "0.71 ✗ ≥ 0.8 4.2 ✗" in loose
    assert "never evaluated with m012; passed with m006" in row(page, "graphite (component)")


value = st.none() | st.floats(0, 1, allow_nan=False)
evaluations = st.builds(
    EvaluatedStructure,
    structure=st.just("a"),
    subsystem=st.just("b"),
    temperature=st.just(300),
    status=st.sampled_from(["ok", "early_stop", "failed"]),
    picoseconds=st.floats(0, 20),
    fresh_frames=st.integers(0, 2),
    energy_mae=value,
    force_mae=value,
    fresh_force_mae=value,
    density_deviation=value,
    rdf_overlap=value,
)


@given(evaluations, st.sampled_from(["component", "interface", "target"]), st.floats(1, 3))
def test_marks_agree_with_the_verdict(seen, role, factor):
    targets = Targets(
        force_mae=0.3,
        energy_mae=0.3,
        density_deviation=0.3,
        rdf_overlap=0.7,
        stable_ps=10,
        component_factor=factor,
    )
    missed = [check for check in checks(seen, role, targets) if check.met is False]
    assert len(missed) == len(shortfalls(seen, role, targets))


def test_every_decision_stands_with_rule_evidence_and_outcome(page):
    decided = page[page.index('id="decisions"') : page.index('id="bill"')]
    assert decided.count("graphite.early_stop_fraction = 0.375") == 15
    assert "failed : m010 refused: diverged" in row(decided, "T1", "m010")
    assert "partial : 18 labels of 60 candidates by grade" in row(decided, "D1", "18 labels")
    assert "converged: m012: every target met" in row(decided, "15 end X1")


def test_bill_adds_up_and_says_so_when_it_does_not(whole, copy, page):
    bill = settle(tell(*whole[:3]))
    assert bill.remarks == []
    assert (bill.total.labels, bill.total.reference_calls) == (180 + 20 + 18, 1500 + 4860 + 42 + 40)
    assert bill.total.core_seconds == 100 * sum(range(1, 15))
    assert sum(c.core_seconds for c in bill.actions.values()) == bill.total.core_seconds
    assert bill.actions["select_data"].calls_per_label == pytest.approx(42 / 38)
    assert "2.92 core-hours" in row(page, "core-hours", "all")
    forged = copy[1].spent.model_copy(update={"labels": 999})
    remarks = settle(tell(copy[0], copy[1].model_copy(update={"spent": forged}), copy[2])).remarks
    assert remarks == ["labels: 218 by results and ledger, 999 by the state"]


def test_failures_by_class(whole):
    table = {f[:3]: (f.count, f.iterations) for f in failures(tell(*whole[:3]))}
    assert table["early stop", "graphite-h-bn", "temperature"] == (5, [8])
    assert table["label quarantined", "graphite-h-bn", "forces_too_large"] == (2, [9])
    assert table["rejected before labelling", "graphite-h-bn", "distance"] == (4, [9])
    assert table["fit refused", "all", "diverged"] == (1, [10])
    assert table["evaluation: early stop", "h-bn", "density"] == (1, [14])


def test_domain_counts_only_what_trained_the_potential(whole):
    campaign, state, verdict, _ = whole
    final = domain(tell(campaign, state, verdict))
    by_name = {part.subsystem.name: part for part in final.parts}
    assert by_name["graphite-h-bn"].sampled.temperatures == {300, 600, 800}
    assert by_name["graphite"].sampled.structures == {"graphite-a", "graphite-b"}
    assert "h-bn-held-out: its evaluation did not last (density, 4.2 ps)." in final.never
    assert "graphite: this potential was never evaluated on it." in final.never
    assert "Temperatures below 300 K or above 800 K: no training data." in final.never
    assert any("held against 2.5 ps of reference MD" in sentence for sentence in final.never)
    assert final.leaked == []
    first = domain(tell(campaign, state, verdict.model_copy(update={"model": "m003"})))
    assert first.all.temperatures == {300, 600}
    assert "Diffusion: not measured for this potential." in first.never


def test_structure_used_for_training_is_called_out(copy):
    plan = copy[0].folder / "iterations/002/plan.yaml"
    plan.write_text(plan.read_text().replace("- graphite-h-bn-a", "- graphite-h-bn-held-out"))
    write(*copy)
    assert "Not held out" in (copy[3] / "report.html").read_text()
    assert "Not held out" in (copy[3] / "model_card.md").read_text()


def test_page_holds_when_files_are_missing_or_broken(copy):
    campaign, _, _, folder = copy
    root = campaign.folder / "iterations"
    evaluation = root / "014/model_eval"
    (evaluation / "graphite-h-bn-held-out/observables.json").unlink()
    (evaluation / "h-bn-held-out/observables.json").write_text('{"time_ps": [0, 1], "density": 3}')
    shutil.rmtree(evaluation / "runs")
    (root / "005/plan.yaml").write_text("action: dance")
    (root / "009/select_data/result.yaml").unlink()
    (campaign.folder / "structures/index.yaml").unlink()
    (root / "014/ledger.jsonl").write_text("torn {")
    (folder / "potential.almtp").unlink()
    write(*copy)
    text = (folder / "report.html").read_text()
    Page(text)
    assert "no observables.json was left by the evaluation" in text
    assert "observables.json: density" in text
    assert "the force error cannot be recomputed" in text
    assert "Not readable, and therefore missing below: iterations/005/plan.yaml" in text
    assert "iterations/009/select_data/result.yaml: no such file" in text
    assert "structures/index.yaml: no such file" in text
    assert "014/ledger.jsonl: cannot be read; costs are missing" in text
    assert "No potential file was handed over." in text
    assert str(campaign.folder) not in text


def test_a_structure_that_cannot_be_read_is_named(copy):
    (copy[0].folder / "structures/graphite-a.extxyz").write_text("hello")
    write(*copy)
    text = (copy[3] / "report.html").read_text()
    assert "missing below: structures/graphite-a.extxyz" in text
    assert str(copy[0].folder) not in text


@pytest.mark.parametrize("outcome", ["blocked", "failed", "budget_exhausted"])
def test_campaign_that_ends_before_its_first_label(tmp_path, outcome):
    campaign, _, _, folder = story_campaign.build(tmp_path)
    shutil.rmtree(campaign.folder / "iterations")
    (folder / "potential.almtp").unlink()
    campaign = Campaign.at(campaign.folder)
    verdict = conclude(campaign.state(), End(outcome=outcome, recommendation=""))
    write(campaign, campaign.state(), verdict, folder)
    text = (folder / "report.html").read_text()
    Page(text)
    assert "No potential came out of this campaign" in text
    assert outcome.replace("_", " ").capitalize() in text
    assert "There is no potential to use." in (folder / "model_card.md").read_text()


def test_refused_convergence_names_the_missed_target(copy):
    campaign, state, _, folder = copy
    strict = state.targets.model_copy(update={"force_mae": 0.09})
    state = state.model_copy(update={"targets": strict})
    verdict = conclude(state, End(outcome="converged", model="m012", recommendation=""))
    write(campaign, state, verdict, folder)
    text = (folder / "report.html").read_text()
    assert "asked for <em>converged</em>" in text
    assert "graphite-h-bn-held-out: force_mae 0.094 &gt; 0.09 eV/Å" in text
    (missed,) = [
        r for r in target_rows(tell(campaign, state, verdict)) if r.subsystem.role == "target"
    ]
    assert [c.measure.key for c in missed.checks if not c.met] == ["force_mae", "fresh_force_mae"]


def test_files_of_the_potential_are_hashed_and_its_coefficients_counted(copy):
    potential = untrained(8, 3, 1.2, 5.0, 8)
    write_potential(copy[3] / "potential.almtp", potential)
    facts = gather(tell(*copy[:3]), copy[3], copy[3])
    radial = 3 * 3 * potential.radial_funcs_count * 8
    expected = radial + 3 + len(potential.alpha_moment_mapping)
    assert facts["header"]["coefficients"] == expected
    assert facts["header"]["max_dist"] == 5.0
    stored = facts["potentials"][0]
    digest = subprocess.run(
        ["sha256sum", copy[3] / "potential.almtp"], capture_output=True, text=True, check=True
    )
    assert (stored.path, stored.sha256) == ("potential.almtp", digest.stdout.split()[0])


def test_stated_way_to_recompute_the_force_error_is_true(copy):
    """The page's own lines, run where it says, on frames whose labels are 0.05 eV/Å off."""
    potential = untrained(8, 3, 1.2, 5.0, 8)
    scale = np.random.default_rng(1).uniform(-0.3, 0.3, potential.slices.moment.stop)
    write_potential(copy[3] / "potential.almtp", potential.with_parameters(scale))
    atoms = bulk("BN", "zincblende", a=3.6).repeat(2)
    atoms.rattle(0.1, seed=1)
    atoms.calc = MTP(copy[3] / "potential.almtp", species=["B", "C", "N"])
    wrong = atoms.get_forces() + 0.05 * np.where(np.arange(len(atoms)) % 2, 1, -1)[:, None]
    assert np.abs(wrong).mean() > 0.1
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=wrong)
    frames = copy[0].iteration(14) / "model_eval/runs/graphite-h-bn-held-out.fresh.h5"
    frames.unlink()
    dataset.write(frames, [atoms])
    write(*copy)
    moved = copy[3].rename(copy[3].with_name("handed-over"))
    lines = re.search(r"<pre>(from pathlib.*?)</pre>", (moved / "report.html").read_text(), re.S)
    command = [sys.executable, "-c", unescape(lines[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=moved)
    assert float(done.stdout.split()[0]) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[", "not valid JSON"),
        (
            '{"time_ps": [0], "density": {"model": [1, 2], "reference": []}}',
            "series of 1, 2 points",
        ),
        ('{"msd": {"<b>": {}}}', "msd"),
        ('{"rdf": {"r": [1], "pairs": {"$x$": {"model": [1], "reference": [1]}}}}', "rdf.pairs"),
    ],
)
def test_malformed_observables_are_named(tmp_path, content, fault):
    path = tmp_path / "observables.json"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(fault)):
        figures.read_observables(path)


def test_short_and_empty_series_are_drawn():
    seen = figures.Observables.model_validate(
        {
            "time_ps": [0.0],
            "density": {"model": [2.0], "reference": []},
            "energy_per_atom": {"model": [float("nan")], "reference": []},
            "force_parity": {"model": [], "reference": []},
        }
    )
    assert "density" in figures.time_figure("one", seen)
    assert figures.rdf_figure("one", seen) == ("", 0)
    assert figures.time_figure("none", figures.Observables()) == ""


def test_worst_pairs_are_the_ones_shown():
    pairs = {
        f"{a}-{b}": {"model": [1.0 + ("H" in (a, b)), 1.0], "reference": [1.0, 1.0]}
        for a in ("O", "F", "P", "H")
        for b in ("H", "O", "F")
    }
    seen = figures.Observables.model_validate({"rdf": {"r": [1.0, 2.0], "pairs": pairs}})
    svg, hidden = figures.rdf_figure("x", seen)
    assert hidden == len(pairs) - figures.PAIRS_SHOWN
    assert all(f"g(r) {pair}" in svg for pair in pairs if "H" in pair)


@pytest.mark.parametrize("finalized", [0, 1, 3, 9, 14])
def test_report_at_any_time(copy, finalized, capsys):
    """Whatever has been done is on the page, and no word of a verdict."""
    folder = copy[0].folder
    shutil.rmtree(folder / "result")
    for number in range(finalized + 1, 15):
        shutil.rmtree(folder / f"iterations/{number:03d}")
    shutil.rmtree(folder / "iterations/015") if finalized < 14 else None  # the end waits
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["report", "--campaign", str(folder)]) == 0
    assert f"after {finalized} iterations" in capsys.readouterr().out
    html = (folder / "report/report.html").read_text()
    Page(html)
    assert "Unfinished" in html
    assert "Converged" not in html
    assert html.count("the reference_calc that comes next") == (finalized > 0)
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    written = {"report.html", "model_card.md"}
    assert {p.name for p in after.keys() - before.keys()} == written
    assert before.items() <= after.items()


def test_two_campaigns_side_by_side(copy, capsys):
    """What one has at an iteration and at its last, by numbers that stand in its states."""
    folder = str(copy[0].folder)
    assert main(["compare", f"{folder}@8", folder, "--json"]) == 0
    rows = {row["quantity"]: row["values"] for row in json.loads(capsys.readouterr().out)}
    early, late = copy[0].state(8), copy[0].state(14)
    assert rows["labels"] == [early.spent.labels, late.spent.labels]
    assert rows["potential"] == ["m006", "m012"]
    assert rows["core-hours"] == [pytest.approx(3600 / 3600), pytest.approx(10500 / 3600)]
    assert rows["graphite-held-out: Force MAE, reference MD"] == [0.19, None]
    assert rows["graphite-h-bn-held-out: Force MAE, fresh frames"] == [None, 0.101]
    assert rows["h-bn-held-out: ended by"] == ["its length", "density"]
    assert main(["compare", folder, folder]) == 0
    assert not re.search(r" [+-][1-9]", capsys.readouterr().out)
    assert main(["compare", f"{folder}@15", folder]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_campaigns_that_differ_by_chance_are_compared_by_their_means(copy, tmp_path, capsys):
    """Of two the standard error is half their difference."""
    folder = str(copy[0].folder)
    assert main(["compare", f"{folder}@8,{folder}", folder, "--json"]) == 0
    rows = {row["quantity"]: row for row in json.loads(capsys.readouterr().out)}
    early, late = (copy[0].state(n).spent.labels for n in (8, 14))
    assert rows["labels"]["values"] == [(early + late) / 2, late]
    assert rows["labels"]["errors"] == [pytest.approx((late - early) / 2), None]
    assert rows["potential"]["values"] == ["1 m006, 1 m012", "m012"]
    assert rows["graphite-held-out: Force MAE, reference MD"]["values"] == [0.19, None]
    assert main(["compare", f"{folder}@8,{folder}", folder]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"labels +{(early + late) / 2:.4g} ± \S+ +{late} +\+\S+ ± ", shown), shown
    other = tmp_path / "colder"
    shutil.copytree(folder, other)
    path = other / "iterations/014/state.yaml"
    path.write_text(path.read_text().replace("\ntemperature: 300\n", "\ntemperature: 200\n"))
    assert main(["compare", f"{folder},{other}", folder]) == 1
    assert "temperature: not as in" in capsys.readouterr().err


def test_what_only_one_of_two_has_is_shown(copy):
    """An explorer's calls, and properties with what they are off."""
    (bare,) = sides(str(copy[0].folder))
    measured = Measurements(values=[Property(name="a", unit="Å", model=4.1, reference=4.0)])
    last = bare.state.evaluations[-1]
    seen = [s.model_copy(update={"properties": measured}) for s in last.structures]
    records = [*bare.state.evaluations[:-1], last.model_copy(update={"structures": seen})]
    spent = bare.state.spent.model_copy(update={"explorer_calls": 5})
    state = bare.state.model_copy(update={"evaluations": records, "spent": spent})
    rows = {row.quantity: row.values for row in compare([bare], [bare._replace(state=state)])}
    assert rows["explorer calls"] == (None, 5)
    name = seen[0].structure
    assert rows[f"{name}: a"] == (None, 4.1)
    assert rows[f"{name}: a less the reference's"] == (None, pytest.approx(0.1))


def test_heavy_libraries_wait_until_a_report_is_written():
    heavy = "{'jinja2', 'matplotlib', 'numpy'}"
    code = f"import sys, campaign.report.document; print(*sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == ""
