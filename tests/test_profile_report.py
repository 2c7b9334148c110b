"""The report of a profile: whole, safe to open, complete, and never kinder than what was read."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from datetime import date
from functools import lru_cache
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from genome_files import row, write_vcf
from patients import AS_OF, a_medicine, a_patient
from posologist.core.evidence import Evidence
from posologist.core.genotype import DiplotypeCandidate, GeneCall, GeneticProfile, NotExcluded
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.core.settings import Settings
from posologist.core.situation import Situation
from posologist.core.values import DrugId, EvidenceKey, GeneSymbol, Quantity
from posologist.genome.document import call_genome
from posologist.genome.guidance import guidance_document
from posologist.knowledge.load import Knowledge, load_knowledge
from posologist.recommend.opened import situation_of
from posologist.serve.doors import anchor
from posologist.serve.profile_page import render_profile
from posologist.serve.profile_text import print_guidance, print_profile
from posologist.serve.profile_view import drug_rows, gene_rows
from posologist.serve.profile_words import advice_words, alleles, deciding, missing_words, rest
from posologist.serve.style import content_policy
from shared import shared_data

DEMO = Path(str(files("posologist.serve.demo")))
KEY = EvidenceKey("patient:0")
VOID = {"meta", "br"}
EVIL = '<script>alert(1)</script>"><img src=x onerror=y></style>'
NOT_TESTED, NOT_CALLED = "Not tested", "Not called"


@lru_cache
def knowledge() -> Knowledge:
    return load_knowledge()


@lru_cache
def demo() -> GeneticProfile:
    return call_genome(DEMO / "genome.vcf", outside_calls=DEMO / "outside-calls.tsv")


@lru_cache
def real(sample: str, absent: str = "missing") -> GeneticProfile:
    return call_genome(shared_data("pgx", "getrm", "genotypes.vcf.gz"), sample=sample, absent=absent)


def guidance_of(profile: GeneticProfile, situation: Situation | None = None) -> GuidanceDocument:
    return guidance_document(profile, knowledge=knowledge(), situation=situation)


def page(profile: GeneticProfile, situation: Situation | None = None, day: date | None = None) -> str:
    return render_profile(
        profile, guidance_of(profile, situation), citations=knowledge().citations, day=day, situation=situation
    )


def with_gene(symbol: str, **changed: object) -> GeneticProfile:
    """The demo's profile with one gene changed; its reason is one that the profile holds."""
    call = demo().genes[GeneSymbol("CYP2C19")].model_copy(update=changed)
    return demo().model_copy(update={"genes": {**demo().genes, GeneSymbol(symbol): call}})


def unread_vcf(folder: Path) -> Path:
    """A VCF whose one record has a base that no allele of CYP2C19 documents."""
    return write_vcf(
        folder / "s.vcf", [row("chr10", 94781859, "G", "T", "0/1"), row("chr10", 94842866, "A", "G", "1/1")]
    )


def situation(*medicines: str) -> Situation:
    who = a_patient(medicines=tuple(a_medicine(name, 20.0) for name in medicines))
    return situation_of(who, knowledge=knowledge(), settings=Settings(as_of=AS_OF))


class Page(HTMLParser):
    """Tags, ids, links and table rows of a page; `faults` holds tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if self._cell and tag in ("br", "div"):
            self.rows[-1][-1] += " "
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data

    def values(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.seen if name in attrs]


def table_row(html: str, first: str) -> list[str]:
    """Cells of the row of the genes' table whose head begins with this symbol."""
    part = html.partition('<table class="genes">')[2].partition("</table>")[0]
    (found,) = [cells for cells in Page(f"<table>{part}</table>").rows if cells[0].startswith(first)]
    return [" ".join(cell.split()) for cell in found]


def text_of(html: str) -> str:
    body = html.partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def profiles() -> list[GeneticProfile]:
    return [demo(), real("HG00436"), real("HG00111", "reference")]


