"""The report in a real browser: nothing fetched, no error, no text that overflows.

Needs Chromium (Debian: ``apt-get install chromium``) and fails without one.
"""

import itertools
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.reporting.conftest import CLASSES, SHIFTS, MadeUpAudit, build_inputs, complete

from ptq_pipeline.reporting.page import render_report

SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
WIDTHS = [390, 768, 1440]

# Elements that stick out of the page, or whose text is cut, without a scrolling ancestor.
OVERFLOWING = """() => {
  const scrolls = e => { for (let n = e.parentElement; n; n = n.parentElement)
    { if (['auto', 'scroll'].includes(getComputedStyle(n).overflowX)) return true; }
    return false; };
  const found = [];
  if (document.documentElement.scrollWidth > window.innerWidth + 1) found.push('the page itself');
  for (const e of document.querySelectorAll('body *')) {
    const box = e.getBoundingClientRect();
    if (box.width && !scrolls(e) && box.right > window.innerWidth + 1)
      found.push(e.tagName + '#' + e.id + '.' + e.className + ': ' + e.textContent.slice(0, 40));
  }
  return found.slice(0, 5);
}"""


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture(scope="module", params=["en", "ja"])
def report(request, full, options, tmp_path_factory):
    """The whole report of a made-up audit, in both languages."""
    path = tmp_path_factory.mktemp("report") / f"report_{request.param}.html"
    spoken = options.model_copy(update={"language": request.param})
    path.write_text(render_report(full, spoken), encoding="utf-8")
    return path


