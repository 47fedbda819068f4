"""The report in a real browser: it loads, logs nothing, and fits the screen, in both themes."""

import json
import shutil

import pytest

from balancers.simulation.book import bind
from balancers.simulation.page import as_html
from balancers.simulation.storytelling import make_cells
from balancers.simulation.suite import chapters, run_cells

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
selenium = pytest.importorskip("selenium.webdriver", reason="NOT RUN: selenium is not installed")

pytestmark = [
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="NOT RUN: there is no chromium with chromedriver"
    ),
    pytest.mark.filterwarnings("ignore"),
]

NARROW, WIDE = (390, 844), (1280, 900)
OVERFLOW = """
const wide = document.documentElement.clientWidth;
return [document.documentElement.scrollWidth, wide, [...document.querySelectorAll('figure svg')]
  .filter(e => e.getBoundingClientRect().right > wide + 1).length];
"""
TEXT = """
const plots = [...document.querySelectorAll('figure svg')];
return Math.min(...plots.map(e => 12 * e.clientWidth / 440));
"""
CONTRAST = """
const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
  .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const paper = lum(getComputedStyle(document.body).backgroundColor);
const ratio = e => { const l = lum(getComputedStyle(e).color);
  return (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05); };
const texts = [...document.querySelectorAll('p, th, td, a, dd, figcaption')];
return [paper, Math.min(...texts.map(ratio))];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Write a small real report."""
    cells = make_cells(
        ["RoundRobin", "Random", "RingHash(load_factor=1.25)", "RoundRobin+health"],
        ["steady", "fast-failing", "skewed-keys"],
        [0, 1],
        [{"traffic": {"requests": 1000}}],
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(as_html(bind(chapters(cells, run_cells(cells)), "Facts.")), "utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    """Start a headless browser."""
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_in_a_browser(browser, page, theme, size):
    """No error, no request but the file; nothing wider than the screen; text that can be read."""
    width, height = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    browser.get_log("performance")
    browser.get(page.as_uri())
    asked = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]

    assert browser.get_log("browser") == []
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    scroll, wide, clipped = browser.execute_script(OVERFLOW)
    assert scroll <= wide
    assert clipped == 0
    assert browser.execute_script(TEXT) >= 9.0  # pixels, of the labels in plots
    paper, contrast = browser.execute_script(CONTRAST)
    assert (paper < 0.2) == (theme == "dark")
    assert contrast >= 4.0
    assert len(browser.find_elements("css selector", "figure svg path.line")) > 20
