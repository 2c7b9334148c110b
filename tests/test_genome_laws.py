"""What must hold for every gene, however its genotypes are written."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genome_files import diplotype_rows, row, write_vcf
from posologist.core.errors import InputError
from posologist.core.genotype import GeneCall, GeneticProfile
from posologist.genome.document import call_genome
from posologist.knowledge.genes import GENES_FOLDER, Gene, callable_genes, load_gene

_QUIET = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_MUTATED = int(os.environ.get("POSOLOGIST_MUTATED_FILES", "5000"))
_SECONDS = 10

Call = Callable[[list[list[str]], str], GeneCall]


@pytest.fixture
def caller(tmp_path: Path) -> Callable[[Gene], Call]:
    """Calls one gene from rows, with that gene's facts only, so that each call is quick."""

    def of(gene: Gene) -> Call:
        folder = tmp_path / "genes"
        folder.mkdir(exist_ok=True)
        place = folder / gene.symbol
        if not place.exists():
            place.symlink_to(GENES_FOLDER / gene.symbol)
        only = tmp_path / f"only-{gene.symbol}"
        if not only.exists():
            only.mkdir()
            (only / gene.symbol).symlink_to(GENES_FOLDER / gene.symbol)

        def call(rows: list[list[str]], build: str) -> GeneCall:
            path = write_vcf(tmp_path / "v.vcf", rows, header=f"##reference={build}")
            return call_genome(path, genes_folder=only).genes[gene.symbol]

        return call

    return of


def _names(call: GeneCall) -> set[frozenset[str]]:
    return {frozenset(c.diplotype.split("/", 1)) for c in call.candidates}


def _wanted(gene: Gene, first: str, second: str) -> frozenset[str]:
    reported = {allele.name: allele.reported for allele in gene.alleles}
    return frozenset((reported[first], reported[second]))


@pytest.mark.parametrize("symbol", callable_genes())
@_QUIET
@given(data=st.data())
def test_a_diplotype_is_among_the_candidates_of_its_own_file_in_both_builds(
    caller: Callable[[Gene], Call], symbol: str, data: st.DataObject
) -> None:
    gene, names = load_gene(symbol), st.sampled_from([a.name for a in load_gene(symbol).alleles])
    first, second = data.draw(names), data.draw(names)
    phased = data.draw(st.booleans())
    call = caller(gene)
    new = call(diplotype_rows(gene, first, second, phased=phased), "GRCh38")
    old = call(diplotype_rows(gene, first, second, phased=phased, build="GRCh37"), "GRCh37")

    assert {frozenset(c.diplotype.split("/")) for c in new.candidates} >= {_wanted(gene, first, second)}
    assert old.candidates == new.candidates
    assert old.phenotype == new.phenotype


@pytest.mark.parametrize("symbol", callable_genes())
@_QUIET
@given(data=st.data())
def test_removing_the_phase_only_widens_and_swapping_strands_changes_nothing(
    caller: Callable[[Gene], Call], symbol: str, data: st.DataObject
) -> None:
    gene, names = load_gene(symbol), st.sampled_from([a.name for a in load_gene(symbol).alleles])
    first, second = data.draw(names), data.draw(names)
    call = caller(gene)
    phased = call(diplotype_rows(gene, first, second), "GRCh38")
    swapped = call(diplotype_rows(gene, second, first), "GRCh38")
    unphased = call(diplotype_rows(gene, first, second, phased=False), "GRCh38")

    assert phased.candidates
    assert phased.candidates == swapped.candidates
    assert {c.diplotype for c in phased.candidates} <= {c.diplotype for c in unphased.candidates}


@pytest.mark.parametrize("symbol", callable_genes())
@_QUIET
@given(data=st.data())
def test_shuffled_split_and_padded_records_change_nothing(
    caller: Callable[[Gene], Call], symbol: str, data: st.DataObject
) -> None:
    gene, names = load_gene(symbol), st.sampled_from([a.name for a in load_gene(symbol).alleles])
    rows = diplotype_rows(gene, data.draw(names), data.draw(names), phased=data.draw(st.booleans()))
    call = caller(gene)
    expected = call(rows, "GRCh38")
    changed = [_padded(split) if data.draw(st.booleans()) else split for r in rows for split in _split(r)]
    random.Random(data.draw(st.integers(0, 99))).shuffle(changed)
    found = call(changed, "GRCh38")

    assert found.candidates == expected.candidates
    assert found.phenotype == expected.phenotype


def _split(line: list[str]) -> list[list[str]]:
    alts, sign = line[4].split(","), "|" if "|" in line[-1] else "/"
    calls = line[-1].replace("|", "/").split("/")
    return [
        [*line[:4], alt, *line[5:-1], sign.join("1" if call == str(n) else "0" for call in calls)]
        for n, alt in enumerate(alts, start=1)
    ]


