"""A sample's genes and their guidance as one self-contained HTML file that a pharmacist would file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from jinja2 import Environment
from markupsafe import Markup

from posologist.core.evidence import Citation, Evidence
from posologist.core.genotype import GeneticProfile
from posologist.core.guidance import GuidanceDocument, GuidanceItem
from posologist.core.situation import Situation
from posologist.core.values import CitationKey, DrugId, GeneSymbol
from posologist.knowledge.genes import callable_genes, load_gene, outside_genes
from posologist.serve import profile_words, words
from posologist.serve.charts import number
from posologist.serve.doors import Doors, anchor, count
from posologist.serve.profile_view import DrugRow, GeneRow, bodies, drug_rows, gene_rows, reasons_for_silence
from posologist.serve.style import content_policy, css_string, environment, stylesheet

_CANDIDATES_SHOWN = 8
_NAMES_SHOWN = 40  # positions, or alleles without effect on guidance, before "and n more"
_SMALLEST = 0.001  # a smaller share is shown as "under"
_LIKELY = 0.01  # a candidate that stands in the table of genes; all stand in the gene's own table
_GROUPS = ("contraindicated", "serious", "monitor")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source of the page's claims, and how many rest on it."""

    key: str
    citation: Citation | None
    claims: int


def render_profile(
    profile: GeneticProfile,
    guidance: GuidanceDocument,
    *,
    citations: Mapping[CitationKey, Citation] | None = None,
    day: date | None = None,
    situation: Situation | None = None,
) -> str:
    """HTML report of one sample: what needs attention, the genes, each gene, the guidance, the limits, the sources.

    No script, no outside host; prints on A4 with the sample in the head of each page.

    Parameters
    ----------
    guidance
        Made from this profile.
    citations
        Titles and licences of the guidance's sources.
    day
        The day of the analysis, as the user states it; never the clock.
    situation
        The patient with whom the guidance was made; None without a record.
    """
    person = f"{situation.name} ({situation.patient_id})".strip() if situation is not None else ""
    taken = frozenset(current.drug for current in situation.current) if situation is not None else frozenset[DrugId]()
    evidence = {**profile.evidence, **guidance.evidence}
    style = stylesheet("profile.css") + _page_heads(profile, guidance, day, person)
    known = {**_gene_citations(), **{str(key): citation for key, citation in (citations or {}).items()}}
    return (
        _environment()
        .get_template("profile.html.j2")
        .render(
            day=day,
            person=person,
            taken=taken,
            doors=Doors(evidence),
            evidence=evidence,
            sources=_sources(evidence, known),
            style=Markup(style),
            policy=content_policy(style),
            **_genes(profile, guidance),
            **_drugs(guidance, taken),
        )
    )


def _genes(profile: GeneticProfile, guidance: GuidanceDocument) -> dict[str, object]:
    """What the page shows of the genes."""
    rows = gene_rows(profile, guidance)
    return {
        "p": profile,
        "genes": rows,
        "read": [row for row in rows if row.state != "not tested"],
        "untested": [row for row in rows if row.state == "not tested"],
        "assumed": [row for row in rows if row.call and row.call.evidence_state == "assumed reference"],
        "read_from": _files(profile.evidence),
    }


def _drugs(guidance: GuidanceDocument, taken: frozenset[DrugId]) -> dict[str, object]:
    """What the page shows of the drugs; each stands in one place."""
    rows = drug_rows(guidance)
    return {
        "g": guidance,
        "groups": _groups(rows, taken),
        "attention": [row for row in rows if row.place == "attention"],
        "open": [row for row in rows if row.place == "open"],
        "usual": [row for row in rows if row.place == "usual"],
        "unjudged": _unjudged(guidance),
        "silence": reasons_for_silence(guidance.no_guidance),
        "bodies": bodies(guidance),
    }


def _page_heads(profile: GeneticProfile, guidance: GuidanceDocument, day: date | None, person: str) -> str:
    """What stands above and below each printed page."""
    sample = profile.sample or "without a name"
    who = " · ".join(filter(None, (person, f"sample {sample}", str(day or ""))))
    made = f"posologist {profile.versions.posologist} · knowledge {guidance.versions.knowledge}"
    return (
        f'@page{{@top-left{{content:"Pharmacogenetic report"}}@top-right{{content:"{css_string(who)}"}}'
        f'@bottom-left{{content:"{css_string(made)}"}}}}\n'
    )


def _groups(drugs: Iterable[DrugRow], taken: frozenset[DrugId]) -> list[tuple[str, list[DrugRow]]]:
    """Drugs that need attention, by severity; in each group those that the patient takes come first."""
    rows = sorted((row for row in drugs if row.place == "attention"), key=lambda row: row.drug not in taken)
    found = [(severity, [row for row in rows if row.severity == severity]) for severity in _GROUPS]
    return [(severity, group) for severity, group in found if group]


def _unjudged(guidance: GuidanceDocument) -> dict[str, list[str]]:
    """Drugs of which a body could say nothing because genes have no result, by those genes."""
    found: dict[str, list[str]] = {}
    for entry in guidance.no_guidance:
        lacking = [gene for gene in entry.genes if not _has_result(gene, guidance)]
        names = found.setdefault(" and ".join(lacking), []) if lacking else []
        if entry.drug not in names:
            names.append(entry.drug)
    return found


