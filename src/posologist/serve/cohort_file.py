"""The genes of all samples of a VCF as one Parquet file, one row a sample and gene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posologist.core.errors import InputError
from posologist.core.evidence import Ledger
from posologist.core.settings import Settings
from posologist.core.version import VERSION
from posologist.genome.build import Build, build_from_header, stated_build
from posologist.genome.cohort import Cohort, GeneResult
from posologist.genome.document import read_sample
from posologist.genome.genecall import ledger_entry
from posologist.genome.genotypes import Absent
from posologist.genome.vcf import Header, open_lines, read_header
from posologist.knowledge.genes import Folders, Gene, callable_genes, load_gene

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS = """
    SELECT s.sample, o.gene, o.called, o.diplotype, o.probability, o.phenotype, o.activity_score, ? AS run
    FROM cells c JOIN samples s ON c.sample = s.number JOIN outcomes o ON c.outcome = o.number
    ORDER BY c.gene, c.sample
"""


def write_cohort(
    path: Path,
    out: Path,
    *,
    absent: Absent = "missing",
    build: str = "auto",
    genes_folder: Folders = None,
    settings: Settings | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> int:
    """Calls every gene of every sample and writes the Parquet file; returns the number of rows.

    Columns: sample, gene, called, diplotype, probability (of that diplotype), phenotype, activity_score, run. The
    file's metadata hold `run`, `evidence`, `versions` and `settings` as JSON.

    Raises
    ------
    InputError
        If the VCF is wrong, its build is not clear, or the file cannot be written.
    """
    import duckdb

    header = read_header(path)
    genes = tuple(load_gene(symbol, genes_folder) for symbol in callable_genes(genes_folder))
    decided = _build(path, header, build, genes)
    if not out.parent.is_dir():
        raise InputError("the folder does not exist", where=str(out.parent), hint="make it, or write elsewhere")
    used = settings or Settings()
    with duckdb.connect(config={"memory_limit": "400MB", "threads": 1}) as base, open_lines(path) as lines:
        _prepare(base, header)
        cohort = Cohort(lines, genes, build=decided, absent=absent, settings=used)
        for number, result in enumerate(cohort.results()):
            _store(base, number, result)
            progress(_line(result, len(header.samples)))
        about = _about(path, genes, decided, absent, used)
        return _write(base, out, about)


def _build(path: Path, header: Header, build: str, genes: tuple[Gene, ...]) -> Build:
    stated = stated_build(build)
    return stated or build_from_header(path, header) or read_sample(path, genes, header.samples[0], (), "auto")[1]


def _prepare(base: DuckDBPyConnection, header: Header) -> None:
    import numpy as np

    base.execute("CREATE TABLE samples (number INTEGER, sample VARCHAR)")
    base.execute("CREATE TABLE cells (gene TINYINT, sample INTEGER, outcome INTEGER)")
    base.execute(
        "CREATE TABLE outcomes (number INTEGER, gene VARCHAR, called BOOLEAN, diplotype VARCHAR, "
        "probability DOUBLE, phenotype VARCHAR, activity_score DOUBLE)"
    )
    names = {"number": np.arange(len(header.samples), dtype=np.int32), "sample": np.array(header.samples, dtype=object)}
    base.register("given", names)
    base.execute("INSERT INTO samples SELECT number, sample FROM given")
    base.unregister("given")


def _store(base: DuckDBPyConnection, number: int, result: GeneResult) -> None:
    import numpy as np

    known = base.execute("SELECT count(*) FROM outcomes").fetchone()
    offset = int(known[0]) if known else 0
    rows = [(offset + n, *_row(result.gene, n, result)) for n in range(len(result.outcomes))]
    base.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    samples = len(result.of_sample)
    cells = {"sample": np.arange(samples, dtype=np.int32), "outcome": result.of_sample + np.int32(offset)}
    base.register("given", cells)
    base.execute("INSERT INTO cells SELECT ?, sample, outcome FROM given", [number])
    base.unregister("given")


def _row(gene: Gene, n: int, result: GeneResult) -> tuple[Any, ...]:
    outcome = result.outcomes[n]
    if not outcome.called:
        return (str(gene.symbol), False, None, None, None, None)
    best = outcome.match.pairs[0]
    return (str(gene.symbol), True, best.diplotype, best.probability, outcome.phenotype, outcome.activity_score)


def _line(result: GeneResult, samples: int) -> str:
    text = f"{result.gene.symbol}: {samples} samples, {result.classes} distinct, {len(result.outcomes)} outcomes"
    notes = len(result.findings)
    return f"{text}, {notes} notes, e.g. {result.findings[0]}" if notes else text


def _about(path: Path, genes: tuple[Gene, ...], build: Build, absent: Absent, settings: Settings) -> dict[str, str]:
    """What produced the file; `run` is the key of the evidence that all rows rest on."""
    ledger = Ledger()
    keys = [ledger.add("patient", f"genotypes of {path.name}, {build}", source=path.name)]
    keys.append(ledger.add("setting", f"absent positions are {absent}", source=f"--absent {absent}"))
    keys.append(ledger.add("setting", f"called by posologist {VERSION}", source="posologist", version=VERSION))
    for gene in genes:
        headers = (gene.definition, gene.phenotype, gene.frequencies)
        keys += [ledger_entry(ledger, h.title, h) for h in headers if h is not None]
    run = ledger.add("derived", f"genes of all samples of {path.name}", because=keys)
    versions = {"posologist": VERSION, "definitions": {str(gene.symbol): gene.version for gene in genes}}
    evidence = {key: entry.model_dump(mode="json") for key, entry in ledger.entries().items()}
    return {
        "run": run,
        "evidence": json.dumps(evidence),
        "versions": json.dumps(versions),
        "settings": settings.model_dump_json(),
    }


def _write(base: DuckDBPyConnection, out: Path, about: dict[str, str]) -> int:
    import duckdb

    pairs = ", ".join(f"{key}: {_quoted(value)}" for key, value in about.items())
    rows = _ROWS.replace("?", _quoted(about["run"]))
    try:
        base.execute(
            f"COPY ({rows}) TO {_quoted(str(out))} (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{pairs}}})"
        )
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        raise InputError(f"cannot be written: {text}", where=str(out), hint="check the path and the space") from error
    found = base.execute("SELECT count(*) FROM cells").fetchone()
    return int(found[0]) if found else 0


def _quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
