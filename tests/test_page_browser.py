"""The page in headless Chromium: keys, focus, one screen, one printed sheet, no console error, WCAG 2.2 AA by axe."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest
import uvicorn

from page_app import PASSWORD, page_app
from page_cases import CASES, shown
from posologist.serve import demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
LOOKED = ("founding", "ten-allergies", "nothing-recommended", "nothing-checked")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("POSOLOGIST_NO_SKIP"), reason="no Chromium here: apt-get install chromium"
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the page is served, with the cases of `page_cases` below /cases."""
    from starlette.responses import HTMLResponse

    app = page_app()
    app.add_api_route("/cases/{name}", lambda name: HTMLResponse(shown(CASES[name]())), response_model=None)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, address: str) -> BrowserContext:
    """A context of Dr Weber with the example's plans."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, bypass_csp=False)
    page = context.new_page()
    sign_in(page, address)
    page.click("text=Load the example")
    page.wait_for_url("**/answers/**")
    page.close()
    return context


@pytest.fixture
def page(signed_in: BrowserContext, address: str) -> Iterator[Page]:
    """The example's plans; what the console says must be nothing."""
    made = signed_in.new_page()
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(f"{address}/patients/founding-case")
    made.click("ul.links a")
    made.wait_for_selector("figure.live canvas")
    yield made
    made.close()

    assert said == []


def sign_in(page: Page, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.fill("[name=name]", "anna")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/patients")


def focused(page: Page) -> str:
    found: str = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
    return found


def test_the_first_four_blocks_fit_one_screen(page: Page) -> None:
    bottoms = page.evaluate(
        "['patient', 'genes', 'plans', 'safety'].map(id => document.getElementById(id).getBoundingClientRect().bottom)"
    )

    assert bottoms == sorted(bottoms)
    assert bottoms[-1] <= 768


@pytest.mark.parametrize("key", ["2", "3", "4", "5", "1"])
def test_a_digit_brings_its_plan_into_focus(page: Page, key: str) -> None:
    page.keyboard.press(key)
    page.wait_for_selector(f"tr.sel a#plan-{key}")

    assert page.inner_text("#h-focus") == f"Plan {key}: what to do"
    assert focused(page) == f"plan-{key}"


@pytest.mark.parametrize("key, place", [("w", "h-why"), ("r", "h-ruled"), ("o", "Will monitor")])
def test_a_letter_leads_to_its_block(page: Page, key: str, place: str) -> None:
    page.keyboard.press(key)

    assert focused(page) == place


def test_d_leads_to_the_dose_and_the_arrows_change_it_at_once(page: Page) -> None:
    page.keyboard.press("d")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#dose >> text=The ranking above is for the plan’s dose")

    assert "dose=120" in page.url
    assert focused(page) == "dose-2"
    assert page.is_visible("#decide button:has-text('Accept with valsartan 120 mg')")
    assert page.input_value("#dose input[name=dose]:checked").startswith("120 mg")
    assert page.locator("#dose td.changed").count() > 0


def test_keys_can_be_turned_off_and_typing_is_no_key(page: Page) -> None:
    page.fill("[name=note]", "")
    page.focus("[name=note]")
    page.keyboard.type("w2")
    typed = page.input_value("[name=note]")
    page.click("#keys")
    page.keyboard.press("3")
    page.wait_for_timeout(150)
    rank = page.inner_text("#h-focus")
    page.click("#keys")

    assert typed == "w2"
    assert rank == "Plan 1: what to do"


def test_tab_leads_through_the_page_in_its_order(page: Page) -> None:
    page.evaluate("document.body.focus(); window.scrollTo(0, 0)")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))

    assert seen == sorted(seen)
    assert page.locator("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").count() == 0


def test_the_skip_link_comes_first(page: Page) -> None:
    page.keyboard.press("Tab")

    assert focused(page) == "Skip to the content"


def test_evidence_opens_beside_its_claim_and_closing_returns_to_it(page: Page) -> None:
    link = page.locator("#plans a.n").first
    place = link.get_attribute("id")
    link.click()
    page.wait_for_selector("#door[open]")
    told = page.inner_text("#door-body")
    page.keyboard.press("Escape")

    assert told
    assert focused(page) == place


def test_it_prints_on_one_sheet(page: Page) -> None:
    sheet = page.pdf(prefer_css_page_size=True)

    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", sheet)) == 1


