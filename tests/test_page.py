"""The page without a browser: what is shown, that it is inert, that each number is traced, and forms without script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from html import unescape
from importlib.resources import files
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from page_app import PASSWORD, page_app
from page_cases import CASES, SCRIPT, TODAY, VISITOR, founding, nothing_recommended, shown
from posologist.core.followup import FollowUpReport
from posologist.core.recommendation import NotChecked, Recommendation
from posologist.core.regimen import Target
from posologist.core.simulation import DoseDocument, SimulationDocument
from posologist.core.values import Estimate, EvidenceKey, Series
from posologist.knowledge.load import load_knowledge
from posologist.records.fhir_in import read_patient
from posologist.serve import demo
from posologist.serve.asked import Person, Recommend
from posologist.serve.charts import Aim, curve, number, pair_bar
from posologist.serve.following import Followed
from posologist.serve.measuring import Measurement
from posologist.serve.page.course_view import told_elsewhere
from posologist.serve.page.dose_view import DoseAsked, dose_view
from posologist.serve.page.html import POLICY, answer_html, static_files
from posologist.serve.page.views import answer_view, briefly, focused, reason_choices, scale_words
from posologist.serve.page.what_if import what_if
from posologist.serve.rows import Actor
from posologist.serve.words import lower_first
from stores import Clock, a_decision, a_follow_up
from test_report import read
from tracing import numbers_of, page_text, text_faults, tokens

KEY = (EvidenceKey("setting:0"),)
PLAN_DOSE = "valsartan 160 mg orally once daily"


@lru_cache
def page() -> str:
    return shown(founding())


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def block(html: str, name: str) -> str:
    """One section of the page."""
    return html.partition(f'id="{name}"')[2].partition("</section>")[0]


@pytest.mark.parametrize("name", CASES)
def test_no_page_has_script_or_style_of_its_own_or_another_host(name: str) -> None:
    html = shown(CASES[name]())
    tags = read(html)

    assert not tags.tags & {"style", "iframe", "object", "embed", "base"}
    assert "<script>" not in html
    assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", html)
    assert not {a for a in tags.attributes if a.startswith("on") or a in ("style", "srcset", "hx-on", "hx-vals")}
    assert all(link.startswith(("#", "/", "?")) and not link.startswith("//") for link in tags.links)
    assert "{{" not in html.replace("{{ 7 * 7 }}", "")


def test_script_in_names_notes_and_sources_is_text() -> None:
    html = shown(CASES["script"]())

    assert "<script>alert" not in html
    assert "<img" not in html
    assert SCRIPT in unescape(html)
    assert "49" not in text_of(html.partition('class="name')[2].partition("</div>")[0])


@pytest.mark.parametrize("name", CASES)
def test_tags_close_in_order_ids_are_one_and_inner_links_lead_somewhere(name: str) -> None:
    html = re.sub(r"<(input|link)[^>]*>", "", shown(CASES[name]()))
    tags = read(html)
    inner = {link[1:] for link in tags.links if link.startswith("#")}

    assert (tags.faults, tags.open) == ([], [])
    assert len(tags.ids) == len(set(tags.ids))
    assert inner <= set(tags.ids)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_every_number_on_the_page_is_in_the_document(rank: int) -> None:
    read_text = page_text(shown(founding(), rank))

    assert text_faults(read_text, founding()) == []


def test_a_planted_number_would_be_found() -> None:
    planted = page().replace("Utility = benefit", "Utility = 71.3 benefit")

    assert text_faults(page_text(planted), founding()) == ["71.3 is not in the document"]


def test_each_reason_number_and_exclusion_is_one_step_from_its_evidence_and_back() -> None:
    tags = read(re.sub(r"<(input|link)[^>]*>", "", page()))
    claims = [place for place in tags.ids if re.fullmatch(r"r\d+", place)]
    r = founding()
    keys = {k for claim in (*r.options[0].reasons, *r.ruled_out, *r.findings) for k in claim.because}
    keys |= {o.benefit.because[0] for o in r.options} | {o.utility.because[0] for o in r.options}

    assert {f"#e-{k.replace(':', '-')}" for k in keys} <= set(tags.links)
    assert {f"#{place}" for place in claims} <= set(tags.links)


def test_the_blocks_stand_in_their_order() -> None:
    ids = ("patient", "genes", "plans", "safety", "dose", "why", "ruled-out", "decide", "export", "follow-up")
    places = [page().index(f'id="{name}"') for name in ids]

    assert places == sorted(places)


@pytest.mark.parametrize("name", ["founding", "nothing-recommended", "nothing-checked"])
def test_change_nothing_is_always_a_row(name: str) -> None:
    assert "Change nothing" in block(shown(CASES[name]()), "plans")


def test_at_most_five_plans_and_ties_are_told() -> None:
    more = founding().model_copy(update={"options": founding().options * 2})
    plans = block(shown(more), "plans")

    assert plans.count('data-key="') == 5
    assert "cannot be told apart" in plans
    assert plans.count(">tie<") == 5


def test_old_and_missing_data_say_what_they_prevent() -> None:
    banner = text_of(block(shown(CASES["ten-allergies"]()), "patient"))

    assert "Old, renew first: potassium, prevents start of an ACE inhibitor or ARB" in banner
    assert "Missing, so not checked: HbA1c (target for diabetes)" in banner
    assert "penicillin (anaphylaxis)" in banner
    assert "egg (vomiting)" in banner


def test_the_four_states_of_knowing_look_and_read_differently() -> None:
    genes = block(page(), "genes")
    unchecked = block(shown(CASES["nothing-checked"]()), "safety")

    assert 'class="gene normal">Normal:' in genes
    assert 'class="gene matters"' in genes
    assert 'class="gene untested"' in genes
    assert "Not tested:" in genes
    assert 'class="f nc"><strong>Not checked' in unchecked
    assert "No genome was given: no gene is tested" in block(shown(CASES["no-genome"]()), "genes")


def test_an_untested_gene_that_a_drug_at_hand_is_checked_by_is_not_folded() -> None:
    genes = block(shown(CASES["untested-gene"]()), "genes")
    told, _, folded = genes.partition("<details")

    assert "CYP2D6 not tested, needed for metoprolol" in text_of(told)
    assert "CYP2D6" not in folded
    assert "CACNA1S" in folded
    assert "needed for" not in block(page(), "genes")


def test_nothing_recommended_still_offers_to_override_but_nothing_to_accept() -> None:
    html = shown(nothing_recommended())

    assert "Nothing is recommended." in html
    assert 'value="override"' in html
    assert 'value="accept"' not in html


def test_at_most_six_reasons_to_override_are_coded() -> None:
    codes = [code for code, _ in reason_choices()]

    assert len(codes) == len(set(codes)) <= 6
    assert all(f'name="reason" value="{code}"' in page() for code in codes)


def test_every_curve_has_a_table_twin_of_the_same_numbers() -> None:
    dose = block(page(), "dose")
    series = founding().options[0].plan.start[0].exposure
    assert series is not None

    assert dose.count('<svg class="curve"') == 1
    assert "Curve as a table" in dose
    assert f'<td class="num">{number(series.y[24])}</td>' in dose


def test_what_two_units_share_is_said_once() -> None:
    assert (
        scale_words("events avoided per 10 a", "harms per 10 a") == "Per 10 a: benefit = events avoided, harm = harms."
    )
    assert scale_words("mmHg", "harms per 10 a") == "Benefit: mmHg. Harm: harms per 10 a."


@pytest.mark.parametrize(
    "text, lowered", [("Potassium", "potassium"), ("HbA1c", "HbA1c"), ("eGFR", "eGFR"), ("Below 130", "below 130")]
)
def test_names_keep_their_capitals_inside_a_sentence(text: str, lowered: str) -> None:
    assert lower_first(text) == lowered


def test_benefit_and_harm_share_one_axis_and_differ_in_shape() -> None:
    one = Estimate(value=1.0, unit="x", low=0.0, high=2.0, level=0.8, because=KEY)
    bar = pair_bar(one, one, (-1.0, 3.0))

    places = [float(x) for x in re.findall(r'<line class="span" x1="([\d.]+)"', bar)]
    assert places[0] == places[1]
    assert "<circle" in bar
    assert "<rect" in bar


def test_a_target_of_concentrations_is_drawn_and_another_is_told() -> None:
    option = founding().options[0]
    start = option.plan.start[0]
    assert start.exposure is not None
    drawn = curve(start.exposure, "c", aim=Aim(0.1, 0.5))

    assert '<rect class="aim"' in drawn
    assert '<rect class="aim"' not in curve(start.exposure, "c")


def test_a_target_without_upper_end_reaches_the_top_of_the_plot() -> None:
    series = Series(unit="mg/L", because=KEY, x=(0.0, 1.0), y=(0.0, 1.0))

    assert 'y="10.0"' in curve(series, "c", aim=Aim(0.5, None))


def test_the_files_that_a_page_asks_for_come_with_their_licences() -> None:
    names = set(static_files())

    assert {"vendor/htmx.LICENSE.txt", "vendor/uplot.LICENSE.txt", "fonts/OFL.txt"} <= names
    assert {"page.css", "page.js", "tokens.css", "vendor/htmx.min.js", "vendor/uplot.min.js"} <= names
    assert set(re.findall(r"/static/[0-9a-f]+/([^\"]+)", page())) <= names
    css = static_files()["page.css"][0].decode()
    assert set(re.findall(r"url\(([^)]+)\)", css)) <= names


def test_a_dose_that_is_not_offered_is_not_shown() -> None:
    option = focused(founding(), 1)
    assert option is not None
    view = dose_view(option, DoseAsked(regimen="900 mg orally once daily"), known=None)

    assert view is not None
    assert view.chosen == option.plan.start[0].regimen.text
    assert not view.changed


def test_without_a_curve_the_control_says_what_it_would_need() -> None:
    option = founding().options[0]
    start = option.plan.start[0].model_copy(update={"exposure": None, "exposure_note": "no clearance on file"})
    bare = option.model_copy(update={"plan": option.plan.model_copy(update={"start": (start,)})})
    document = founding().model_copy(update={"options": (bare,)})

    assert "No curve" in shown(document)
    assert "no clearance on file" in text_of(shown(document))


def test_a_target_that_is_no_concentration_is_not_drawn() -> None:
    option = founding().options[0]
    view = dose_view(option, DoseAsked(), known=None)
    assert view is not None
    target = Target(measure="auc24", low=400, high=600, unit="h.mg/L", text="AUC24 400-600 h.mg/L")
    html = answer_html(
        answer_view(founding(), answer_id="a", dose=_with_target(view, target), today=TODAY), visitor=VISITOR
    )

    assert "so not drawn" in html


def _with_target(view: object, target: Target) -> object:
    from dataclasses import replace

    return replace(view, target=target)  # type: ignore[type-var]


# Forms over HTTP, without script


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with another("anna") as made:
        yield made


@pytest.fixture(scope="module")
def answer(client: TestClient) -> str:
    """Address of the example's plans."""
    response = client.post("/patients/example", data={"csrf": csrf(client)})
    assert response.status_code == 303
    return str(response.headers["location"])


