"""Calls made elsewhere: a laboratory's table, or a profile that was written before.

The table is tab-separated: gene, diplotype, phenotype, activity score (PharmCAT's outside-call format); lines that
start with "#" are comments. Of what is given, the activity score counts more than the phenotype, and that more
than the diplotype. A gene may have several lines, since callers differ: what all of them say is stated, and where
they differ every one of them stays as an option and no phenotype is stated. How diplotypes may be spelled stands in
`tandem` (CYP2D6), `allele_names` (the other genes) and `hla`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from posologist.core.errors import InputError
from posologist.core.genotype import GeneticProfile
from posologist.core.values import Many, Value
from posologist.genome.allele_names import read_names
from posologist.genome.hla import read_hla
from posologist.genome.notation import Option, Spelled, said_no_call, shared
from posologist.genome.stated import stated_phenotypes, stated_scores
from posologist.genome.tandem import counts_copies, read_copies
from posologist.genome.translate import INDETERMINATE, Translation
from posologist.knowledge.genes import Gene

__all__ = ["Option", "OutsideCall", "Reading", "normalise", "read_outside_calls", "read_profile", "understand"]


class OutsideCall(Value):
    """One line of the table. Empty fields are None; `more` holds further lines on the same gene."""

    gene: str
    diplotype: str | None
    phenotype: str | None
    activity_score: str | None
    where: str
    more: Many[OutsideCall] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """An outside call as understood: normalised diplotype, phenotype, score, and what was noticed.

    `options` holds every reading that the call allows, best first, with shares that sum to one; it is empty where
    the call was not understood or says that nothing was called, and the findings then say so.
    """

    diplotype: str | None
    translation: Translation
    findings: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()


def read_outside_calls(path: Path) -> tuple[OutsideCall, ...]:
    """The calls of an outside-call table, one for each gene, in file order.

    Raises
    ------
    InputError
        If the file cannot be read, or a line has no call.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"outside calls cannot be read: {error}", where=str(path), hint="give a text file") from error
    calls: dict[str, list[OutsideCall]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() or None for field in line.split("\t")] + [None] * 3
        gene = fields[0] and fields[0].strip("\"'").upper()
        where = f"{path.name}:{number}"
        if not gene or (gene == "GENE" and not calls):
            continue
        if not any(fields[1:4]):
            raise InputError(
                f"no call for {gene}", where=where, hint="give a diplotype, a phenotype or an activity score"
            )
        call = OutsideCall(gene=gene, diplotype=fields[1], phenotype=fields[2], activity_score=fields[3], where=where)
        calls.setdefault(gene, []).append(call)
    return tuple(several[0].model_copy(update={"more": tuple(several[1:])}) for several in calls.values())


def understand(call: OutsideCall, gene: Gene | None) -> Reading:
    """The call in the gene's own terms; for a gene without facts, as it was given.

    Raises
    ------
    InputError
        If the activity score is not a number, or the phenotype is not one of the gene's.
    """
    if call.gene.startswith("HLA-"):
        lines = (call, *call.more)
        name, findings = read_hla(call.gene, [text for c in lines for text in (c.diplotype, c.phenotype) if text])
        named = Option(diplotype=name, phenotype=None) if name else None
        return Reading(name, Translation(phenotype=None), findings, (named,) if named else ())
    readings = [_understood(line, gene) for line in (call, *call.more)]
    return readings[0] if len(readings) == 1 else _joined(call, readings)


def normalise(text: str, gene: Gene) -> str | None:
    """The diplotype in the gene's own names and in one order; readings that the text leaves open joined by "or".

    None where the text is not understood.
    """
    return " or ".join(_spelled(text, gene).names) or None


def _spelled(text: str, gene: Gene) -> Spelled:
    return read_copies(text, gene) if counts_copies(gene) else read_names(text, gene)


