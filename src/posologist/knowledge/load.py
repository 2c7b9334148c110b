"""Reads the knowledge base: the facts that come with the package, and folders of the user's own.

A folder has the layout of `knowledge/data`: `drugs/<id>.toml`, `screening/*.toml`, `interactions/*.toml`,
`guidance/*.toml`, `indications/*.toml`, `scores/*.toml`, `dosing/*.toml`, and beside them `citations.toml`,
`sources.toml`, `classes.toml`, `allergies.toml`, `conditions.toml`, `laboratory.toml`. Later folders add, or replace
what has the same id. TOML has no null: a nullable field that is left out is None, and None says "not stated".
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import rtoml
from pydantic import ValidationError

from posologist.core.dosing import GenotypeDose
from posologist.core.drug import Drug
from posologist.core.errors import InputError, KnowledgeError
from posologist.core.evidence import Citation
from posologist.core.indication import Indication, Score
from posologist.core.statement import Statement, StatementKind
from posologist.core.values import CitationKey, DrugId, Many, Status, Value
from posologist.knowledge.codes import Codes, load_codes
from posologist.knowledge.statements import drug_statements

if TYPE_CHECKING:
    from posologist.knowledge.models import PkModel

T = TypeVar("T")
V = TypeVar("V", bound=Value)
Row = dict[str, Any]
Document = tuple[Path, Row]

_PLACES = frozenset(
    {"drugs", "screening", "interactions", "guidance", "indications", "scores", "dosing"}
    | {
        f"{name}.toml"
        for name in ("citations", "sources", "classes", "allergies", "combinations", "conditions", "laboratory")
    }
)
_ONE_PER_FILE = ("", "scores")  # drugs, indications; a score may stand alone or in [[scores]]
_NULLABLE = {"contraindications": "when", "renal": "action", "hepatic": "action", "age": "action"}


class Source(Value):
    """A collection that facts were taken from, with its version and licence."""

    key: str
    name: str
    version: str = ""
    licence: str = ""
    retrieved: str = ""
    text: str = ""


class DrugClass(Value):
    """A group under which statements reach drugs; `within` names the wider group that it belongs to."""

    name: str
    synonyms: Many[str] = ()
    text: str = ""
    within: str = ""


class Combination(Value):
    """A brand of one product with several ingredients: "Lotrel" is amlodipine with benazepril."""

    brand: str
    drugs: Many[DrugId]
    source: CitationKey
    status: Status


class CrossReaction(Value):
    """Drugs of another allergy group (or one drug) that a person allergic to this group may not bear."""

    group: str
    text: str


class AllergyGroup(Value):
    """Drugs that share an allergy. `shared`: an allergy to one member forbids the others; else it warns."""

    name: str
    synonyms: Many[str] = ()
    members: Many[DrugId]
    shared: bool = False
    cross: Many[CrossReaction] = ()
    text: str = ""
    source: CitationKey
    status: Status


@dataclass(frozen=True)
class Knowledge:
    """All facts, frozen, with the indexes that the pipeline asks for."""

    drugs: Mapping[DrugId, Drug]
    statements: tuple[Statement, ...]
    indications: Mapping[str, Indication]
    scores: Mapping[str, Score]
    citations: Mapping[CitationKey, Citation]
    sources: Mapping[str, Source]
    classes: Mapping[str, DrugClass]
    allergies: Mapping[str, AllergyGroup]
    combinations: Mapping[str, Combination]
    codes: Codes
    version: str
    folder: Path
    gene_folders: tuple[Path, ...]
    model_folders: tuple[Path, ...] = ()
    learned_folders: tuple[Path, ...] = ()  # saved models, read by `recommend.learned`
    files: Mapping[str, str] = field(default_factory=dict)
    repeated_citations: tuple[str, ...] = ()
    dosing: Mapping[str, GenotypeDose] = field(default_factory=dict)
    _pairs: dict[tuple[DrugId, DrugId], tuple[tuple[Statement, bool], ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _remembered: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    def models(self, drug: str) -> tuple[PkModel, ...]:
        """The complete population models of one drug, by id."""
        from posologist.knowledge.models import models_of  # needs numpy

        return tuple(model for model in models_of(drug, self.model_folders) if model.complete)

    @cached_property
    def names(self) -> Mapping[str, DrugId]:
        """Lower-case name, synonym, brand or misspelling -> drug. A drug's own name wins over a synonym."""
        found: dict[str, DrugId] = {}
        for kind in (_own_names, _synonyms, _brands, _misspellings):
            for drug in self.drugs.values():
                for name in kind(drug):
                    found.setdefault(name.lower(), drug.id)
        return found

    @cached_property
    def _groups(self) -> Mapping[DrugId, frozenset[str]]:
        return {key: self._with_wider(drug.groups) for key, drug in self.drugs.items()}

    def _with_wider(self, groups: frozenset[str]) -> frozenset[str]:
        found, waiting = set(groups), list(groups)
        while waiting:
            wider = self.classes.get(waiting.pop())
            if wider is not None and wider.within and wider.within not in found:
                found.add(wider.within)
                waiting.append(wider.within)
        return frozenset(found)

    @cached_property
    def members(self) -> Mapping[str, frozenset[DrugId]]:
        """Group -> the drugs that it reaches."""
        found: dict[str, set[DrugId]] = {}
        for drug, groups in self._groups.items():
            for group in groups:
                found.setdefault(group, set()).add(drug)
        return {group: frozenset(drugs) for group, drugs in sorted(found.items())}

    @cached_property
    def groups(self) -> frozenset[str]:
        """Every group that a statement may name: defined classes, drug ids, components and enzyme roles."""
        return frozenset({*self.members, *self.classes, *(str(drug) for drug in self.drugs)})

    def groups_of(self, drug: DrugId) -> frozenset[str]:
        """Groups of one drug, with the wider groups that hold them; its own id for a drug that is not known."""
        return self._groups.get(drug) or frozenset({str(drug)})

    def drug(self, text: str) -> Drug:
        """The drug of a name, synonym, brand or id.

        Raises
        ------
        InputError
            If no drug has that name; the hint tells the nearest names.
        """
        cleaned = text.strip().lower()
        key = DrugId(cleaned) if cleaned in self.drugs else self.names.get(cleaned)
        if key is None:
            raise InputError(f"no drug '{text}' in the knowledge base", hint=_nearest(cleaned, self.names))
        return self.drugs[key]

    def indication(self, text: str) -> Indication:
        """The indication of an id, name or alias.

        Raises
        ------
        InputError
            If none has that name; the hint lists what there is.
        """
        cleaned = text.strip().lower()
        for indication in self.indications.values():
            if cleaned in (indication.id, indication.name.lower(), *(alias.lower() for alias in indication.aliases)):
                return indication
        listed = ", ".join(sorted(self.indications)) or "none is installed"
        raise InputError(f"no indication '{text}' in the knowledge base", hint=f"choose one of: {listed}")

    @cached_property
    def _by_pair(self) -> Mapping[tuple[str, str], tuple[Statement, ...]]:
        found: dict[tuple[str, str], list[Statement]] = {}
        for statement in self.statements:
            for one in statement.about:
                for two in statement.other:
                    found.setdefault((one, two), []).append(statement)
        return {pair: tuple(several) for pair, several in found.items()}

    def interactions_between(self, one: DrugId, two: DrugId) -> tuple[tuple[Statement, bool], ...]:
        """Statements about two drugs taken together; True when `two` is on the `about` side."""
        if (one, two) not in self._pairs:
            self._pairs[one, two] = tuple(self._search_pair(one, two))
        return self._pairs[one, two]

    def _search_pair(self, one: DrugId, two: DrugId) -> Iterator[tuple[Statement, bool]]:
        seen: set[str] = set()
        first, second = sorted(self.groups_of(one)), sorted(self.groups_of(two))
        for swapped in (False, True):
            for a in second if swapped else first:
                for b in first if swapped else second:
                    for statement in self._by_pair.get((a, b), ()):
                        if statement.id not in seen:
                            seen.add(statement.id)
                            yield statement, swapped

    def remember(self, name: object, make: Callable[[], T]) -> T:
        """Result of `make`, computed once for this knowledge; for what depends on facts alone, never on a patient."""
        if name not in self._remembered:
            self._remembered[name] = make()
        return cast(T, self._remembered[name])

    def dosing_of(self, drug: DrugId) -> GenotypeDose | None:
        """How the dose of a drug is computed from genes, if a table is on file."""
        return next((table for table in self.dosing.values() if drug in table.drugs), None)

    def own_statements(self, drug: DrugId) -> tuple[Statement, ...]:
        """A drug's contraindications and limits by kidney, liver, age, pregnancy and lactation, as statements."""
        return self.remember(("own statements", drug), lambda: drug_statements(self.drugs[drug]))

    @cached_property
    def _by_kind(self) -> Mapping[tuple[str, str], tuple[Statement, ...]]:
        found: dict[tuple[str, str], list[Statement]] = {}
        for statement in self.statements:
            for group in statement.about:
                found.setdefault((statement.kind, group), []).append(statement)
        return {key: tuple(several) for key, several in found.items()}

    def statements_about(self, drug: DrugId, kind: StatementKind) -> tuple[Statement, ...]:
        """Statements of one kind that act on a drug by id or group, in the order of their ids."""
        found = {s.id: s for group in self.groups_of(drug) for s in self._by_kind.get((kind, group), ())}
        return tuple(found[key] for key in sorted(found))

    def allergy_names(self, drug: Drug) -> tuple[tuple[str, str, bool], ...]:
        """What a recorded allergy may be called that reaches this drug: (name, reason, by cross-reaction only)."""
        return self.remember(("allergy names", drug.id), lambda: self._allergy_names(drug))

    def _allergy_names(self, drug: Drug) -> tuple[tuple[str, str, bool], ...]:
        found: dict[str, tuple[str, bool]] = {str(drug.id): (f"allergy to {drug.name} is recorded", False)}
        for part in drug.components:
            found.setdefault(str(part), (f"allergy to {part}, a part of {drug.name}, is recorded", False))
        groups = [g for g in self.allergies.values() if drug.id in g.members or g.name in drug.allergy_groups]
        for group in groups:
            found.setdefault(group.name, (f"{drug.name} belongs to the allergy group {group.name}", False))
        for group in groups:
            for other in group.members:
                reason = f"allergy to {other} is recorded; {drug.name} belongs to the same group ({group.name})"
                found.setdefault(str(other), (reason, not group.shared))
        mine = {str(drug.id), *(g.name for g in groups)}
        for group in self.allergies.values():
            for cross in group.cross:
                if cross.group in mine:
                    for name in (group.name, *group.members):
                        found.setdefault(str(name), (f"{group.name} and {drug.name}: {cross.text}", True))
        return tuple((name, reason, cross) for name, (reason, cross) in found.items())