def csrf(client: TestClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/patients").text)
    assert found
    return found[1]


def once(client: TestClient, address: str) -> str:
    found = re.search(r'name="once" value="([^"]+)"', client.get(address).text)
    assert found
    return found[1]


@lru_cache
def app() -> FastAPI:
    """One app for all tests of this file."""
    return page_app()


def another(name: str = "") -> TestClient:
    made = TestClient(app(), base_url="https://testserver", follow_redirects=False)
    if name:
        made.post("/sign-in", data={"name": name, "password": PASSWORD})
    return made


@pytest.mark.parametrize("address", ["/patients", "/follow-ups", "/answers/abc", "/patients/abc"])
def test_who_is_not_signed_in_is_led_to_the_door_and_back(address: str) -> None:
    response = another().get(address)

    assert response.status_code == 303
    assert response.headers["location"] == f"/sign-in?back={address}"


def test_a_wrong_password_is_told_without_saying_which_part() -> None:
    response = another().post("/sign-in", data={"name": "anna", "password": "not her pass phrase"})

    assert response.status_code == 401
    assert "Name or password is not right" in response.text
    assert "not her pass phrase" not in response.text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/sign-out", "/answers/../x"])
def test_signing_in_never_leads_to_another_place(back: str) -> None:
    response = another().post("/sign-in", data={"name": "anna", "password": PASSWORD, "back": back})

    assert response.headers["location"] == "/patients"


def test_the_auditor_sees_no_patient() -> None:
    response = another("ada").get("/patients")

    assert response.status_code == 403
    assert "You may not do this" in response.text


def test_a_page_comes_with_a_policy_that_forbids_anything_inline(client: TestClient, answer: str) -> None:
    policy = client.get(answer).headers["content-security-policy"]

    assert "unsafe" not in policy
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_form_without_its_token_changes_nothing(client: TestClient, answer: str, token: str) -> None:
    response = client.post(f"{answer}/decision", data={"csrf": token, "action": "accept", "rank": "1"})

    assert response.status_code in (403, 422)
    assert "Accepted" not in block(client.get(answer).text, "follow-up")


def test_a_form_from_another_site_changes_nothing(client: TestClient, answer: str) -> None:
    data = {"csrf": csrf(client), "action": "accept", "rank": "1"}
    response = client.post(f"{answer}/decision", data=data, headers={"Sec-Fetch-Site": "cross-site"})

    assert response.status_code == 403


def test_another_dose_shows_its_curve_beside_the_plan_s(client: TestClient, answer: str) -> None:
    response = client.get(answer, params={"plan": 1, "drug": "valsartan", "dose": "160 mg orally once daily"})
    dose = block(response.text, "dose")

    assert response.status_code == 200
    assert "The ranking above is for the plan’s dose" in dose
    assert '<path class="other"' in dose
    assert 'value="160 mg orally once daily" checked' in dose


def test_the_plan_s_dose_asked_as_what_if_gives_the_plan_s_curve() -> None:
    start = founding().options[3].plan.start[0]
    told = at_dose(3, start.regimen.text)

    assert start.exposure is not None
    assert told.outputs["concentration"].y == start.exposure.y


def test_every_number_of_another_dose_is_in_its_documents(client: TestClient, answer: str) -> None:
    service, anna = app().state.service, Actor("anna", "prescriber")
    text = page_text(client.get(answer, params={"plan": 4, "dose": "2.5 mg orally once daily"}).text)
    dose = service.dose(anna, "founding-case", "indapamide", as_of=demo.AS_OF, indication="hypertension")
    known = numbers_of(DoseDocument.model_validate_json(dose.document))
    known |= numbers_of(founding()) | numbers_of(at_dose(3, "2.5 mg orally once daily"))

    assert "The ranking above is for the plan’s dose" in text
    assert tokens(text) - known == set()


def at_dose(place: int, regimen: str) -> SimulationDocument:
    """Another dose of the first drug of one of the founding case's plans, without the genome."""
    knowledge = load_knowledge()
    option = founding().options[place]
    patient = read_patient(files(demo) / "patient.json", knowledge=knowledge, as_of=demo.AS_OF)  # type: ignore[arg-type]
    question = Recommend(
        person=Person(id=patient.id, record="", document=""), settings=founding().settings, indication="hypertension"
    )
    drug = option.plan.start[0].drug
    return what_if(question, patient, None, option, regimen, drug=drug, after_levels=False, knowledge=knowledge)


def test_measured_levels_move_the_curve_and_stand_beside_what_was_expected() -> None:
    own = page_app()
    service, anna = own.state.service, Actor("anna", "prescriber")
    first = datetime(2026, 11, 18, 8, tzinfo=UTC)
    given = [
        Measurement("administration", first + timedelta(days=day), "amlodipine", 5.0, "mg", "oral") for day in (0, 1)
    ]
    level = Measurement("level", first + timedelta(hours=30), "amlodipine", 9.0, "ug/L")
    with TestClient(own, base_url="https://testserver", follow_redirects=False) as browser:
        browser.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        browser.post("/patients/example", data={"csrf": csrf(browser)})
        service.add_measured(anna, "founding-case", [*given, level])
        again = service.recommend(anna, "founding-case", "hypertension")
        asked = {"plan": 2, "drug": "amlodipine"}
        before = block(browser.get(f"/answers/{again.id}", params=asked).text, "dose")
        after = block(browser.get(f"/answers/{again.id}", params=asked | {"levels": "after"}).text, "dose")

    assert "Before any level is measured." in before
    assert "After the measured levels." in after
    assert "the plan’s dose, before levels" in after
    assert re.search(r'class="line" d="([^"]+)"', before)[1] != re.search(r'class="line" d="([^"]+)"', after)[1]  # type: ignore[index]


def test_doses_stay_between_start_and_maximum(client: TestClient, answer: str) -> None:
    offered = re.findall(r'name="dose" value="(\d+) mg', client.get(answer, params={"plan": 1}).text)

    assert offered == ["80", "120", "160", "240", "320"]


def test_accepting_with_another_dose_holds_the_order_and_schedules_its_follow_up(
    client: TestClient, answer: str
) -> None:
    data = {
        "csrf": csrf(client),
        "once": once(client, answer),
        "action": "modify",
        "rank": "1",
        "order_text": PLAN_DOSE,
    }
    response = client.post(f"{answer}/decision", data=data)
    followed = text_of(block(client.get(response.headers["location"]).text, "follow-up"))

    assert response.status_code == 303
    assert "Accepted with another dose: plan 1" in followed
    assert PLAN_DOSE in followed
    assert "serum potassium" in followed.lower()
    assert f"the plan was accepted with another dose: {PLAN_DOSE}" in followed


@lru_cache
def followed_page() -> tuple[str, FollowUpReport]:
    """The page after a plan was accepted and a pressure and a potassium came in four weeks later; its report."""
    clock = Clock()
    made = page_app(clock=clock)
    service, anna = made.state.service, Actor("anna", "prescriber")
    with TestClient(made, base_url="https://testserver", follow_redirects=False) as before:
        before.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        address = before.post("/patients/example", data={"csrf": csrf(before)}).headers["location"]
        data = {"csrf": csrf(before), "once": once(before, address), "action": "accept", "rank": "1"}
        assert before.post(f"{address}/decision", data=data).status_code == 303
    clock.pass_by(days=29)
    for key, value, unit in (("sbp", 175.0, "mm[Hg]"), ("potassium", 5.8, "mmol/L")):
        row = Measurement("observation", datetime(2026, 12, 18, 9, tzinfo=UTC), key, value, unit)
        service.add_measured(anna, "founding-case", [row])
    with TestClient(made, base_url="https://testserver", follow_redirects=False) as after:
        after.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        return after.get(address).text, service.followed(anna, "founding-case").report


def test_the_follow_up_shows_each_state_and_what_changed_in_the_advice() -> None:
    html, report = followed_page()
    shown_now = text_of(block(html, "follow-up"))
    moved = next(change for change in report.changes if change.kind == "advice")

    assert {state.state for state in report.states} >= {"open", "overdue", "done", "missed", "out of expectation"}
    for state in report.states:
        if state.item.due is not None:
            assert f'<span class="tag s-{state.state.replace(" ", "-")}">{state.state}</span>' in html
            assert f'datetime="{state.item.due}"' in html
    assert f"Advice now {moved.now}" in shown_now
    assert f"Was: {moved.was}. Now: {moved.now}. Why: {moved.why[:1].upper()}{moved.why[1:]}" in shown_now
    assert "sbp 175 mmHg" in shown_now
    assert "valsartan of the accepted plan would not be started today" in shown_now.lower()
    assert "Also scheduled" not in shown_now


def test_the_printed_sheet_shows_the_follow_up_s_states_dates_and_results() -> None:
    html, report = followed_page()
    sheet = text_of(html.partition('print sheet">')[2].partition("</section>")[0])
    states = [state for state in report.states if state.item.due is not None]

    assert "Follow-up on 2026-12-19 of plan 1" in sheet
    assert {state.state for state in states} > {"open"}
    for state in states:
        assert f"{state.item.due} {state.state}:" in sheet
    assert "potassium 5.8 mmol/L (2026-12-18)" in sheet
    assert f"Advice now: {report.advice.text[:20]}" in sheet


def test_scheduled_items_of_one_day_and_state_stand_together_on_paper() -> None:
    day = date(2026, 11, 27)
    rows = [
        a_follow_up("d1", 1, due=day, what="potassium: two weeks after the start"),
        a_follow_up("d1", 2, due=day, what="potassium: baseline", expected_low=None),
        a_follow_up("d1", 3, due=day, what="sodium: baseline", expected_low=None),
        a_follow_up("d1", 4, due=day, what="weight", status="done", result="81 kg", expected_low=None),
    ]

    told = briefly(rows, date(2026, 11, 28))

    assert told == (
        (day, "overdue", "potassium: expected 3.5 to 5 mmol/L; potassium; sodium"), (day, "done", "weight: 81 kg"),
    )  # fmt: skip


def test_every_number_of_the_follow_up_is_traced_and_its_links_lead_to_evidence() -> None:
    html, report = followed_page()
    tags = read(re.sub(r"<(input|link)[^>]*>", "", html))
    part = page_text(block(html, "follow-up").partition("<details><summary>Enter a level")[0])

    assert text_faults(part, report) == []
    assert (tags.faults, tags.open) == ([], [])
    assert {link[1:] for link in tags.links if link.startswith("#")} <= set(tags.ids)
    assert not {a for a in tags.attributes if a.startswith("on") or a == "style"}


def test_what_was_scheduled_by_hand_stands_beside_the_course() -> None:
    _, report = followed_page()
    decision = a_decision("a")
    bare: dict[str, Any] = {"due": date(2026, 12, 20), "expected_low": None, "expected_high": None}
    sodium = a_follow_up(decision.id, 1, what="sodium", **bare)
    rows = (sodium, a_follow_up(decision.id, 2, what="ask for dizziness", **bare), a_follow_up("another", 3, **bare))

    assert sodium.due in {state.item.due for state in report.states if state.item.what == "sodium"}
    assert told_elsewhere(Followed(decision, report), founding(), rows) == rows[1:]
    assert told_elsewhere(Followed(decision, report), founding(), [replace(sodium, expected_low=135)])
    assert told_elsewhere(Followed(decision, report), founding(), rows) == rows[1:]


def test_a_course_that_cannot_be_told_says_why() -> None:
    said = NotChecked(
        what="the course of the accepted plan", why="no genes are given now", would_need="the same genome"
    )
    view = answer_view(founding(), answer_id="a", no_course=said, today=TODAY)

    assert "The course of the accepted plan: no genes are given now." in text_of(answer_html(view, visitor=VISITOR))


def test_a_dose_above_the_maximum_is_refused(client: TestClient, answer: str) -> None:
    order = "valsartan 900 mg orally once daily"
    data = {"csrf": csrf(client), "once": "x", "action": "modify", "rank": "1", "order_text": order}
    response = client.post(f"{answer}/decision", data=data)

    assert response.status_code == 422
    assert "this dose is not offered" in text_of(response.text).lower()


def test_an_override_that_will_monitor_schedules_the_follow_up_and_shows_on_the_list(
    client: TestClient, answer: str
) -> None:
    data = {"csrf": csrf(client), "once": once(client, answer), "action": "override", "rank": "1"}
    response = client.post(f"{answer}/decision", data={**data, "reason": "will-monitor", "note": SCRIPT})
    page_after = client.get(response.headers["location"]).text

    assert response.status_code == 303
    assert "will monitor" in text_of(block(page_after, "follow-up"))
    assert "<script>alert" not in page_after
    assert "founding-case" in client.get("/follow-ups").text


def test_a_follow_up_is_closed_without_script_and_its_result_stands_on_the_page(
    client: TestClient, answer: str
) -> None:
    data = {"csrf": csrf(client), "once": once(client, answer), "action": "override", "rank": "1"}
    client.post(f"{answer}/decision", data={**data, "reason": "will-monitor", "note": "to be closed"})
    form = block(client.get(answer).text, "follow-up").partition('name="follow_up">')[2]
    number = re.findall(r'<option value="([0-9a-f]{64})">', form)[-1]
    closing = {"csrf": csrf(client), "follow_up": number, "status": "done", "result": f"4.4 {SCRIPT}", "back": answer}
    unsigned = client.post("/follow-ups", data={**closing, "csrf": "x"})
    response = client.post("/follow-ups", data=closing)
    after = client.get(response.headers["location"]).text
    listed = client.get("/follow-ups?state=done").text

    assert unsigned.status_code == 403
    assert (response.status_code, response.headers["location"]) == (303, f"{answer}?held=closed#follow-up")
    assert number not in after
    assert "The follow-up is closed" in text_of(after)
    assert SCRIPT in unescape(block(after, "follow-up"))
    assert "<script>alert" not in after + listed
    assert SCRIPT in unescape(listed)
    assert number not in client.get("/follow-ups").text


def test_a_pharmacist_is_not_offered_to_cancel_and_may_not(client: TestClient, answer: str) -> None:
    data = {"csrf": csrf(client), "once": once(client, answer), "action": "override", "rank": "1"}
    client.post(f"{answer}/decision", data={**data, "reason": "will-monitor", "note": "stays"})
    paul = another("paul")
    listed = paul.get("/follow-ups").text
    number = re.findall(r'name="follow_up" value="([0-9a-f]{64})"', listed)[0]
    closing = {"csrf": csrf(paul), "follow_up": number, "status": "cancelled", "result": "not needed"}

    assert 'value="cancelled"' not in listed
    assert 'value="cancelled"' in client.get("/follow-ups").text
    assert paul.post("/follow-ups", data=closing).status_code == 403
    assert number in paul.get("/follow-ups").text


def test_a_form_sent_twice_counts_once(client: TestClient, answer: str) -> None:
    data = {"csrf": csrf(client), "once": once(client, answer), "action": "override", "rank": "2"}
    data |= {"reason": "patient-preference", "note": "prefers tablets once a week"}
    for _ in range(2):
        client.post(f"{answer}/decision", data=data)

    assert client.get(answer).text.count("prefers tablets once a week") == 1


def test_an_override_without_a_reason_is_refused(client: TestClient, answer: str) -> None:
    data = {"csrf": csrf(client), "once": "y", "action": "override", "rank": "1"}

    assert client.post(f"{answer}/decision", data=data).status_code == 422


def test_a_pharmacist_sees_plans_and_may_not_decide(answer: str) -> None:
    with another("paul") as paul:
        data = {"csrf": csrf(paul), "once": "z", "action": "accept", "rank": "1"}

        assert paul.get(answer).status_code == 200
        assert paul.post(f"{answer}/decision", data=data).status_code == 403


def test_a_reading_is_held_and_the_advice_is_made_again(client: TestClient, answer: str) -> None:
    day = date.today().isoformat()
    data = {"csrf": csrf(client), "what": "observation potassium", "value": "4.9", "unit": "mmol/L"}
    data["at"] = f"{day}T00:00"
    response = client.post(f"{answer}/measured", data=data)

    assert response.status_code == 303
    assert response.headers["location"].partition("?")[0] != answer
    assert "4.9 mmol/L" in text_of(block(client.get(response.headers["location"]).text, "patient"))


@pytest.mark.parametrize(
    "name, kind",
    [("medication-request.json?plan=2", "MedicationRequest"), ("detected-issues.json", "DetectedIssue")],
)
def test_exports_are_drafts_of_one_kind(client: TestClient, answer: str, name: str, kind: str) -> None:
    bundle = client.get(f"{answer}/{name}").json()

    kinds = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert kinds == {kind}
    assert all(entry["resource"].get("status") in ("draft", "final") for entry in bundle["entry"])


def test_the_exported_document_is_the_stored_one(client: TestClient, answer: str) -> None:
    document = client.get(f"{answer}/recommendation.json").content

    assert Recommendation.model_validate_json(document).indication == demo.INDICATION


def test_a_bundle_and_a_genome_are_uploaded_and_plans_asked_for_without_script() -> None:
    with another("anna") as anna:
        folder = files(demo)
        bundle = (folder / "patient.json").read_bytes().replace(b"founding-case", b"uploaded-case")
        token = csrf(anna)
        added = anna.post("/patients", data={"csrf": token}, files={"bundle": ("p.json", bundle, "application/json")})
        before = anna.get(added.headers["location"]).text
        vcf = (folder / "genome.vcf").read_bytes()
        anna.post(
            f"{added.headers['location']}/genome", data={"csrf": token}, files={"vcf": ("../g.vcf", vcf, "text/plain")}
        )
        asked = anna.post(
            f"{added.headers['location']}/recommend",
            data={"csrf": token, "indication": "hypertension", "as_of": "2026-11-20"},
        )

        assert "Not tested: no genome is held" in before
        assert "Held" in anna.get(added.headers["location"]).text
        assert anna.get(asked.headers["location"]).status_code == 200


def test_the_example_is_never_put_among_patients() -> None:
    with TestClient(page_app(), base_url="https://testserver", follow_redirects=False) as anna:
        anna.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        token = csrf(anna)
        offered = anna.get("/patients").text
        bundle = (files(demo) / "patient.json").read_bytes().replace(b"founding-case", b"somebody")
        anna.post("/patients", data={"csrf": token}, files={"bundle": ("p.json", bundle, "application/json")})
        refused = anna.post("/patients/example", data={"csrf": token})

        assert "Load the example" in offered
        assert "Load the example" not in anna.get("/patients").text
        assert refused.status_code == 422


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00\xff", b'{"resourceType": "Bundle"}', b"[" * 5000])
def test_a_bundle_that_cannot_be_read_says_what_to_do_and_what_was_not_checked(
    client: TestClient, content: bytes
) -> None:
    response = client.post(
        "/patients", data={"csrf": csrf(client)}, files={"bundle": ("p.json", content, "application/json")}
    )

    assert response.status_code == 422
    assert "What to do:" in response.text
    assert "no check has run" in response.text


def test_an_indication_that_is_not_held_leaves_the_form_as_it_was(client: TestClient, answer: str) -> None:
    data = {"csrf": csrf(client), "indication": "gout", "as_of": "2026-11-20"}
    response = client.post("/patients/founding-case/recommend", data=data)

    assert response.status_code == 422
    assert 'value="2026-11-20"' in response.text


@pytest.mark.parametrize("address", ["/answers/none", "/patients/none", "/static/0/page.css", "/answers/a?plan=x"])
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, address: str) -> None:
    response = client.get(address)

    assert response.status_code in (404, 422)
    assert response.headers["content-type"].startswith("text/html")
    assert "What to do" in response.text