def _joined(call: OutsideCall, readings: Sequence[Reading]) -> Reading:
    """Several lines on one gene: what all that were understood say, every difference kept."""
    findings = tuple(dict.fromkeys(chain.from_iterable(reading.findings for reading in readings)))
    heard = [reading for reading in readings if reading.options]
    kept: dict[tuple[str, str | None, float | None, bool], float] = {}
    for reading in heard:
        for option in reading.options:
            key = (option.diplotype, option.phenotype, option.activity_score, option.at_least)
            kept[key] = kept.get(key, 0.0) + option.probability / len(heard)
    options = tuple(
        Option(diplotype=name, phenotype=phenotype, activity_score=score, at_least=more, probability=share)
        for (name, phenotype, score, more), share in sorted(kept.items(), key=lambda item: -item[1])
    )
    if not options:
        return Reading(None, Translation(phenotype=None), findings)
    stated = {reading.translation for reading in heard}
    names = dict.fromkeys(reading.diplotype for reading in heard if reading.diplotype)
    result = stated.pop() if len(stated) == 1 else shared(options)
    if len(names) > 1 or result.phenotype is None:
        lines = ", ".join(line.where for line in (call, *call.more))
        same = f"all give {result.phenotype}" if result.phenotype else "no phenotype is stated"
        findings = (*findings, f"{len(readings)} calls ({lines}): {' and '.join(names) or 'no diplotype'}; {same}")
    return Reading(next(iter(names), None), result, findings, options)


def _understood(call: OutsideCall, gene: Gene | None) -> Reading:
    """One line. The stated score counts more than the stated phenotype, and that more than the diplotype."""
    diplotype, phenotype, score = (
        None if text is None or said_no_call(text) else text
        for text in (call.diplotype, call.phenotype, call.activity_score)
    )
    if gene is not None and call.phenotype in gene.phenotypes:
        phenotype = call.phenotype
    if diplotype is None and phenotype is None and score is None:
        return Reading(None, Translation(phenotype=None), (f"{call.where}: its caller made no call",))
    if gene is None or not gene.allele_names:
        name = diplotype or "not stated"
        option = Option(diplotype=name, phenotype=phenotype)
        return Reading(diplotype, Translation(phenotype=phenotype), (), (option,))
    read = _spelled(diplotype, gene) if diplotype else Spelled((), ())
    findings = list(read.findings)
    stated = _stated(call, gene, phenotype, score, findings)
    if stated is None:
        return Reading(read.name, read.translation, tuple(findings), read.options)
    return _with_stated(read, stated, findings)


def _stated(
    call: OutsideCall, gene: Gene, phenotype: str | None, score: str | None, findings: list[str]
) -> tuple[Translation, ...] | None:
    """What the laboratory states by score or by phenotype; several where it states a range."""
    by_phenotype = stated_phenotypes(phenotype, gene, call.where) if phenotype else ()
    if score and gene.scored:
        by_score = stated_scores(score, gene, call.where)
        if by_phenotype and not {s.phenotype for s in by_score} <= {*by_phenotype, None}:
            findings.append(f"stated phenotype {phenotype} and stated activity score {score} disagree; score used")
        return by_score
    if score and not by_phenotype:
        findings.append(f"{gene.symbol} has no activity score; the stated one is not used")
    return tuple(Translation(phenotype=each) for each in by_phenotype) or None


def _with_stated(read: Spelled, stated: tuple[Translation, ...], findings: list[str]) -> Reading:
    """The stated result beside the diplotype, which only says more where it agrees."""
    name = read.name or "not stated"
    translated = read.translation
    if len(stated) == 1:
        result = stated[0]
        if translated.phenotype not in (None, INDETERMINATE, result.phenotype):
            findings.append(
                f"{read.name} gives {translated.phenotype}, the laboratory states {result.phenotype}; that is used"
            )
        if result.activity_score is None and translated.phenotype == result.phenotype:
            result = translated
        stated = (result,)
    share = 1.0 / len(stated)
    options = tuple(
        Option(
            diplotype=name,
            phenotype=each.phenotype,
            activity_score=each.activity_score,
            at_least=each.at_least,
            probability=share,
        )
        for each in stated
    )
    if len({option.phenotype for option in options}) > 1:
        listed = ", ".join(str(option.phenotype) for option in options)
        findings.append(f"the laboratory states several phenotypes: {listed}; none is used alone")
    return Reading(read.name, shared(options), tuple(findings), options)


def read_profile(path: Path) -> GeneticProfile:
    """A profile as `posologist phenotype --json` writes it.

    Raises
    ------
    InputError
        If the file cannot be read or is not such a document.
    """
    try:
        return GeneticProfile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"not a phenotype document: {'.'.join(map(str, first['loc']))} {first['msg']}",
            where=str(path),
            hint="make one with 'posologist phenotype VCF --json'",
        ) from error