@pytest.mark.parametrize("name", ["founding", "long-names", "ten-allergies", "nothing-checked", "script"])
def test_no_page_scrolls_sideways(browser: Browser, address: str, name: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/cases/{name}")
    beyond = {}
    for width in (320, 390, 820, 1366, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(50)
        beyond[width] = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.close()

    assert max(beyond.values()) <= 0


@pytest.mark.parametrize(
    "place",
    ["sign-in", "patients", "patients/founding-case", "patients/none", "follow-ups", *(f"cases/{n}" for n in LOOKED)],
)
def test_axe_finds_nothing_in_light_and_dark(
    browser: Browser, signed_in: BrowserContext, address: str, place: str
) -> None:
    context = browser.new_context(
        viewport={"width": 1366, "height": 768}, storage_state=signed_in.storage_state(), bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"{address}/{place}")
    closed = "" if place == "cases/founding" else ":not(#evidence)"
    page.evaluate(f"document.querySelectorAll('details{closed}').forEach(d => {{ d.open = true }})")
    run = f"axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}})"
    in_light = page.evaluate(f"{AXE}; {run}")["violations"]
    page.emulate_media(color_scheme="dark")
    in_dark = page.evaluate(run.replace(str(RULES), "['color-contrast']"))["violations"]
    context.close()

    assert [(v["id"], v["nodes"][0]["target"]) for v in (*in_light, *in_dark)] == []


def test_axe_finds_nothing_once_follow_ups_are_there(
    browser: Browser, signed_in: BrowserContext, page: Page, address: str
) -> None:
    page.click("#decide .reasons button >> nth=0")
    page.wait_for_selector(".notice")
    context = browser.new_context(storage_state=signed_in.storage_state(), bypass_csp=True)
    looked = context.new_page()
    found = []
    for place in (page.url, f"{address}/follow-ups"):
        for width in (390, 1366):
            looked.set_viewport_size({"width": width, "height": 800})
            looked.goto(place)
            looked.evaluate("document.querySelectorAll('#follow-up details').forEach(d => { d.open = true })")
            run = f"axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}})"
            found += looked.evaluate(f"{AXE}; {run}")["violations"]
            assert looked.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    context.close()

    assert [(v["id"], v["nodes"][0]["target"]) for v in found] == []


def test_upload_choose_change_dose_override_and_see_the_follow_up(signed_in: BrowserContext, address: str) -> None:
    page = signed_in.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{address}/patients")
    with as_file(files(demo)) as folder:
        page.set_input_files("[name=bundle]", folder / "patient.json")
        page.click("text=Add the record")
        page.set_input_files("[name=vcf]", folder / "genome.vcf")
        page.click("button:has-text('the genome')")
    page.select_option("[name=indication]", "hypertension")
    page.fill("[name=as_of]", "2026-11-20")
    page.click("text=Show the plans")
    page.wait_for_url("**/answers/**")
    page.keyboard.press("2")
    page.wait_for_selector("tr.sel a#plan-2")
    page.check("#dose input[name=dose] >> nth=1", force=True)
    page.wait_for_selector("#dose >> text=What if")
    page.click("#decide .reasons button >> nth=0")
    page.wait_for_selector(".notice")
    told = page.inner_text("#follow-up")
    page.close()

    assert "Overridden" in told
    assert "will monitor" in told
    assert "expected" in told or "open" in told or "due" in told
    assert said == []


def test_all_of_it_works_without_script(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, address)
    page.click("text=Load the example")
    page.wait_for_url("**/answers/**")
    page.click("#plan-2")
    page.check("#dose input[name=dose] >> nth=1", force=True)
    page.click("text=Show this dose")
    dose = page.inner_text("#dose")
    curve = page.is_visible("#dose svg.curve")
    page.click("#decide button:has-text('Accept with')")
    told = page.inner_text("#follow-up")
    sheet = page.pdf(prefer_css_page_size=True)
    page.click("text=Close a follow-up")
    page.fill("#follow-up [name=result]", "4.4 mmol/L")
    page.click("text=Close the follow-up")
    closed = page.inner_text("#follow-up")
    page.goto(f"{address}/follow-ups?state=done")
    listed = page.inner_text("#follow-up")
    context.close()

    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", sheet)) == 1
    assert "4.4 mmol/L" in closed
    assert "4.4 mmol/L" in listed
    assert "What if" in dose
    assert curve
    assert "Accepted with another dose" in told


@pytest.mark.parametrize("media", ["screen", "print"])
def test_the_zero_of_the_scale_stands_over_the_zero_line(page: Page, media: str) -> None:
    page.emulate_media(media=media)  # type: ignore[arg-type]
    middle = "(e => { const r = e.getBoundingClientRect(); return (r.left + r.right) / 2 })"
    scale = page.evaluate(f"{middle}([...document.querySelectorAll('.both .tick')].find(e => e.textContent === '0'))")
    lines = page.evaluate(f"[...document.querySelectorAll('.chart .zero')].map({middle})")
    page.emulate_media(media="screen")

    assert len(lines) == 6
    assert all(abs(line - scale) < 1 for line in lines)
