"""The page and the table: what a person sees is whole, safe to open, and says what is not known."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patients import AS_OF, a_patient
from posologist.core.recommendation import Finding, NotChecked, Option, Recommendation
from posologist.core.settings import Settings
from posologist.core.values import Estimate, EvidenceKey, Series
from posologist.knowledge.load import load_knowledge
from posologist.recommend.pipeline import recommend
from posologist.serve.charts import axis_scale, common_axis, curve, interval, interval_bar, number, round_ticks
from posologist.serve.demo import founding_recommendation
from posologist.serve.doors import anchor
from posologist.serve.report import render_html
from posologist.serve.style import content_policy
from posologist.serve.table import print_table
from posologist.serve.words import unit
from posologist.study.founding import place

KEY = (EvidenceKey("setting:0"),)
VOID = {"meta", "br", "line", "circle", "rect", "path"}


@lru_cache
def founding() -> Recommendation:
    return founding_recommendation()


@lru_cache
def page() -> str:
    return render_html(founding())


class _Tags(HTMLParser):
    """Open tags, ids and links of a page; `faults` holds tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values["href"])] if "href" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


def read(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    return tags


def test_every_tag_is_closed_in_order() -> None:
    tags = read(page())

    assert (tags.faults, tags.open) == ([], [])


def test_the_page_has_no_script_no_outside_host_and_no_style_attribute() -> None:
    tags = read(page())

    assert not tags.tags & {"script", "link", "iframe", "img", "object", "embed", "form", "base"}
    assert not {a for a in tags.attributes if a.startswith("on") or a in ("style", "src", "srcset")}
    assert all(link.startswith("#") for link in tags.links)
    assert all(target.startswith("data:font/woff2") for target in re.findall(r"url\(([^)]*)", page()))
    assert "@import" not in page()


def test_the_policy_in_the_page_allows_its_one_style_sheet_and_nothing_else() -> None:
    style = page().partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"sha256-{digest}" in content_policy(style)
    assert f"style-src &#39;sha256-{digest.replace('+', '+')}" in page()
    assert "default-src &#39;none&#39;" in page()


def test_every_link_leads_somewhere_and_every_id_is_one() -> None:
    tags = read(page())

    assert len(tags.ids) == len(set(tags.ids))
    assert {link[1:] for link in tags.links} <= set(tags.ids)


def test_every_reason_number_and_exclusion_is_one_step_from_its_evidence_and_back() -> None:
    tags = read(page())
    claims = [place for place in tags.ids if re.fullmatch(r"r\d+", place)]
    document = founding()
    keys = {k for o in document.options for r in o.reasons for k in r.because}
    keys |= {k for x in document.ruled_out for k in x.because} | {k for f in document.findings for k in f.because}

    assert {f"#{anchor(k)}" for k in keys} <= set(tags.links)
    assert {f"#{place}" for place in claims} <= set(tags.links)


def test_every_plan_the_yardstick_and_the_tie_are_on_the_page() -> None:
    text = re.sub(r"<[^>]+>", "", page())

    for option in founding().options:
        assert option.plan.text in text
    assert "Change nothing" in text
    if founding().options[0].ties_with:
        assert "cannot be told apart" in text


def test_four_states_of_knowing_have_their_own_words_and_look() -> None:
    genome = founding().profile
    untested = genome[next(iter(genome))].model_copy(
        update={"clinical": None, "genetic": None, "diplotype": None, "evidence_state": "not called"}
    )
    document = founding().model_copy(update={"profile": {**genome, next(iter(genome)): untested}})

    html = render_html(document)

    for state in ("matters", "abnormal", "normal", "untested"):
        assert f'class="gene {state}"' in html
    assert "Not tested: " in html
    assert '<div class="f nc"><strong>Not checked</strong>' in html


def test_no_genome_is_said_and_is_not_normal() -> None:
    html = render_html(founding().model_copy(update={"profile": {}}))

    assert "No genome was given: nothing is tested" in html
    assert 'class="gene normal"' not in html


def test_a_missing_fact_says_what_it_hinders() -> None:
    document = recommend(a_patient(sbp=155, dbp=97), "hypertension", knowledge=load_knowledge(), settings=_settings())

    text = re.sub(r"<[^>]+>", "", render_html(document))

    assert "Potassium not in the record" in text
    assert "Missing, so not checked" in text
    assert "potassium (safety of drugs that change potassium)" in text


def _settings() -> Settings:
    return Settings(as_of=AS_OF)


def _nothing() -> Recommendation:
    finding = Finding(
        severity="serious", title="No plan passed the checks", detail="", because=founding().findings[0].because
    )
    open_point = NotChecked(what="everything", why="no record", would_need="a record")
    return founding().model_copy(
        update={"options": (), "yardstick": None, "findings": (finding,), "not_checked": (open_point,)}
    )


def test_an_empty_answer_says_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    html = render_html(_nothing())
    print_table(_nothing())
    text = capsys.readouterr().out

    assert "Nothing is recommended" in html
    assert "No plan passed the checks" in html
    assert "No plan passed the checks" in text
    assert "nothing is recommended" in text


def test_text_from_the_record_cannot_become_markup() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=y>'
    patient = founding().patient.model_copy(update={"name": evil, "id": evil})
    evidence = {k: e.model_copy(update={"text": evil}) for k, e in founding().evidence.items()}
    document = founding().model_copy(update={"patient": patient, "evidence": evidence, "indication": evil})

    tags = read(render_html(document))

    assert not tags.tags & {"script", "img"}
    assert "onerror" not in tags.attributes


def test_the_table_fits_100_columns_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(founding())

    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 100


def test_the_table_of_plans_is_not_cut_even_with_wide_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    first = founding().options[0]
    wide = _estimate(-123456.7, -234567.8, 123456.7)
    option = first.model_copy(update={"benefit": wide, "risk": wide, "utility": wide})

    print_table(founding().model_copy(update={"options": (option,)}))
    out = capsys.readouterr().out

    assert out.count("−123457") == 3
    assert "Utility" in out


def test_the_table_names_every_exclusion_by_drug(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(founding())
    out = " ".join(capsys.readouterr().out.split())

    for entry in founding().ruled_out:
        assert entry.drug.split(" + ")[0] in out


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0"), (-6.47345, "−6.47"), (148.527, "149"), (18.0, "18"), (1.0, "1"), (0.0912, "0.0912"),
        (1250.4, "1250"), (12345.6, "12346"), (0.000012, "1.20e−05"), (5, "5"), (99.96, "100"),
        (-5.55e-14, "0"),
    ],
)  # fmt: skip
def test_a_number_has_three_significant_digits_and_a_true_minus(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(min_value=-1e6, max_value=1e6, allow_nan=False))
def test_a_printed_number_is_within_half_a_percent_of_the_value(value: float) -> None:
    printed = float(number(value).replace("−", "-"))

    assert printed == pytest.approx(value, rel=5.1e-3, abs=1e-9)


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, unit="mmHg", low=low, high=high, level=0.8, because=KEY)


