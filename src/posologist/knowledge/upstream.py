"""A newer release of allele definitions and phenotype tables -> gene files in a knowledge folder of the user's own.

Reads PharmCAT's folders (`GENE_translation.json` for definitions, `GENE.json` for phenotypes, wherever they lie below
the folder that is given) and says what differs from the facts that were held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posologist.core.errors import InputError
from posologist.knowledge.genes import Folders, Gene, callable_genes, load_gene, outside_genes
from posologist.knowledge.pharmcat import (
    Row,
    Spot,
    Tables,
    alleles_of,
    functions_of,
    positions_of,
    read_json,
    rules_of,
    write_toml,
)

_TITLE = "Allele definitions and phenotype tables in PharmCAT's layout"
_KEPT = ("undocumented", "fallback", "required", "worst_first", "copies_vary")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class GeneChange:
    """What a new release changes in one gene; `new` where the gene was not held."""

    gene: str
    before: str
    after: str
    new: bool
    added: tuple[str, ...]
    removed: tuple[str, ...]
    redefined: tuple[str, ...]
    functions: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """One line for people."""
        if self.new:
            return f"{self.gene}: new, {len(self.added)} alleles, version {self.after}"
        parts = [
            f"{word} {len(names)} ({_some(names)})"
            for word, names in (
                ("alleles added", self.added),
                ("removed", self.removed),
                ("redefined", self.redefined),
                ("functions changed", self.functions),
            )
            if names
        ]
        said = "; ".join([*(parts or ["no difference"]), *self.notes])
        return f"{self.gene}: {self.before} -> {self.after}: {said}"


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def import_release(path: Path, out: Path, *, retrieved: str, folders: Folders = None) -> tuple[GeneChange, ...]:
    """Writes `out/genes/GENE/definition.toml` and `phenotype.toml` for every gene of a release.

    Parameters
    ----------
    path
        Folder of the release.
    out
        Knowledge folder; it is made if it is not there.
    retrieved
        Date (YYYY-MM-DD) that is written into the files.
    folders
        The gene facts to compare with.

    Raises
    ------
    InputError
        If nothing of the layout is found below the folder, or a file cannot be read.
    KnowledgeError
        If the rules held do not give the phenotypes of the new tables.
    """
    definitions = {_stem(p, "_translation"): p for p in sorted(path.rglob("*_translation.json*"))}
    tables = {_stem(p, "").replace("MT_RNR1", "MT-RNR1"): p for p in sorted(path.rglob("*.json*")) if _is_table(p)}
    if not definitions and not tables:
        raise InputError(
            "no GENE_translation.json and no phenotype/GENE.json below it",
            where=str(path),
            hint="give the folder of a PharmCAT release",
        )
    exempt = next((read_json(p) for p in sorted(path.rglob("exemptions.json"))), {})
    known = {*callable_genes(folders), *outside_genes(folders)}
    changes = []
    for symbol in sorted(definitions.keys() | (tables.keys() & known)):
        held = load_gene(symbol, folders) if symbol in known else None
        place = out / "genes" / symbol
        notes = list[str]()
        chromosome = held.chromosome if held else ""
        if symbol in definitions:
            data = read_json(definitions[symbol])
            chromosome = str(data["chromosome"])
            _write_definition(place, symbol, data, exempt.get(symbol, {}), held, retrieved, notes)
        if symbol in tables:
            _write_phenotype(place, symbol, chromosome, read_json(tables[symbol]), held, retrieved)
        elif held is None:
            _write_phenotype(place, symbol, chromosome, {"haplotypes": {}, "diplotypes": []}, None, retrieved)
        layers = (*_as_tuple(folders), out / "genes")
        changes.append(_compared(symbol, held, load_gene(symbol, layers), tuple(notes)))
    return tuple(changes)


def _as_tuple(folders: Folders) -> tuple[Path, ...]:
    from posologist.knowledge.genes import GENES_FOLDER

    return (GENES_FOLDER,) if folders is None else (folders,) if isinstance(folders, Path) else folders


def _stem(path: Path, ending: str) -> str:
    return path.name.split(".json")[0].removesuffix(ending)


def _is_table(path: Path) -> bool:
    """A phenotype table: GENE.json in a folder `phenotype`, or in `cpic` within it."""
    return path.parent.name == "phenotype" or (path.parent.name == "cpic" and path.parent.parent.name == "phenotype")


class _Lift:
    """Places variants in GRCh37 as the gene that is held does, new ones by its offset."""

    def __init__(self, held: Gene | None) -> None:
        self.known = {p.grch38: p for p in (*held.positions, *held.extra_positions)} if held else {}
        offsets = [p.grch38 - p.grch37 for p in self.known.values()]
        self.offset = max(set(offsets), key=offsets.count) if offsets else None

    def __call__(self, variant: Row) -> Spot:
        position = self.known.get(variant["position"])
        if position is not None and position.ref == variant["ref"]:
            return Spot(position.grch37, position.ref37, position.grch37_from_offset)
        if self.offset is None:
            return Spot(0, variant["ref"], True)
        return Spot(variant["position"] - self.offset, variant["ref"], True)


def _write_definition(
    place: Path, symbol: str, data: Row, exempt: Row, held: Gene | None, retrieved: str, notes: list[str]
) -> None:
    lift = _Lift(held)
    if held is None or lift.offset is None:
        notes.append("its places in GRCh37 are not known: called from GRCh38 files only")
    left_out = {(v["position"], v["ref"]) for v in exempt.get("ignoredPositions", [])}
    ignored = frozenset(n for n, v in enumerate(data["variants"]) if (v["position"], v["ref"]) in left_out)
    rows = positions_of(data, lift, ignored=ignored)
    named = alleles_of(data, rows, without=frozenset(exempt.get("ignoredAlleles", [])))
    top: Row = {"reference": next(a["name"] for a in data["namedAlleles"] if a["reference"])}
    tables: Tables = [("positions", rows), ("alleles", named)]
    if held is not None:
        kept = held.model_dump(mode="json", include={*_KEPT, "proxies", "preferences", "extra_positions"})
        top |= {key: kept[key] for key in _KEPT if kept[key]}
        tables += [(key, kept[key]) for key in ("proxies", "preferences", "extra_positions")]
    tables.append(("citations", [_citation(data, retrieved)]))
    about = _about(f"{symbol}: positions and alleles", data, retrieved)
    write_toml(place / "definition.toml", f"{symbol}: which bases make which allele.", top, about, tables)


def _write_phenotype(place: Path, symbol: str, chromosome: str, data: Row, held: Gene | None, retrieved: str) -> None:
    functions = functions_of(data)
    scores = [rule.model_dump(exclude_none=True) for rule in held.score_rules] if held else []
    listed, tables = rules_of(symbol, data, functions, scores)
    top: Row = {"chromosome": chromosome, "phenotypes": listed}
    if held is not None and not held.positions:
        top["reference"] = held.reference
    cited = [c.model_dump(mode="json", exclude_none=True) for c in held.citations] if held else []
    tables.append(("citations", [_citation(data, retrieved), *cited]))
    about = _about(f"{symbol}: functions and phenotypes", data, retrieved)
    comment = f"{symbol}: what alleles do, and what two of them make."
    write_toml(place / "phenotype.toml", comment, top, about, tables)


def _citation(data: Row, retrieved: str) -> Row:
    return {
        "key": "imported-release",
        "title": _TITLE,
        "where": "https://github.com/PharmGKB/PharmCAT",
        "kind": "database",
        "version": _version(data),
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": retrieved,
    }


def _version(data: Row) -> str:
    return str(data.get("version") or "not stated")


def _about(title: str, data: Row, retrieved: str) -> Mapping[str, str]:
    return {
        "title": title,
        "source": "imported-release",
        "version": _version(data),
        "licence": "CC0-1.0 (CPIC)",
        "retrieved": retrieved,
        "note": "Read by `posologist knowledge import pharmcat`.",
    }


def _compared(symbol: str, held: Gene | None, now: Gene, notes: tuple[str, ...]) -> GeneChange:
    before = _defined(held) if held else {}
    after = _defined(now)
    functions = held.functions if held else {}
    return GeneChange(
        gene=symbol,
        before=held.version if held else "",
        after=now.version,
        new=held is None,
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        redefined=tuple(name for name, what in after.items() if name in before and before[name] != what),
        functions=tuple(
            f"{name}: {functions[name].function} -> {function.function}"
            for name, function in now.functions.items()
            if name in functions and functions[name] != function
        ),
        notes=notes,
    )


def _defined(gene: Gene) -> dict[str, Any]:
    return {allele.name: allele.defines for allele in gene.alleles} or dict.fromkeys(gene.functions)