def load_knowledge(*extra: Path) -> Knowledge:
    """The knowledge base: the facts of the package, then those of each folder in `extra`.

    Raises
    ------
    KnowledgeError
        If a file is not TOML, has a field that is not known, misses one, or holds a value of the wrong type.
        The message names the file, the field, and what to do.
    """
    package = Path(str(files("posologist.knowledge") / "data"))
    folders = [package, *(Path(folder) for folder in extra)]
    for folder in folders:
        if not folder.is_dir():
            raise KnowledgeError("is not a folder", where=str(folder), hint="give a folder with drugs/, guidance/, ...")
    documents = [_Folder(folder) for folder in folders]
    for each in documents[1:]:
        each.refuse_strays()
    citations: dict[str, Row] = {}
    for each in documents:
        citations.update(each.rows("citations", "key", everywhere=True))
    where = {row_id: path for each in documents for row_id, path in each.origin.items()}
    return Knowledge(
        drugs=_drugs(documents, where),
        statements=tuple(
            _joined(documents, ("interactions", "guidance"), "statements", "id", Statement, where).values()
        ),
        indications=_joined(documents, ("indications",), "", "id", Indication, where),
        scores=_joined(documents, ("scores",), "scores", "id", Score, where),
        dosing=_joined(documents, ("dosing",), "", "id", GenotypeDose, where),
        citations={
            CitationKey(k): _value(Citation, row, where.get(k, "citations.toml"), k) for k, row in citations.items()
        },
        sources=_joined(documents, ("sources.toml",), "sources", "key", Source, where),
        classes=_joined(documents, ("classes.toml",), "classes", "name", DrugClass, where),
        allergies=_joined(documents, ("allergies.toml",), "groups", "name", AllergyGroup, where),
        combinations=_joined(documents, ("combinations.toml",), "combinations", "brand", Combination, where),
        codes=load_codes(next(f for f in reversed(folders) if (f / "conditions.toml").exists() or f == package)),
        version=_version(documents),
        folder=package,
        gene_folders=tuple(place for each in folders if (place := each / "genes").is_dir()),
        model_folders=tuple(place for each in folders if (place := each / "models").is_dir()),
        learned_folders=tuple(manifest.parent for each in folders for manifest in _manifests(each)),
        files={row_id: str(path) for row_id, path in where.items()},
        repeated_citations=tuple(sorted({key for each in documents for key in each.repeated})),
    )