@given(st.floats(-50, 50), st.floats(0.001, 40), st.floats(0.001, 40))
def test_every_interval_and_zero_lie_on_the_common_axis(value: float, down: float, up: float) -> None:
    estimate = _estimate(value, value - down, value + up)

    low, high = common_axis([estimate])
    drawn = [float(x) for x in re.findall(r'(?:x1|x2|cx)="([\d.-]+)"', interval_bar(estimate, (low, high)))]

    assert low <= min(0.0, estimate.low)
    assert high >= max(0.0, estimate.high)
    assert all(0 <= x <= 210 for x in drawn)


@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    ticks = round_ticks(low, low + width)

    assert len(ticks) <= 6
    assert all(low - 1e-9 * width <= t <= low + width * (1 + 1e-9) for t in ticks)
    assert axis_scale((low, low + width)).count("<text") == len(ticks)


def test_a_curve_has_its_band_its_axes_and_words_for_those_who_cannot_see_it() -> None:
    series = Series(unit="mg/L", because=KEY, x=(0.0, 24.0, 72.0), y=(0.0, 1.0, 0.5), low=(0.0, 0.5, 0.2), high=(0.0, 2.0, 1.0), level=0.8)  # fmt: skip  # noqa: E501

    drawn = curve(series, "amlodipine concentration")

    assert 'class="band"' in drawn
    assert 'aria-label="amlodipine concentration"' in drawn
    assert ">72<" in drawn


@pytest.mark.parametrize(
    "ucum, shown",
    [
        ("mm[Hg]", "mmHg"), ("a", "years"), ("/min", "per minute"), ("mL/min/{1.73_m2}", "mL/min/1.73 m²"),
        ("mL/min/1.73 m2", "mL/min/1.73 m²"), ("1", ""), ("umol/L", "µmol/L"), ("mg/day", "mg/day"),
    ],
)  # fmt: skip
def test_units_are_written_as_people_write_them(ucum: str, shown: str) -> None:
    assert unit(ucum) == shown


def test_an_interval_names_value_and_both_ends() -> None:
    assert interval(_estimate(-8.1, -20.04, 3.4)) == "−8.1 (−20.0 to 3.4)"


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (131, 134, "inside"), (125, 131, "partly inside"), (100, 120, "below"), (150, 160, "above"),
        (120, 150, "partly inside"),
    ],
)  # fmt: skip
def test_where_a_published_range_falls(low: float, high: float, expected: str) -> None:
    assert place(_estimate(135, 130, 140), low, high) == expected


def test_the_lead_and_the_yardstick_are_options_of_the_document() -> None:
    assert isinstance(founding().yardstick, Option)
    assert founding().options[0].rank == 1


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_a_contrast_of_at_least_4_5_in_light_dark_and_print(mode: int) -> None:
    tokens = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", re.findall(r":root\{([^}]*)\}", page())[mode]))
    pairs = [(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("bg", "surface", "soft")]
    pairs += [("crit", "crit-bg"), ("crit", "hatch"), ("warn", "warn-bg"), ("warn", "surface"), ("ink", "warn-bg")]

    low = {pair: round(_contrast(tokens[pair[0]], tokens[pair[1]]), 2) for pair in pairs}

    assert {pair: value for pair, value in low.items() if value < 4.5} == {}
