"""Reports in a real browser with the network off: on a desk and on a phone, by day and by night, clicked, and on paper.

Pictures go to the folder that LOSSMITH_PICTURES names, to be looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browser import MISSING, Browser, browser

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(bool(MISSING), reason=MISSING or "a browser is here")]
SIZES = [(1280, False), (1280, True), (390, False), (390, True)]
AUDIT = ("torch.nn.functional:soft_margin_loss", "--truth", "log(1 + exp(-y*x))", "--domain", "x=extended",
         "--domain", "y={-1,1}")
PAIR = ("--before", "max(x,0) - x*z + log1p(exp(-abs(x)))", "--after", "log(1 + exp(x)) - x*z", "--domain", "x=real",
        "--domain", "z=[0,1]")
LOSS = ("sigmoid_cross_entropy",)
PAGES = {"loss": LOSS, "function": AUDIT, "pair": PAIR}
# Whatever sticks out of the page; what scrolls by itself may.
STICKS_OUT = """
return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest(".wide, pre, math, section td")).map(e => e.tagName + " " + e.textContent.slice(0, 60)).slice(0, 5)"""
# Words and what they stand on: the smallest contrast, as WCAG counts it.
CONTRAST = """
const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255;
  return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 });
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2] };
const below = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)|transparent/.test(c)) return light(c) } return 1 };
return Math.min(...[...document.querySelectorAll("p, td, th, button, code, figcaption, h1, h2, h3")].map(e => {
  const [a, b] = [light(getComputedStyle(e).color), below(e)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05) }))"""


@pytest.fixture(scope="module")
def one() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name, arguments in PAGES.items():
        made[name] = folder / f"{name}.html"
        done = subprocess.run([sys.executable, "-m", "lossmith", "audit", *arguments, "--report", str(made[name])],
                              capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert made[name].stat().st_size < 1_000_000
    return made


def pictured(one: Browser, name: str) -> None:
    folder = os.environ.get("LOSSMITH_PICTURES")
    if folder:
        one.picture(Path(folder) / f"{name}.png")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_it_fits_and_can_be_read(one: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    one.open(pages[name], width, dark)
    assert one.errors() == []
    assert one.run("return document.documentElement.scrollWidth") <= width
    assert one.run(STICKS_OUT) == []
    assert one.run(CONTRAST) >= 4.5
    smallest = one.run("const s = document.querySelector('figure[data-curve] svg');"
                       "return 11 * s.getBoundingClientRect().width / s.viewBox.baseVal.width")
    assert smallest >= 9, "words in a curve are too small"
    pictured(one, f"{name}-{width}{'-dark' if dark else ''}")


def visible(one: Browser) -> list[str]:
    found: list[str] = one.run("return [...document.querySelectorAll('[role=tabpanel]')]"
                               ".filter(e => e.offsetParent).map(e => e.dataset.name || e.id)")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_click_on_a_tab_shows_its_panel(one: Browser, pages: dict[str, Path], name: str) -> None:
    one.open(pages[name], 1280)
    before = visible(one)
    one.click("[role=tab]:nth-of-type(2)")
    after = visible(one)
    assert len(before) == len(after) and before[0] != after[0]
    assert one.run("return document.querySelector('[role=tab]:nth-of-type(2)').ariaSelected") == "true"
    assert one.run("return document.querySelector('[role=tabpanel]:not([hidden]) svg').clientHeight") > 100


def at(one: Browser, share: float) -> dict[str, Any]:
    """A step of the mouse to a place of the first curve."""
    one.run("document.querySelector('figure[data-curve] svg').scrollIntoView({block: 'center'})")
    x, y = one.run("const r = document.querySelector('figure[data-curve] svg').getBoundingClientRect();"
                   "return [r.left + r.width * arguments[0], r.top + r.height / 2]", share)
    return {"type": "pointerMove", "x": round(x), "y": round(y), "origin": "viewport"}


@pytest.mark.parametrize("width", [1280, 390])
def test_hovering_says_the_input_in_hex(one: Browser, pages: dict[str, Path], width: int) -> None:
    one.open(pages["loss"], width)
    one.move(at(one, 0.7))
    said = one.run("return document.querySelector('.said').textContent")
    found = re.fullmatch(r"x = (\S+) \((-?0x[01](?:\.[0-9a-f]+)?p[+-]\d+)\)  computed \S+  exact \S+  .*ulp", said)
    assert found, said
    assert float.fromhex(found[2]) == pytest.approx(float(found[1]), rel=1e-8)


def test_dragging_zooms_and_a_button_goes_back(one: Browser, pages: dict[str, Path]) -> None:
    one.open(pages["loss"], 1280)
    length = "return document.querySelector('figure[data-curve] path.curve').getAttribute('d').length"
    whole = one.run(length)
    assert one.run("return document.querySelector('[data-all]').hidden")
    one.move(at(one, 0.4), {"type": "pointerDown"}, at(one, 0.6), {"type": "pointerUp"})
    assert one.run(length) < whole / 2
    one.click("[data-all]")
    assert one.run(length) == whole


def test_the_other_scales(one: Browser, pages: dict[str, Path]) -> None:
    one.open(pages["function"], 390)
    drawn = []
    for n in range(1, 5):
        one.click(f".bar-of-views button:nth-of-type({n})")
        drawn.append(one.run("return document.querySelector('figure[data-curve] path.curve').getAttribute('d')"))
        assert "NaN" not in drawn[-1] and "undefined" not in drawn[-1]
    assert len(set(drawn)) == 4


def test_copying_the_code(one: Browser, pages: dict[str, Path]) -> None:
    one.open(pages["loss"], 1280)
    one.run("window.copied = null; navigator.clipboard.writeText = async t => { window.copied = t }")
    one.click("[data-copy]")
    assert one.run("return window.copied === document.getElementById('text1').textContent && copied.length > 500")
    assert one.run("return document.querySelector('[data-copy]').textContent") == "copied"


@pytest.mark.parametrize("name", PAGES)
def test_on_paper(one: Browser, pages: dict[str, Path], tmp_path: Path, name: str) -> None:
    one.open(pages[name], 1280, dark=True)
    one.pdf(tmp_path / "page.pdf")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 16
    one.devtools("Emulation.setDeviceMetricsOverride", width=718, height=1000, mobile=False, deviceScaleFactor=1)
    one.devtools("Emulation.setEmulatedMedia", media="print",
                 features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert one.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert one.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert one.run("return document.documentElement.scrollWidth") <= 718, "something is cut off on paper"
    shown = one.run("return [...document.querySelectorAll('[role=tabpanel][data-name]')].map(e => e.clientHeight)")
    assert shown and all(shown), "a tab that was not open is missing on paper"
    pictured(one, f"{name}-paper")


def test_without_scripts_the_pictures_stand(pages: dict[str, Path]) -> None:
    page = pages["pair"].read_text(encoding="utf-8")
    pictures = re.findall(r"<svg xmlns=.*?</svg>", page, re.S)
    assert len(pictures) >= 4 and all("class='curve'" in p for p in pictures)
    assert not re.search(r"(?:src|href)=.https?:", page)