def test_every_tag_is_closed_in_order_every_link_leads_somewhere_and_every_id_is_one() -> None:
    for profile in profiles():
        read = Page(page(profile))
        ids = read.values("id")

        assert (read.faults, read.open) == ([], [])
        assert len(ids) == len(set(ids))
        assert {link.removeprefix("#") for link in read.values("href")} <= set(ids)
        assert all(link.startswith("#") for link in read.values("href"))


def test_no_script_no_outside_host_and_one_style_sheet_that_the_policy_allows() -> None:
    html = page(demo())
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    read = Page(html)

    assert not {tag for tag, _ in read.seen} & {"script", "link", "iframe", "img", "object", "embed", "form", "base"}
    assert not {name for _, attrs in read.seen for name in attrs if name.startswith("on") or name in ("style", "src")}
    assert f"sha256-{digest}" in content_policy(style)
    assert content_policy(style).replace("'", "&#39;") in html
    assert "@import" not in style
    assert all(target.startswith("data:font/woff2") for target in re.findall(r"url\(([^)]*)", style))


def test_the_page_has_language_title_skip_link_and_tables_with_heads() -> None:
    read = Page(page(real("HG00436")))
    heads = [attrs for tag, attrs in read.seen if tag == "th"]
    tags = [tag for tag, _ in read.seen]

    assert read.values("lang") == ["en"]
    assert "title" in tags
    assert ("a", {"class": "skip", "href": "#summary"}) in read.seen
    assert heads
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in heads)
    assert tags.count("caption") == tags.count("table")
    assert tags.count("h1") == tags.count("main") == 1


def test_every_gene_and_every_drug_is_on_the_page() -> None:
    for profile in profiles():
        html, guidance = page(profile), guidance_of(profile)

        for symbol in {*profile.genes, *guidance.genes}:
            assert table_row(html, symbol)
        for drug in {*(i.drug for i in guidance.guidance), *(n.drug for n in guidance.no_guidance)}:
            assert drug.lower() in text_of(html).lower()


def test_every_item_of_guidance_is_one_step_from_its_source() -> None:
    guidance = guidance_of(demo())
    links = set(Page(page(demo())).values("href"))

    assert {f"#{anchor(item.because[0])}" for item in guidance.guidance} <= links


def test_a_gene_without_a_result_is_never_normal_in_any_row(tmp_path: Path) -> None:
    profile = call_genome(unread_vcf(tmp_path))
    without = [s for s, call in profile.genes.items() if not call.called]
    html = page(profile)

    assert GeneSymbol("CYP2C19") in without
    assert GeneSymbol("CYP2D6") in without
    for symbol in without:
        rows = [cells for cells in Page(html).rows if cells[0].split()[:1] == [symbol]]
        assert rows
        assert not any("normal" in " ".join(cells).lower() for cells in rows)


def test_what_small_variants_would_fit_is_no_result_and_names_no_phenotype() -> None:
    article = page(real("HG00436")).partition('id="d-CYP2D6"')[2].partition("</article>")[0]

    assert not real("HG00436").genes[GeneSymbol("CYP2D6")].called
    assert "this is no result" in article
    assert "metaboliser" not in article


def test_positions_that_define_no_allele_are_told_apart() -> None:
    html = page(with_gene("CYP2C9", other_variants={"rs12777823": "G/A"}))

    assert "Also read rs12777823 G/A; they define no allele." in text_of(html)


def test_a_gene_without_a_defined_phenotype_is_not_called_uncertain() -> None:
    assert table_row(page(real("HG00436")), "CYP4F2")[2] == "no phenotype is defined"
    assert table_row(page(real("HG00436")), "DPYD")[2] == "not certain"


def test_not_tested_not_called_and_normal_have_their_own_words_and_look(tmp_path: Path) -> None:
    html = page(call_genome(unread_vcf(tmp_path)))
    called = page(demo())

    assert table_row(html, "CYP2C19")[3] == NOT_CALLED
    assert table_row(html, "CYP2D6")[3] == table_row(html, "TPMT")[3] == NOT_TESTED
    assert table_row(called, "TPMT")[2:4] == ["normal metaboliser", "Called"]
    assert '<span class="state not-called">' in html
    assert '<span class="state not-tested">' in html
    assert "where the gene has no result, and that is not a usual result" in text_of(html)