def _has_result(symbol: GeneSymbol, guidance: GuidanceDocument) -> bool:
    gene = guidance.genes.get(symbol)
    return gene is not None and (gene.clinical is not None or gene.diplotype is not None)


def _files(evidence: Mapping[str, Evidence]) -> list[str]:
    """Files from which genes were read."""
    places = (e.source for e in evidence.values() if e.kind == "patient" and e.source not in ("", "genome"))
    return sorted({place.partition(" sample ")[0].partition(":")[0] for place in places})


def _gene_citations() -> dict[str, Citation]:
    held = (load_gene(symbol) for symbol in (*callable_genes(), *outside_genes()))
    return {str(citation.key): citation for gene in held for citation in gene.citations}


def _sources(
    evidence: Mapping[str, Evidence], citations: Mapping[str, Citation]
) -> dict[tuple[str, str, str], list[SourceRow]]:
    """Every source of cited knowledge, by licence, version and how far it was checked."""
    found: dict[str, list[Evidence]] = {}
    for entry in evidence.values():
        if entry.kind == "knowledge":
            found.setdefault(entry.source.partition(":")[0].strip(), []).append(entry)
    groups: dict[tuple[str, str, str], list[SourceRow]] = {}
    for key, entries in sorted(found.items()):
        citation = citations.get(key)
        version = ", ".join(sorted({e.version for e in entries if e.version})) or (citation.version if citation else "")
        status = ", ".join(sorted({str(e.status) for e in entries if e.status}))
        group = groups.setdefault((citation.licence if citation else "", version, status), [])
        group.append(SourceRow(key, citation, len(entries)))
    order = {
        group: sorted(rows, key=lambda r: r.citation.title if r.citation else r.key) for group, rows in groups.items()
    }
    return dict(sorted(order.items()))


def _below(evidence: Mapping[str, Evidence], keys: Iterable[str]) -> Iterator[tuple[str, Evidence]]:
    """What a call rests on in the file: positions read, not read, assumed."""
    waiting, seen = list(keys), set[str]()
    while waiting:
        key = waiting.pop(0)
        if key not in seen and key in evidence:
            seen.add(key)
            waiting.extend(evidence[key].because)
            if evidence[key].kind in ("patient", "assumption"):
                yield key, evidence[key]


def _advice(item: GuidanceItem, doors: Doors) -> Markup:
    """What an item asks for; its value is the link to its reason."""
    before, hole, after = profile_words.advice(item).partition("{}")
    if item.value is None or not hole:
        return Markup("<b>{}</b>").format(before)
    value = doors.number(profile_words.amount(item), item.value.because)
    return Markup("<b>{}{}{}</b>").format(before, value, after)


def _result(item: GuidanceItem, guidance: GuidanceDocument, doors: Doors) -> Markup:
    """The results that an item rests on, each the link to its reason."""
    links = [
        doors.number(profile_words.result(symbol, guidance), guidance.genes[symbol].because) for symbol in item.genes
    ]
    return Markup("; ").join(links)


def _others(row: DrugRow) -> list[str]:
    """What else is asked for, in other words than the first: "Avoid (DPWG)"."""
    first = profile_words.advice_words(row.leading[0])
    found: dict[str, list[str]] = {}
    for item in row.leading[1:]:
        if profile_words.advice_words(item) != first:
            found.setdefault(profile_words.advice_words(item), []).append(profile_words.strength(item))
    return [f"{told} ({'; '.join(dict.fromkeys(by))})" for told, by in found.items()]


def _by(row: DrugRow) -> list[str]:
    """Bodies that ask for what the first item asks for, each with its strength."""
    first = profile_words.advice_words(row.leading[0])
    same = (item for item in row.leading if profile_words.advice_words(item) == first)
    return list(dict.fromkeys(profile_words.strength(item) for item in same))


def _share(probability: float) -> str | Markup:
    """A probability or a frequency in percent; what is not certain is not rounded to certain, nor to nothing."""
    text = number(100 * probability)
    if text == "100" and probability < 1:
        return "almost 100\u00a0%"
    return (
        f"{text} %"
        if probability >= _SMALLEST
        else Markup('under <span class="k">{}</span>\u00a0%').format(number(100 * _SMALLEST))
    )


def _ties(row: GeneRow) -> int:
    """How many of the first candidates have the same probability; 1 where the first stands alone."""
    candidates = row.call.candidates if row.call else ()
    return sum(c.probability == candidates[0].probability for c in candidates)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = environment("profile.html.j2", "profile_parts.html.j2")
    made.filters |= {
        "number": number,
        "count": count,
        "share": _share,
        "anchor": anchor,
        "phenotype": words.phenotype,
        "sentence": words.sentence,
        "alleles": profile_words.alleles,
        "rest": profile_words.rest,
        "strength": profile_words.strength,
        "deciding": profile_words.deciding,
    }
    made.globals |= {
        "advice": _advice,
        "others": _others,
        "by": _by,
        "ties": _ties,
        "below": _below,
        "result": _result,
        "reason": profile_words.state_reason,
        "STATE": profile_words.STATE,
        "SEVERITY": profile_words.SEVERITY,
        "CANDIDATES": _CANDIDATES_SHOWN,
        "NAMES": _NAMES_SHOWN,
        "LIKELY": _LIKELY,
    }
    return made
