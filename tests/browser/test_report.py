"""Reports as a reader has them: opened from disk in Chromium."""

import time

import pytest

from tests.evaluation.report.invented import LENGTHS, MODELS, RIVALS, benchmark, comparison
from transformer.evaluation.report import comparison_page, parallelism_page

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">'\"& \u202eשלום\u202c 🦆"

pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Addresses of an invented comparison, an invented benchmark of two machines, and a comparison full of hostile text."""
    directory = tmp_path_factory.mktemp("reports")
    hostile = comparison()
    hostile["name"] = hostile["data"]["name"] = hostile["command"] = HOSTILE
    old = hostile["rivals"][0]["name"]
    hostile["rivals"][0] |= {"name": HOSTILE, "description": HOSTILE, "family": HOSTILE}
    for pair in hostile["pairs"]:
        pair |= {key: HOSTILE for key in ("a", "b") if pair[key] == old}
    written = {
        "comparison": comparison_page(comparison()),
        "benchmark": parallelism_page([benchmark(), benchmark("gpu", "Invented GPU", 1, 50.0)]),
        "hostile": comparison_page(hostile),
    }
    for name, page in written.items():
        (directory / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: (directory / f"{name}.html").as_uri() for name in written}


def wait(browser, script, *arguments):
    """The first true answer of the script."""
    for _ in range(200):
        if answer := browser.execute_script(script, *arguments):
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def visit(browser, address):
    if browser.current_url != address:
        browser.get(address)
    wait(browser, "return document.documentElement.dataset.drawn")


def marks(browser, figure, kind):
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", f"#{figure} .{kind}.role-mark > :is(path, line)")


def check_that_the_legend_filters(browser, figure, series, whole, alone):
    """A click on a series leaves so many of its chart's lines, a click on the background brings all back."""
    from selenium.webdriver.common.action_chains import ActionChains

    lines = "return document.querySelectorAll(`#${arguments[0]} .mark-line.role-mark path`).length === arguments[1]"
    wait(browser, lines, figure, whole)
    label = browser.execute_script(
        "const all = [...document.querySelectorAll(`#${arguments[0]} .role-legend-label text`)];"
        "const one = all.find((text) => text.textContent === arguments[1]); one.scrollIntoView({block: 'center'}); return one",
        figure,
        series,
    )
    ActionChains(browser).click(label).perform()
    wait(browser, lines, figure, alone)
    picture = browser.find_element("css selector", f"#{figure} svg")
    corner = (3 - picture.size["width"] // 2, 3 - picture.size["height"] // 2)
    ActionChains(browser).move_to_element_with_offset(picture, *corner).click().perform()
    wait(browser, lines, figure, whole)


def charts(browser):
    """How many figures the page has, and in how many a mark is drawn."""
    return browser.execute_script(
        "const all = [...document.querySelectorAll('figure')];"
        "return [all.length, all.filter((one) => one.querySelector('.role-mark path')).length]"
    )


def test_a_comparison_has_a_mark_for_each_figure(browser, pages):
    visit(browser, pages["comparison"])
    assert charts(browser) == [7, 7]
    figures = comparison()
    # A point and a line for each rival, and a tick for each run.
    assert marks(browser, "quality", "mark-symbol") == len(figures["rivals"])
    assert marks(browser, "quality", "mark-rect") == sum(len(rival["runs"]) for rival in figures["rivals"])
    assert marks(browser, "quality", "mark-rule") == len(figures["rivals"])
    points = sum(len(rival["runs"][0]["curve"]) for rival in figures["rivals"])
    assert marks(browser, "accuracy-against-epoch", "mark-symbol") == points
    assert marks(browser, "accuracy-against-epoch", "mark-line") == len(RIVALS)
    assert marks(browser, "real-tokens-per-second", "mark-rect") == len(RIVALS)


def test_a_point_tells_its_figures(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains

    visit(browser, pages["comparison"])
    point = browser.execute_script(
        "const point = document.querySelector('#quality .mark-symbol path'); point.scrollIntoView({block: 'center'}); return point"
    )
    ActionChains(browser).move_to_element(point).perform()
    told = wait(browser, "return document.querySelector('#vg-tooltip-element.visible')?.textContent")
    assert "transformer" in told
    assert "84.20%" in told


def test_the_legend_of_a_comparison_filters(browser, pages):
    visit(browser, pages["comparison"])
    check_that_the_legend_filters(browser, "accuracy-against-seconds", "lstm", len(RIVALS), 1)


def test_a_click_sorts_a_table_and_the_keyboard_does_too(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["comparison"])
    heading = browser.find_element("xpath", "(//table)[1]//th[contains(., 'without embeddings')]")
    values = (
        "const column = arguments[0].cellIndex;"
        "return [...arguments[0].closest('table').tBodies[0].rows].map((row) => row.cells[column].dataset.value ?? null)"
    )
    heading.find_element("tag name", "button").click()
    upwards = browser.execute_script(values, heading)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert upwards[-1] is None
    assert upwards[:-1] == sorted(upwards[:-1], key=float)
    assert len(upwards[:-1]) == len(RIVALS)
    heading.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "descending"
    assert browser.execute_script(values, heading) == [*upwards[-2::-1], None]


def test_charts_follow_the_readers_colours_at_once(browser, pages, colours):
    visit(browser, pages["comparison"])
    seen = []
    for scheme in ("light", "dark"):
        colours(scheme)
        wait(browser, "return document.documentElement.dataset.drawn === arguments[0]", scheme)
        page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        chart = browser.execute_script("return document.querySelector('#quality svg').style.backgroundColor")
        point = browser.execute_script("return document.querySelector('#quality .mark-symbol path').getAttribute('fill')")
        seen.append((page, chart, point))
    assert all(light != dark for light, dark in zip(*seen, strict=True))


def test_charts_are_saved_as_svg_and_png(browser, pages):
    visit(browser, pages["comparison"])
    for kind, beginning in (("svg", b"<svg"), ("png", b"\x89PNG")):
        browser.find_element("css selector", f"#quality [data-type={kind}]").click()
        file = browser.downloads / f"quality.{kind}"
        for _ in range(100):
            if file.exists() and file.stat().st_size:
                break
            time.sleep(0.05)
        assert file.read_bytes().startswith(beginning)


def test_a_benchmark_has_a_mark_for_each_figure(browser, pages):
    visit(browser, pages["benchmark"])
    figures, drawn = charts(browser)
    assert figures == drawn > 20
    # Three models, at every length, with one core, with two, and on the GPU.
    assert marks(browser, "step-time-training-1-text-a-batch", "mark-symbol") == len(MODELS) * len(LENGTHS) * 3
    assert marks(browser, "span-training", "mark-symbol") == len(MODELS) * len(LENGTHS)


def test_both_legends_of_a_benchmark_filter(browser, pages):
    visit(browser, pages["benchmark"])
    for series, alone in (("lstm", 3), ("Invented GPU", len(MODELS))):
        check_that_the_legend_filters(browser, "step-time-training-1-text-a-batch", series, 3 * len(MODELS), alone)


def test_a_phone_shows_the_page_without_scrolling_sideways(browser, pages):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True})
    try:
        visit(browser, pages["benchmark"])
        assert wait(browser, "return document.documentElement.scrollWidth") <= 390
        widest = "return Math.max(...[...document.querySelectorAll('figure svg')].map((one) => one.getBoundingClientRect().width))"
        assert browser.execute_script(widest) <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_text_is_shown_as_text(browser, pages):
    visit(browser, pages["hostile"])
    assert browser.title == HOSTILE
    assert browser.find_element("tag name", "h1").text.strip() == HOSTILE
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    # Vega shortens a long label and sets no part of it as markup.
    labels = browser.execute_script(
        "return [...document.querySelectorAll('#quality .role-axis-label text')].map((text) => text.textContent)"
    )
    assert any(label.startswith(HOSTILE[:10]) for label in labels)
    cells = browser.execute_script("return [...document.querySelectorAll('td')].map((cell) => cell.textContent)")
    assert cells.count(HOSTILE) >= 8