def test_assumed_reference_is_said_in_the_head_in_the_row_and_in_the_limits() -> None:
    html = page(real("HG00436", "reference"))

    assert "Absent positions taken as reference" in text_of(html)
    assert table_row(html, "TPMT")[3] == "Reference assumed"
    assert "were taken as reference, as was asked, in" in text_of(html)


def test_alleles_that_are_not_excluded_stand_with_frequency_and_what_they_would_change() -> None:
    left = (
        NotExcluded(allele="*98", frequency=0.0125, changes_guidance=True),
        NotExcluded(allele="*97", frequency=None, changes_guidance=False),
        NotExcluded(allele="*96", frequency=0.0004, changes_guidance=None),
    )

    cell = table_row(page(with_gene("CYP2C19", not_excluded=left)), "CYP2C19")[5]

    assert cell == "Would change guidance: *98 1.25 % Effect not known: *96 under 0.1 % Would not: 1"


def test_ties_and_probable_alternatives_stand_beside_the_diplotype() -> None:
    found = tuple(
        DiplotypeCandidate(diplotype=d, probability=p, phenotype="Intermediate Metabolizer")
        for d, p in (("*1/*4", 0.45), ("*4/*38", 0.45), ("*2/*17", 0.09), ("*3/*17", 0.01), ("*3/*3", 0.0001))
    )

    html = page(with_gene("CYP2C19", candidates=found, diplotype="*1/*4"))

    assert (
        table_row(html, "CYP2C19")[1] == "*1/*4 45 % tie with *4/*38 45 % or *2/*17 9 % or *3/*17 1 % 1 less probable"
    )


def test_what_is_not_certain_is_not_rounded_to_certain() -> None:
    found = tuple(
        DiplotypeCandidate(diplotype=d, probability=p, phenotype=None) for d, p in (("*1/*1", 0.99999), ("*1/*2", 1e-5))
    )

    html = page(with_gene("CYP2C19", candidates=found, diplotype="*1/*1"))

    assert table_row(html, "CYP2C19")[1] == "*1/*1 almost 100 % 1 less probable"


def test_the_pair_of_lowest_function_is_named() -> None:
    call = demo().genes[GeneSymbol("CYP2C19")]
    changed = {"lowest_function": ("Reference", "c.1905+1G>A (*2A)"), "diplotype": "x/y"}
    profile = demo().model_copy(update={"genes": {**demo().genes, GeneSymbol("DPYD"): call.model_copy(update=changed)}})

    text = text_of(page(profile))

    assert "Guidance is looked up with Reference / c.1905+1G&gt;A (*2A) , the two alleles of lowest function." in text


def test_a_phenotype_that_co_medication_changes_stands_beside_the_genetic_one(tmp_path: Path) -> None:
    calls = tmp_path / "calls.tsv"
    calls.write_text("CYP2D6\t*1/*1\n")
    profile = call_genome(DEMO / "genome.vcf", outside_calls=calls)

    cell = table_row(page(profile, situation("paroxetine")), "CYP2D6")[2]

    assert cell.startswith("poor metaboliser, score 0 as it shows now By genes: normal metaboliser, score 2.")
    assert "Paroxetine is a strong CYP2D6 inhibitor" in cell


def test_a_medicine_that_is_taken_is_marked_and_leads_its_group() -> None:
    html = page(demo(), situation("metoprolol"))
    group = html.partition('<tbody class="s-serious">')[2].partition("</tbody>")[0]

    assert re.search(r"Metoprolol</a><br><span class=\"taken\">takes it now", group)
    assert group.index("Metoprolol") < group.index("Amitriptyline")
    assert "takes it now" not in page(demo())


def test_undecided_rows_name_the_facts_and_are_marked_in_words() -> None:
    html = page(demo())
    guidance = guidance_of(demo())
    open_items = [i for i in guidance.guidance if i.decision == "undecided"]

    assert open_items
    assert text_of(html).count("Undecided ") >= len(open_items)
    for item in open_items:
        assert f"Decided by: {', '.join(deciding([item]))}." in text_of(html).replace("&#39;", "'")