class _Folder:
    """The TOML documents of one folder, parsed, with the file that each row came from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin: dict[str, str] = {}
        self.repeated: list[str] = []
        self.digest = hashlib.sha256()
        self.documents = [(path, self._read(path)) for path in sorted(_files(folder))]

    def _read(self, path: Path) -> Row:
        try:
            text = path.read_text(encoding="utf-8")
            self.digest.update(path.relative_to(self.folder).as_posix().encode() + text.encode())
            return rtoml.loads(text)
        except (rtoml.TomlParsingError, UnicodeDecodeError) as error:
            raise KnowledgeError(
                f"is not TOML: {error}", where=str(path), hint="correct the line that is named"
            ) from error

    def refuse_strays(self) -> None:
        """Raise for a file that lies where nothing is read, so that no fact of a user is passed over in silence."""
        for path, _ in self.documents:
            place = path.relative_to(self.folder).parts[0]
            if place not in _PLACES and not place.startswith("citations"):
                raise KnowledgeError(
                    f"'{place}' is not a place of the knowledge base",
                    where=str(path),
                    hint=f"use one of: {', '.join(sorted(_PLACES))}",
                )

    def inside(self, place: str) -> list[Document]:
        """Documents of a subfolder, or one file."""
        wanted = self.folder / place
        return [(path, row) for path, row in self.documents if path == wanted or path.parent == wanted]

    def rows(self, key: str, name: str, *, places: Iterable[str] = (), everywhere: bool = False) -> dict[str, Row]:
        """Rows `[[key]]` by their `name`; a file without `key` is one row. A name given twice is an error."""
        found: dict[str, Row] = {}
        chosen = self.documents if everywhere else [d for place in places for d in self.inside(place)]
        for path, document in chosen:
            listed = document[key] if key in document else [] if everywhere else _single(document, key, path)
            if not isinstance(listed, list):
                raise KnowledgeError(f"'{key}' must be a list of tables", where=str(path), hint=f"write [[{key}]]")
            for row in listed:
                row_id = str(row.get(name, ""))
                if not row_id:
                    raise KnowledgeError(f"an entry has no '{name}'", where=str(path), hint=f'add {name} = "..."')
                if row_id in found and key == "citations":
                    if found[row_id] != row:
                        self.repeated.append(row_id)
                    continue
                if row_id in found and found[row_id] != row:
                    raise KnowledgeError(
                        f"{name} '{row_id}' is defined twice",
                        where=f"{self.origin[row_id]} and {path}",
                        hint="give each its own name, or remove one",
                    )
                found[row_id] = row
                self.origin[row_id] = str(path)
        return found


def _files(folder: Path) -> Iterator[Path]:
    coded = {"conditions.toml", "laboratory.toml"}  # read by knowledge/codes.py; only their content is hashed
    for path in folder.rglob("*.toml"):
        if not {"genes", "effects"} & set(path.relative_to(folder).parts) and path.name not in coded:
            yield path


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob("learned/*/manifest.json"))


def _single(document: Row, key: str, path: Path) -> list[Row]:
    """The document as one row where its kind of file holds one; a stray key is an error, never skipped."""
    plain = {name: value for name, value in document.items() if name != "citations"}
    if key in _ONE_PER_FILE:
        return [plain] if plain else []
    stray = sorted(set(plain) - {"date"})
    if stray:
        raise KnowledgeError(f"'{stray[0]}' is not known here", where=str(path), hint=f"write [[{key}]]")
    return []


def _joined(
    folders: list[_Folder], places: tuple[str, ...], key: str, name: str, kind: type[V], where: dict[str, str]
) -> dict[str, V]:
    rows: dict[str, Row] = {}
    for folder in folders:
        rows.update(folder.rows(key, name, places=places))
        where.update(folder.origin)
    return {row_id: _value(kind, row, where.get(row_id, ""), row_id) for row_id, row in rows.items()}


def _drugs(folders: list[_Folder], where: dict[str, str]) -> dict[DrugId, Drug]:
    rows: dict[str, Row] = {}
    screening: dict[str, Row] = {}
    for folder in folders:
        rows.update({k: _with_nulls(row) for k, row in folder.rows("", "id", places=("drugs",)).items()})
        screening.update({k: _screening(row) for k, row in folder.rows("drugs", "id", places=("screening",)).items()})
        where.update(folder.origin)
    merged = {**{k: row for k, row in screening.items() if k not in rows}, **rows}
    return {DrugId(k): _value(Drug, merged[k], where.get(k, ""), k) for k in sorted(merged)}


def _with_nulls(row: Row) -> Row:
    for section, name in _NULLABLE.items():
        for entry in row.get(section, ()):
            if isinstance(entry, dict):
                entry.setdefault(name, None)
    for section in ("pregnancy", "lactation"):
        if isinstance(row.get(section), dict):
            row[section].setdefault("action", None)
    return row


def _screening(row: Row) -> Row:
    """A drug that is recognised and checked only; its roles take the entry's source and status."""
    common = {"source": row.get("source", "memory"), "status": row.get("status", "to verify")}
    roles = [{**common, **role} for role in row.get("roles", ())]
    plain = {k: v for k, v in row.items() if k not in ("source", "status", "roles")}
    classes = plain.get("classes") or [""]
    return {
        "pharmacological_class": classes[0],
        "name": row.get("id", ""),
        **plain,
        "roles": roles,
        "depth": "screening",
    }


