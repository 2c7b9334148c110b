"""Which drugs an order means: by the site's RxNorm map, by ingredient code, by ATC code, else by the words.

Words are displays that come with a code, or a clinician's own. What cannot be identified stays in `unresolved`,
so that a safety check can say that it was not checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posologist.core.patient import Code
from posologist.core.values import DrugId, Many, Value
from posologist.knowledge.codes import system_name
from posologist.knowledge.load import Knowledge
from posologist.records.names import NameIndex, Phrase, name_index, read_phrase
from posologist.records.rxnorm import RxNormMap


class Resolution(Value):
    """The drugs of an order, what is left, and how they were found.

    `by_name` is True when only words identified a drug; `conflict` holds words that contradict the code.
    """

    drugs: Many[DrugId] = ()
    unresolved: str = ""
    how: str = ""
    by_name: bool = False
    corrected: Many[str] = ()
    conflict: str = ""


def index_of(knowledge: Knowledge) -> NameIndex:
    """The names, brands and brands of several ingredients that a knowledge base knows."""
    return knowledge.remember(
        "name index",
        lambda: name_index(
            knowledge.names,
            (brand for drug in knowledge.drugs.values() for brand in drug.brands),
            {
                product.brand: (product.drugs, " (to verify)" if product.status == "to verify" else "")
                for product in knowledge.combinations.values()
            },
        ),
    )


def _drugs_by_code(knowledge: Knowledge) -> tuple[dict[str, DrugId], dict[str, DrugId]]:
    """Drugs by RxNorm ingredient and by ATC code."""
    rxnorm = {drug.rxcui: drug.id for drug in knowledge.drugs.values() if drug.rxcui}
    return rxnorm, _unique({drug.id: drug.atc for drug in knowledge.drugs.values() if drug.atc})


class Resolver:
    """Resolves codes and words against one knowledge base; answers are kept, since records repeat themselves."""

    def __init__(self, knowledge: Knowledge, rxnorm: RxNormMap | None = None) -> None:
        self.index: NameIndex = index_of(knowledge)
        self._map = rxnorm
        self._by_rxcui, self._by_atc = knowledge.remember("drugs by code", lambda: _drugs_by_code(knowledge))
        self._answers: dict[tuple[tuple[Code, ...], str], Resolution] = {}

    def resolve(self, codes: Sequence[Code], text: str) -> Resolution:
        """Drugs of an order's codings and text."""
        key = (tuple(codes), text)
        if key not in self._answers:
            self._answers[key] = self._resolve(codes, text)
        return self._answers[key]

    def _resolve(self, codes: Sequence[Code], text: str) -> Resolution:
        words = list(dict.fromkeys(w for w in [*(code.display for code in codes), text] if w))
        phrases = [read_phrase(w, self.index) for w in words]
        coded = next((found for code in codes if (found := self._by_code(code)) is not None), None)
        if coded is not None:
            against = _contradiction(coded.drugs, words, phrases)
            if not against:
                return coded
            return coded.model_copy(update={"conflict": against, "unresolved": against})
        if not phrases:
            return Resolution(unresolved=" ".join(f"{c.system} {c.code}".strip() for c in codes) or "no name")
        best = max(phrases, key=lambda phrase: (bool(phrase.drugs), not phrase.unresolved, len(phrase.drugs)))
        against = _contradiction(best.drugs, words, phrases) if best.drugs else ""
        left = best.unresolved if best.drugs or best.unresolved else words[0]
        return Resolution(
            drugs=best.drugs,
            unresolved=" / ".join(part for part in (left, against) if part),
            how=f"by name: {', '.join((*best.matched, *best.corrected))}" if best.drugs else "",
            by_name=bool(best.drugs),
            corrected=best.corrected,
            conflict=against,
        )

    def _by_code(self, code: Code) -> Resolution | None:
        system = system_name(code.system)
        if system == "RxNorm" and self._map is not None and code.code in self._map.products:
            return self._of_ingredients(code.code, self._map)
        drug = {"RxNorm": self._by_rxcui, "ATC": self._by_atc}.get(system, {}).get(code.code)
        return None if drug is None else Resolution(drugs=(drug,), how=f"by {system} code {code.code}")

    def _of_ingredients(self, product: str, known: RxNormMap) -> Resolution:
        drugs: list[DrugId] = []
        left: list[str] = []
        ingredients = known.products[product]
        names = [known.ingredients.get(rxcui, rxcui) for rxcui in ingredients]
        joint = read_phrase(" / ".join(names), self.index)
        if len(joint.drugs) == 1 and len(names) > 1 and not joint.unresolved:
            return Resolution(drugs=joint.drugs, how=f"by the site's RxNorm map: {product} is {' / '.join(names)}")
        for rxcui, name in zip(ingredients, names, strict=True):
            drug = self._by_rxcui.get(rxcui)
            found = (drug,) if drug else read_phrase(name, self.index).drugs
            drugs.extend(found)
            left.extend([] if found else [name])
        return Resolution(
            drugs=tuple(dict.fromkeys(drugs)),
            unresolved=" / ".join(left),
            how=f"by the site's RxNorm map: {product} is {' / '.join(names)}",
        )


def _unique(atc: Mapping[DrugId, str]) -> dict[str, DrugId]:
    """ATC code -> drug, for the codes that one drug alone carries."""
    counted: dict[str, list[DrugId]] = {}
    for drug, code in atc.items():
        counted.setdefault(code, []).append(drug)
    return {code: drugs[0] for code, drugs in counted.items() if len(drugs) == 1}


def _contradiction(drugs: Sequence[DrugId], words: Sequence[str], phrases: Sequence[Phrase]) -> str:
    """The words that name other drugs and none of these, if any."""
    return next(
        (w for w, p in zip(words, phrases, strict=True) if p.drugs and not set(p.drugs) & set(drugs)),
        "",
    )