def test_no_drug_is_lost_where_nothing_holds(tmp_path: Path) -> None:
    profile = call_genome(unread_vcf(tmp_path))
    drugs = drug_rows(guidance_of(profile))
    html = page(profile)

    assert {drug.place for drug in drugs} == {"open", "silent"}
    for drug in drugs:
        assert (f'id="g-{drug.drug}"' in html) == (drug.place == "open")
        assert drug.place == "open" or drug.silent


def test_a_medicine_that_is_taken_and_cannot_be_judged_is_marked() -> None:
    profile = call_genome(DEMO / "genome.vcf")

    assert "metoprolol (takes it now)" in text_of(page(profile, situation("metoprolol")))


def test_bodies_that_differ_are_told_in_the_summary_and_beside_the_drug() -> None:
    guidance, text = guidance_of(demo()), text_of(page(demo()))

    assert guidance.conflicts
    for conflict in guidance.conflicts:
        assert f"Bodies differ: {conflict.text}." in text


def test_what_cannot_be_judged_is_in_the_summary_and_in_the_list() -> None:
    guidance = guidance_of(real("HG00436"))
    text = text_of(page(real("HG00436")))
    box = text.partition("that is not a usual result:")[2].partition("Drugs that need attention")[0]
    known = {symbol for symbol, gene in guidance.genes.items() if gene.clinical or gene.diplotype}

    assert known
    assert not any(f" {symbol} " in f" {box} " for symbol in known)
    for entry in guidance.no_guidance:
        lacking = [gene for gene in entry.genes if gene not in known]
        assert not lacking or re.search(rf"{' and '.join(lacking)} (?:[\w-]+, )*{entry.drug}", box)
        assert entry.why[:1].upper() + entry.why[1:] in text


def test_drugs_stand_by_severity_and_every_drug_once() -> None:
    rows = drug_rows(guidance_of(demo()))
    order = ["contraindicated", "serious", "monitor", "information"]

    assert [order.index(r.severity) for r in rows] == sorted(order.index(r.severity) for r in rows)
    assert len({r.drug for r in rows}) == len(rows)


def test_a_name_or_a_finding_cannot_become_markup_or_style() -> None:
    evidence = {k: Evidence(kind="patient", text=EVIL, source=EVIL) for k in demo().evidence}
    call = demo().genes[GeneSymbol("TPMT")].model_copy(
        update={"findings": (EVIL,), "diplotype": EVIL, "phenotype": EVIL, "missing_positions": (EVIL,),
                "not_excluded": (NotExcluded(allele=EVIL, changes_guidance=True),)}
    )  # fmt: skip
    genes = {**demo().genes, GeneSymbol("TPMT"): call}
    profile = demo().model_copy(update={"sample": EVIL, "findings": (EVIL,), "evidence": evidence, "genes": genes})
    who = situation("metoprolol").model_copy(update={"name": EVIL, "patient_id": EVIL})

    html = page(profile, who)
    read = Page(html)
    style = html.partition("<style>")[2].partition("</style>")[0]

    assert not {tag for tag, _ in read.seen} & {"script", "img"}
    assert "onerror" not in {name for _, attrs in read.seen for name in attrs}
    assert (read.faults, read.open) == ([], [])
    assert "<" not in style
    assert content_policy(style).replace("'", "&#39;") in html


def test_the_day_is_what_was_stated_and_never_the_clock() -> None:
    stated = page(demo(), day=date(2031, 2, 3))
    unstated = page(demo())

    assert "Date 2031-02-03" in text_of(stated)
    assert "Date not stated" in text_of(unstated)
    assert stated == page(demo(), day=date(2031, 2, 3))


def test_a_printed_page_carries_the_sample_and_its_number() -> None:
    html = page(demo().model_copy(update={"sample": "ABC 12"}))

    assert "size:A4" in html
    assert 'content:"Page " counter(page) " of " counter(pages)' in html
    assert re.search(r'@top-right\{content:"sample ABC 12"\}', html)