def _value(kind: type[V], row: Row, where: str, row_id: str) -> V:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or row_id
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise KnowledgeError(
            f"{row_id}: field '{place}': {first['msg'].lower()}{more}", where=where, hint=_advice(first["type"], kind)
        ) from error


def _advice(problem: str, kind: type[Value]) -> str:
    if problem == "extra_forbidden":
        return f"remove the field or correct its name; {kind.__name__} has: {', '.join(kind.model_fields)}"
    if problem == "missing":
        return "add the field; docs/template-drug.toml shows each one"
    return "correct the value; docs/template-drug.toml shows what is accepted"


def _version(folders: list[_Folder]) -> str:
    dates = [str(row["date"]) for folder in folders for _, row in folder.inside("sources.toml") if "date" in row]
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(folder.digest.digest())
        for name in ("conditions.toml", "laboratory.toml"):
            path = folder.folder / name
            if path.exists():
                digest.update(path.read_bytes())
        later = [path for name in ("models", "effects") for path in sorted((folder.folder / name).rglob("*.toml"))]
        for path in (*later, *_manifests(folder.folder)):  # read when they are asked for
            digest.update(path.read_bytes())
    return f"{max(dates, default='undated')}+{digest.hexdigest()[:10]}"


def _own_names(drug: Drug) -> Iterable[str]:
    return (str(drug.id), drug.name, str(drug.id).replace("-", " "))


_synonyms: Callable[[Drug], Iterable[str]] = lambda drug: drug.synonyms  # noqa: E731
_brands: Callable[[Drug], Iterable[str]] = lambda drug: drug.brands  # noqa: E731
_misspellings: Callable[[Drug], Iterable[str]] = lambda drug: drug.misspellings  # noqa: E731


def _nearest(text: str, names: Mapping[str, DrugId]) -> str:
    close = difflib.get_close_matches(text, list(names), n=3, cutoff=0.6)
    return f"nearest: {', '.join(close)}" if close else "use the ingredient's name, e.g. metoprolol"
