"""A drug's own facts as Statements, so that one matcher serves labels, guidance and interactions."""

from __future__ import annotations

from posologist.core.drug import Contraindication, Drug, OrganRule
from posologist.core.statement import Action, Severity, Statement, StatementKind, drug_statement_id

NOT_READABLE = "cannot_be_read_from_a_record"
"""Name of a fact that no record holds: a profile over it stays unknown for everybody."""

_NOBODY = "false and "
"""Begins the profile of a guideline that holds no row: it names the genes and holds for nobody."""

_SEVERITY: dict[Action, Severity] = {
    "contraindicated": "contraindicated",
    "avoid": "serious",
    "alternative": "serious",
    "cap": "monitor",
    "start": "monitor",
    "percent": "monitor",
    "reduce": "monitor",
    "interval": "monitor",
    "increase": "monitor",
    "separate": "monitor",
    "monitor": "monitor",
    "standard": "information",
    "prefer": "information",
    "no recommendation": "information",
}


def severity_of(action: Action) -> Severity:
    """Severity of an action where its source states none."""
    return _SEVERITY[action]


def has_no_row(statement: Statement) -> bool:
    """Whether a statement only says that a guideline on these genes exists, without a coded recommendation."""
    return statement.when.startswith(_NOBODY)


def body_of(statement: Statement) -> str:
    """Who says it, from its citation: "CPIC", "DPWG", "FDA"."""
    return str(statement.source).split("-")[0].upper()


def drug_statements(drug: Drug) -> tuple[Statement, ...]:
    """Contraindications, organ limits, age, pregnancy and lactation of one drug as Statements."""
    found = [_contraindication(drug, c, n) for n, c in enumerate(drug.contraindications)]
    kinds: tuple[tuple[StatementKind, tuple[OrganRule, ...]], ...] = (
        ("renal", drug.renal),
        ("hepatic", drug.hepatic),
        ("age", drug.age),
        ("pregnancy", (drug.pregnancy,) if drug.pregnancy else ()),
        ("lactation", (drug.lactation,) if drug.lactation else ()),
    )
    for kind, rules in kinds:
        found.extend(_organ(drug, kind, rule, n) for n, rule in enumerate(rules))
    return tuple(found)


def _contraindication(drug: Drug, item: Contraindication, number: int) -> Statement:
    absolute = item.level == "absolute"
    return Statement(
        id=drug_statement_id(drug.id, "contraindication", number),
        kind="contraindication",
        about=(drug.id,),
        when=item.when or NOT_READABLE,
        action="contraindicated" if absolute else "avoid",
        severity="contraindicated" if absolute else "serious",
        text=item.text or item.code.replace("_", " "),
        indication=item.indication,
        source=item.source,
        status=item.status,
    )


def _organ(drug: Drug, kind: StatementKind, rule: OrganRule, number: int) -> Statement:
    action: Action = rule.action or "no recommendation"
    words = rule.text or rule.note
    return Statement(
        id=drug_statement_id(drug.id, kind, number),
        kind=kind,
        about=(drug.id,),
        when=rule.when,
        action=action,
        severity=severity_of(action),
        value=rule.value,
        unit=rule.unit,
        text=words or f"{kind}: {action} when {rule.when}",
        indication=rule.indication,
        source=rule.source,
        status=rule.status,
    )