def _palette(style: str, place: int) -> dict[str, str]:
    block = re.findall(r":root\{([^}]*)\}", style)[place]
    return dict(re.findall(r"--([\w-]+):(#[0-9a-f]{3,6})\b", block))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize(
    "ink, ground",
    [
        ("ink", "surface"), ("ink", "bg"), ("muted", "surface"), ("accent", "surface"), ("accent", "soft"),
        ("crit", "surface"), ("crit", "crit-bg"), ("warn", "surface"), ("warn", "warn-bg"), ("ink", "soft"),
    ],
)  # fmt: skip
def test_contrast_is_enough_to_read(ink: str, ground: str, place: int) -> None:
    colours = _palette(page(demo()), place)

    light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def an_item(text: str, action: str, percent: float | None = None, genes: tuple[str, ...] = ("CYP2D6",)) -> GuidanceItem:
    value = None if percent is None else Quantity(value=percent, unit="percent", because=(KEY,))
    return GuidanceItem.model_validate({
        "drug": DrugId("x"), "genes": genes, "body": "CPIC", "decision": "applies", "action": action,
        "severity": "serious", "value": value, "text": text, "statement": "x", "source": "x", "because": (KEY,),
    })  # fmt: skip


@pytest.mark.parametrize(
    "item, told",
    [
        (
            an_item("HLA-B *57:01 positive: do not use; risk of a reaction (CPIC)", "contraindicated"),
            "Do not use. Risk of a reaction.",
        ),
        (
            an_item("CYP2D6 poor metabolizer: three quarters of the usual start; levels (CPIC)", "start", 75.0),
            "Start at 75 % of the usual dose. Levels.",
        ),
        (
            an_item("CYP2D6 poor metabolizer: 70% of the usual dose; levels (CPIC)", "percent", 70.0),
            "Give 70 % of the usual dose. Levels.",
        ),
        (
            an_item("CYP2D6 poor metabolizer: half the usual dose; levels (CPIC)", "start", 75.0),
            "Start at 75 % of the usual dose. Half the usual dose; levels.",
        ),
        (
            an_item("HLA-B *15:02 positive: avoid while another drug is possible (CPIC)", "avoid"),
            "Avoid while another drug is possible.",
        ),
        (an_item("CYP2D6 normal metabolizer: no action needed (CPIC)", "standard"), "Usual dose."),
        (an_item("Ask first: then decide (CPIC)", "monitor"), "Monitor. Ask first: then decide."),
    ],
)
def test_advice_and_its_text_do_not_repeat_each_other_and_lose_nothing(item: GuidanceItem, told: str) -> None:
    assert advice_words(item) + rest(item) == told


def test_every_item_on_file_is_told_in_full() -> None:
    silent = {"the", "guideline", "makes", "no", "recommendation", "action", "needed"}
    for item in guidance_of(demo()).guidance:
        last = re.split(r"; |: ", item.text.removesuffix(f"({item.body})").lower())[-1]
        told = set(re.findall(r"\w+", f"{advice_words(item)}{rest(item)}".lower()))
        words = set(re.findall(r"\w+", last))
        assert words <= silent or words <= told or "usual" in words, item.text


@pytest.mark.parametrize(
    "name, told",
    [
        ("dx(peripheral_vascular_disease)", "diagnosis: peripheral vascular disease"),
        ("dx(tia)", "diagnosis: TIA"),
        ("allele(HLA-A, *31:01)", "HLA-A *31:01 result"),
        ("gene(CYP2B6)", "CYP2B6 result"),
        ("on(strong CYP3A4 inhibitor)", "medicines: strong CYP3A4 inhibitor"),
        ("cannot_be_read_from_a_record", "the patient’s answer (no record shows it)"),
        ("age", "age"),
    ],
)
def test_a_missing_fact_is_told_in_words(name: str, told: str) -> None:
    assert missing_words(name) == told