def _padded(line: list[str]) -> list[str]:
    """An insertion or deletion written with a base more on the left, which says the same."""
    if len(line[3]) == len(line[4]):
        return line
    return [line[0], str(int(line[1]) - 1), line[2], f"N{line[3]}", f"N{line[4]}", *line[5:]]


@pytest.mark.parametrize("symbol", callable_genes())
def test_adding_a_reference_record_never_breaks_the_phase(caller: Callable[[Gene], Call], symbol: str) -> None:
    gene = load_gene(symbol)
    names = [allele.name for allele in gene.alleles]
    rows = diplotype_rows(gene, names[-1], names[0])
    plain = [[*r[:-1], "0/0"] if r[-1] == "0|0" else r for r in rows]
    call = caller(gene)

    assert call(plain, "GRCh38").candidates == call(rows, "GRCh38").candidates
    assert call(plain, "GRCh38").phased


_JUNK = ("", ".", "./.", "1/1", "0|1", "1", "0/9", "-1", "1/2/3", "A", "ACGT", "<DEL>", "<NON_REF>", "*", "N", "chrX")
_JUNK += ("0", "9" * 20, "GT", "DP:GT", "PASS", "q10", "END=1", "END=99999999999", "é", " ", "1e9", "nan", "|", "/")


def _mutate(rows: list[list[str]], chooser: random.Random) -> list[list[str]]:
    rows = [list(r) for r in rows]
    for _ in range(chooser.randint(1, 6)):
        at = chooser.randrange(len(rows))
        kind = chooser.randrange(6)
        if kind == 0:
            rows[at][chooser.randrange(len(rows[at]))] = chooser.choice(_JUNK)
        elif kind == 1:
            del rows[at]
        elif kind == 2:
            rows.insert(chooser.randrange(len(rows)), list(rows[at]))
        elif kind == 3:
            rows[at] = rows[at][: chooser.randrange(1, len(rows[at]) + 1)]
        elif kind == 4 and len(rows[at]) > 1:
            rows[at][1] = str(max(0, int(rows[at][1]) + chooser.randint(-3, 3)) if rows[at][1].isdigit() else 7)
        else:
            chooser.shuffle(rows)
        if len(rows) < 2:
            break
    return rows


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"a file took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _assert_sound(profile: GeneticProfile) -> None:
    for call in profile.genes.values():
        total = sum(candidate.probability for candidate in call.candidates)
        assert not call.candidates or abs(total - 1) < 1e-3
        assert call.called or (call.diplotype is None and call.phenotype is None)
        assert not call.called or call.candidates
        assert set(call.because) <= set(profile.evidence)


def test_mutated_files_are_called_or_refused_and_never_crash_or_hang(tmp_path: Path) -> None:
    folder = tmp_path / "genes"
    folder.mkdir()
    some = ("CYP2C19", "UGT1A1", "NUDT15", "G6PD", "TPMT", "NAT2") if _MUTATED <= 5000 else callable_genes()
    for symbol in some:
        (folder / symbol).symlink_to(GENES_FOLDER / symbol)
    chooser = random.Random(20261120)
    called = refused = 0
    for number in range(_MUTATED):
        rows = [r for s in some for r in _some_rows(load_gene(s), chooser)]
        absent = "reference" if number % 3 == 0 else "missing"
        path = write_vcf(tmp_path / "v.vcf", _mutate(rows, chooser))
        with _within(_SECONDS):
            try:
                profile = call_genome(path, genes_folder=folder, absent=absent)
            except InputError:
                refused += 1
                continue
        _assert_sound(profile)
        called += 1
    print(called, "called,", refused, "refused")

    assert called > _MUTATED // 4
    assert refused > _MUTATED // 50


def _some_rows(gene: Gene, chooser: random.Random) -> list[list[str]]:
    names = [allele.name for allele in gene.alleles]
    rows = diplotype_rows(gene, chooser.choice(names), chooser.choice(names), phased=chooser.random() < 0.5)
    return chooser.sample(rows, min(len(rows), 12))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no records"),
        ([row("chr10", 94781859, "G", "A", ".", id="rs4244285")], "CYP2C19"),
    ],
)
def test_a_file_that_says_nothing_calls_nothing(tmp_path: Path, rows: list[list[str]], says: str) -> None:
    profile = call_genome(write_vcf(tmp_path / "v.vcf", rows))

    assert not any(call.called for call in profile.genes.values())
    assert any(says in text for text in (*profile.findings, *profile.genes["CYP2C19"].findings))  # type: ignore[index]


def test_another_species_is_refused(tmp_path: Path) -> None:
    path = write_vcf(
        tmp_path / "v.vcf", [row("chr1", 5, "A", "C", "0/1")], header="##contig=<ID=chr1,length=195154279>"
    )

    with pytest.raises(InputError, match="not those of human"):
        call_genome(path)
