"""The report in headless Chromium: no network, no word on the console, nothing cut off."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from campaign.folder import Campaign
from campaign.report.document import write, write_now
from tests.campaign import story_campaign

# what the page is asked; it answers in an attribute, which --dump-dom shows
ASKED = """
<script>
const wide = document.documentElement.scrollWidth;
const cut = [...document.querySelectorAll("body *")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.right > innerWidth + 1 && !e.closest(".wide, pre, svg");
}).map(e => e.tagName + " " + e.textContent.slice(0, 40));
const drawn = [...document.querySelectorAll("figure svg")].map(e => e.getBoundingClientRect());
const dead = [...document.querySelectorAll("a[href^='#']")].map(a => a.getAttribute("href"))
  .filter(h => !document.querySelector(h));
const overlaps = [...document.querySelectorAll("figure svg")].filter(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].some(t => {
    const own = t.getBoundingClientRect();
    return own.right > box.right + 1 || own.left < box.left - 1;
  });
}).length;
document.documentElement.dataset.seen = JSON.stringify({wide, inner: innerWidth, cut, dead,
  overlaps, figures: drawn.length, empty: drawn.filter(b => b.width < 50 || b.height < 50).length});
</script>
"""


def browser(page: Path, width: int, *words: str) -> tuple[str, str]:
    """The document and what was logged, without a network."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    command = [
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--window-size={width},900",
        f"--user-data-dir={page.parent / 'profile'}",
        *words,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr


def looked_at(page: Path, width: int) -> dict[str, Any]:
    """What the page says of itself at one width; fails at the first word on the console."""
    asking = page.with_name(f"asked-{width}.html")
    asking.write_text(page.read_text().replace("</body>", f"{ASKED}</body>"))
    document, logged = browser(asking, width, "--dump-dom")
    assert not re.findall(r".*CONSOLE.*", logged)
    (answer,) = re.findall(r'data-seen="([^"]+)"', document)
    return json.loads(unescape(answer))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With a verdict, on the way, and before the first decision has run."""
    campaign, state, verdict, folder = story_campaign.build(tmp_path_factory.mktemp("c") / "whole")
    write(campaign, state, verdict, folder)
    pages = {"verdict": folder / "report.html"}
    for name, finalized in (("under way", 8), ("begun", 0)):
        other = campaign.folder.with_name(name.replace(" ", "-"))
        shutil.copytree(campaign.folder, other)
        for number in range(finalized + 1, 16):
            shutil.rmtree(other / f"iterations/{number:03d}")
        pages[name] = write_now(Campaign.at(other), None)
    return pages


@pytest.mark.parametrize("width", [1280, 760, 500])
@pytest.mark.parametrize("name", ["verdict", "under way", "begun"])
def test_nothing_is_cut_off_missing_or_fetched(
    pages: dict[str, Path], name: str, width: int
) -> None:
    seen = looked_at(pages[name], width)
    assert seen["inner"] <= width
    assert seen["cut"] == []
    assert seen["wide"] <= seen["inner"] + 1
    assert seen["dead"] == []
    assert (seen["empty"], seen["overlaps"]) == (0, 0)
    pictures = len(story_campaign.SUBSYSTEMS)
    assert seen["figures"] >= pictures
    assert (seen["figures"] > pictures) == (name != "begun")


def test_it_prints(pages: dict[str, Path]) -> None:
    paper = pages["verdict"].with_name("report.pdf")
    browser(pages["verdict"], 1280, f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) > 2