def opened(browser, report, width, **options):
    """Return the page, every address it asked for and every message on its console."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report.as_uri())
    return page, asked, said


@contextmanager
def sound(browser, report, width):
    """Open a page on which nothing is fetched, nothing complains and nothing overflows."""
    page, asked, said = opened(browser, report, width)
    try:
        assert [a for a in asked if not a.startswith("data:")] == [report.as_uri()]
        assert said == []
        assert page.evaluate(OVERFLOWING) == []
        yield page
    finally:
        page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_fetched_nothing_complains_nothing_overflows(browser, report, width):
    with sound(browser, report, width):
        pass


def test_names_of_markup_and_of_200_characters_do_no_harm(browser, options, tmp_path):
    evil = ("<img src=x onerror=alert(1)>", "y" * 200, "ほげ" * 100)
    audit = MadeUpAudit(classes=(*CLASSES[:7], *evil), draws=6, comparison_draws=1, severity=6)
    path = tmp_path / "report.html"
    path.write_text(render_report(complete(build_inputs(audit)), options), encoding="utf-8")
    for width in WIDTHS:
        with sound(browser, path, width):
            pass


# Height in pixels of the smallest number in the heat map.
SMALLEST = """() => Math.min(...Array.from(
  document.querySelectorAll('#heat_map svg text'), t => t.getBoundingClientRect().height))"""


def test_values_under_eleven_shifts_stay_readable(browser, options, tmp_path):
    names = (*SHIFTS, *(f"shift_{number}" for number in range(11 - len(SHIFTS))))
    inputs = build_inputs(MadeUpAudit(draws=6, comparison_draws=1, shifts=names))
    path = tmp_path / "report.html"
    path.write_text(render_report(complete(inputs), options), encoding="utf-8")
    for width in WIDTHS:
        with sound(browser, path, width) as page:
            assert page.evaluate(SMALLEST) >= 8


def test_the_check_of_overflow_can_fail(browser, report):
    page, _, _ = opened(browser, report, 390)
    try:
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p><nobr>x</nobr></p>')")
        page.evaluate("document.querySelector('nobr').textContent = 'x'.repeat(200)")
        assert page.evaluate(OVERFLOWING) != []
    finally:
        page.context.close()


def test_without_javascript_the_tables_are_still_there(browser, report):
    page, _, _ = opened(browser, report, 1440, java_script_enabled=False)
    try:
        assert page.locator("table").count() > 3
        assert page.locator("table tbody tr").first.is_visible()
    finally:
        page.context.close()


def rows_of(table):
    return table.evaluate(
        "t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText.trim()))"
    )


def numbers(rows, column):
    return [float(row[column].replace(",", "").replace("\u2212", "-")) for row in rows]


def test_a_table_is_sorted_by_a_click_up_and_down_and_says_so(browser, report):
    page, _, said = opened(browser, report, 1440)
    try:
        table = page.locator("#worst table").last
        page.locator("#worst details summary").last.click()
        heads = table.locator("thead th")
        before = rows_of(table)
        head = heads.nth(2)
        head.locator("button").click()
        down = rows_of(table)
        assert numbers(down, 2) == sorted(numbers(before, 2), reverse=True)
        assert head.get_attribute("aria-sort") == "descending"
        head.locator("button").press("Enter")
        assert numbers(rows_of(table), 2) == sorted(numbers(before, 2))
        assert head.get_attribute("aria-sort") == "ascending"
        heads.nth(0).locator("button").click()
        assert head.get_attribute("aria-sort") is None
        names = [row[0] for row in rows_of(table)]
        assert names == page.evaluate("n => [...n].sort((a, b) => a.localeCompare(b))", names)
        assert sorted(map(tuple, rows_of(table))) == sorted(map(tuple, before)), "no row is lost"
        assert said == []
    finally:
        page.context.close()


def test_headings_follow_each_other_without_a_gap(browser, report):
    page, _, _ = opened(browser, report, 1440)
    try:
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    finally:
        page.context.close()


def test_every_picture_has_words_and_every_table_a_caption(browser, report):
    page, _, _ = opened(browser, report, 1440)
    try:
        bare = page.evaluate(
            """() => [...document.querySelectorAll('img, [role=img]')]
            .filter(e => !(e.getAttribute('alt') || e.getAttribute('aria-label'))).length"""
        )
        assert bare == 0
        assert page.evaluate(
            "[...document.querySelectorAll('table')].every(t => t.caption.textContent.trim())"
        )
    finally:
        page.context.close()


def test_it_prints(browser, report):
    page, _, _ = opened(browser, report, 1440)
    try:
        printed = page.pdf(format="A4")
        # Hatching would be a path for each stripe of each cell: 46 MB of a report of 216 rows.
        assert printed.startswith(b"%PDF") and len(printed) < 1_500_000
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 720, "height": 1000})
        assert page.evaluate(OVERFLOWING) == []
        assert not page.locator("nav").is_visible()
    finally:
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_keep_their_contrast(browser, report, scheme):
    page, _, _ = opened(browser, report, 1440, color_scheme=scheme)
    try:
        ratio = page.evaluate(CONTRAST)
        assert ratio >= 4.5, f"{scheme}: contrast of body text {ratio:.1f}, WCAG AA asks for 4.5"
    finally:
        page.context.close()


# Relative luminance and contrast by WCAG 2.1, smallest over paragraphs and table cells.
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (let n = e; n; n = n.parentElement) {
    const c = rgb(getComputedStyle(n).backgroundColor);
    if (c.length < 4 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  let least = 21;
  const kinds = 'p, td, th, li, h1, h2, h3, figcaption, a, summary, dt, dd, caption, .badge';
  for (const e of document.querySelectorAll(kinds)) {
    if (!e.textContent.trim() || !e.getBoundingClientRect().width) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
}"""


@pytest.mark.slow
def test_the_documentation_is_searched_from_a_folder(browser, tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    page, asked, said = opened(browser, tmp_path / "index.html", 1280)
    page.locator("input.md-search__input").click()
    page.keyboard.type("alarm")
    page.wait_for_selector(".md-search-result__item")
    assert "An alarm came: what to do" in page.locator(".md-search-result__list").inner_text()
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert said == []
    page.context.close()