def test_what_two_long_names_share_is_said_once() -> None:
    assert alleles("rs9923231 reference (C)/rs9923231 variant (T)") == "rs9923231 reference (C) / variant (T)"
    assert alleles("rs9923231 reference (C)/rs9923231 reference (C)") == "rs9923231 reference (C), both copies"
    assert alleles("*1/*1") == "*1/*1"
    assert alleles(None) == "by phenotype"


# The terminal


def test_the_terminal_fits_100_columns_and_names_every_gene(capsys: pytest.CaptureFixture[str]) -> None:
    for profile in profiles():
        print_profile(profile)
        print_guidance(guidance_of(profile))
        out = capsys.readouterr().out

        assert max(len(line) for line in out.splitlines()) <= 100
        assert all(symbol in out for symbol in profile.genes)


def test_the_terminal_says_not_called_and_not_tested_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_profile(call_genome(unread_vcf(tmp_path)))
    out = " ".join(capsys.readouterr().out.split())

    assert "CYP2C19 Not called: no allele has the base found at rs4244285" in out
    assert "TPMT Not tested: none of its positions was read" in out


def test_page_and_terminal_list_genes_in_the_same_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_profile(demo())
    printed = re.findall(r"^ ([A-Z][A-Z0-9-]+) ", capsys.readouterr().out, re.MULTILINE)

    assert printed == [gene.symbol for gene in gene_rows(demo(), None)]


def test_the_terminal_names_every_drug(capsys: pytest.CaptureFixture[str]) -> None:
    guidance = guidance_of(demo())
    print_guidance(guidance)
    out = " ".join(capsys.readouterr().out.split())

    for drug in {*(i.drug for i in guidance.guidance), *(n.drug for n in guidance.no_guidance)}:
        assert drug in out


# The command line


def run(*words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from posologist.serve.cli import main; sys.argv[0] = 'posologist'; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_both_verbs_write_the_report(tmp_path: Path) -> None:
    profile, one, two = tmp_path / "p.json", tmp_path / "one.html", tmp_path / "two.html"
    calls = str(DEMO / "outside-calls.tsv")
    first = run(
        "phenotype",
        str(DEMO / "genome.vcf"),
        "--outside-calls",
        calls,
        "--html",
        str(one),
        "--as-of",
        "2031-02-03",
        "--json",
    )
    profile.write_text(first.stdout)
    second = run("guidance", "--profile", str(profile), "--patient", str(DEMO / "patient.json"), "--html", str(two))

    assert (first.returncode, second.returncode, second.stdout) == (0, 0, "")
    assert "2031-02-03" in one.read_text()
    assert "takes it now" in two.read_text()


def test_a_day_that_is_none_is_refused() -> None:
    done = run("phenotype", str(DEMO / "genome.vcf"), "--html", "x.html", "--as-of", "tomorrow")

    assert done.returncode == 2
    assert "'tomorrow' is not a date" in done.stderr


def test_json_and_tsv_load_nothing_of_the_report() -> None:
    code = (
        "import sys; from posologist.serve.cli import app; "
        f"app(['phenotype', {str(DEMO / 'genome.vcf')!r}, FLAG], standalone_mode=False); "
        "print([m for m in ('jinja2', 'posologist.knowledge.load', 'posologist.serve.profile_page') "
        "if m in sys.modules], file=sys.stderr)"
    )
    for flag in ("--json", "--tsv"):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("FLAG", repr(flag))], capture_output=True, text=True, check=False
        )
        assert done.stderr.strip() == "[]"


def test_a_call_without_findings_still_says_why_it_is_missing() -> None:
    call = GeneCall(called=False, diplotype=None, phenotype=None, evidence_state="not called", because=(KEY,))
    evidence = {**demo().evidence, str(KEY): Evidence(kind="patient", text="nothing", source="genome")}
    profile = demo().model_copy(update={"genes": {**demo().genes, GeneSymbol("TPMT"): call}, "evidence": evidence})

    (found,) = [cells for cells in Page(page(profile).partition('id="limits"')[2]).rows if cells[0] == "TPMT"]

    assert found[2].startswith("No result was given.")
