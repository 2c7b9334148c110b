"""What an allergy is to: known drugs, allergy groups, or something that is no drug."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from posologist.core.patient import Code
from posologist.core.values import Many, Value
from posologist.knowledge.load import AllergyGroup
from posologist.records.medication import Resolver
from posologist.records.names import plain, read_phrase

_QUALIFIER = re.compile(r"\((?:finding|disorder|substance|product|situation|organism|medicinal product)\)")
_LEAD = re.compile(
    r"\b(?:allergic reaction|allergy|allergies|allergic|hypersensitivity|adverse reaction|intolerance|sensitivity|"
    r"product|substance|medicinal|containing|caused by|history of|drug|antibiotics?|antibacterials?|agents?|"
    r"class|derivatives?|structure|to|of|due|with|and its)\b"
)
_FOOD = (
    "peanut nut shellfish crustacean mollusc fish cod shrimp egg milk dairy lactose wheat gluten soy soya soybean "
    "sesame strawberry fruit kiwi mustard celery chocolate food seafood"
)
_ENVIRONMENT = (
    "pollen grass tree ragweed dust mite mould mold dander animal cat dog horse latex rubber bee wasp venom insect "
    "cockroach nickel adhesive environmental feather"
)
_NOT_A_DRUG = {"food": frozenset(_FOOD.split()), "environment": frozenset(_ENVIRONMENT.split())}
_REACTIONS = (
    ("angioedema", ("angioedema", "angio-oedema", "angioneurotic")), ("anaphylaxis", ("anaphyla",)),
    ("cough", ("cough",)), ("bronchospasm", ("bronchospasm", "wheez", "asthma")),
    ("severe skin reaction", ("stevens-johnson", "toxic epidermal", "sjs", "dress syndrome", "erythema multiforme")),
    ("urticaria", ("urticaria", "hives", "wheal")), ("rash", ("rash", "eruption", "exanthem")),
    ("pruritus", ("itch", "prurit")), ("dyspnoea", ("dyspn", "shortness of breath")),
    ("swelling", ("swelling", "oedema", "edema")), ("nausea or vomiting", ("nausea", "vomit")),
    ("diarrhoea", ("diarrh",)), ("hypotension", ("hypotens",)), ("liver injury", ("hepat", "jaundice", "liver")),
    ("myopathy", ("myalgia", "muscle", "rhabdo", "myopath")),
)  # fmt: skip
_REACTION_CODES = {
    "41291007": "angioedema", "402387002": "angioedema", "39579001": "anaphylaxis", "49727002": "cough",
    "126485001": "urticaria", "247472004": "urticaria", "271807003": "rash", "418290006": "pruritus",
    "267036007": "dyspnoea", "300359004": "nausea or vomiting", "422587007": "nausea or vomiting",
    "4386001": "bronchospasm", "271757001": "rash", "65124004": "swelling",
}  # fmt: skip
NO_KNOWN_ALLERGY = frozenset({"716186003", "409137002", "no-known-allergy", "no-known-drug-allergy", "nka", "nkda"})
"""No known allergy; no known drug allergy."""
NO_OTHER_ALLERGY = frozenset({"429625007", "428197003", "716184000", "428607008"})
"""No known allergy to food, to insects, to latex, to the environment: says nothing of drugs."""


class Substance(Value):
    """What an allergy concerns: drug ids and groups, or the category of something that is no drug."""

    groups: Many[str] = ()
    category: Literal["", "medication", "food", "environment", "biologic"] = ""
    how: str = ""


_ALSO = (
    ("soya", "soy"), ("soybean", "soy"),
    ("sulphonamide", "antibacterial sulfonamide"), ("fluoroquinolone", "quinolone"),
    ("nonsteroidal anti inflammatory", "NSAID"), ("non steroidal anti inflammatory", "NSAID"),
    ("hmg coa reductase inhibitor", "statin"), ("angiotensin converting enzyme inhibitor", "ACE inhibitor"),
    ("acei", "ACE inhibitor"), ("angiotensin receptor blocker", "ARB"), ("angiotensin ii receptor antagonist", "ARB"),
    ("beta adrenergic blocker", "beta-blocker"), ("beta adrenergic antagonist", "beta-blocker"),
    ("beta lactam", "penicillin"), ("beta lactam", "cephalosporin"), ("beta lactam", "carbapenem"),
)  # fmt: skip


class AllergyGroups:
    """Allergy groups by their words: names and synonyms of `knowledge.allergies`, and other ways to say them."""

    def __init__(self, groups: Mapping[str, AllergyGroup]) -> None:
        self._by_word: dict[str, set[str]] = {}
        said = [(word, group.name) for group in groups.values() for word in (group.name, *group.synonyms)]
        for word, name in [*said, *_ALSO]:
            if name in groups:
                self._by_word.setdefault(_singular(word), set()).add(name)

    def named_in(self, text: str) -> tuple[str, ...]:
        """Groups whose words stand in a text; the longest words count first and are then used up."""
        left = f" {_singular(text)} "
        found: set[str] = set()
        for word in sorted(self._by_word, key=lambda word: (-len(word), word)):
            if f" {word} " in left:
                found |= self._by_word[word]
                left = left.replace(f" {word} ", " ")
        return tuple(sorted(found))


def substance(
    codes: Sequence[Code], text: str, category: str, *, resolver: Resolver, groups: AllergyGroups
) -> Substance:
    """What the codes and words of an allergy concern.

    Parameters
    ----------
    category
        As the record states it. A stated "medication" is never overruled by a word for food; without one, and
        under "food" or "environment", known words decide that it is no drug.
    """
    stated: Literal["", "medication", "food", "environment", "biologic"] = (
        category if category in ("medication", "food", "environment", "biologic") else ""  # type: ignore[assignment]
    )
    words = [*(code.display for code in codes), text]
    cleaned = list(dict.fromkeys(_subject(word) for word in words if word))
    other = _no_drug(" ".join(cleaned))
    if other and stated != "medication":
        carried = groups.named_in(" ".join(cleaned))  # egg and soy are in some medicines
        return Substance(groups=carried, category=other, how=f"no drug, by its words: {cleaned[0]}")
    if stated in ("food", "environment"):
        return Substance(category=stated, how="no drug, by the stated category")
    coded = resolver.resolve([code.model_copy(update={"display": ""}) for code in codes], "")
    drugs = list(coded.drugs)
    named = [group for word in cleaned for group in groups.named_in(word)]
    if not drugs:
        drugs = [drug for word in cleaned for drug in read_phrase(word, resolver.index).drugs]
    found = tuple(dict.fromkeys([*map(str, drugs), *named]))
    return Substance(
        groups=found, category=stated, how=coded.how or (f"by name: {', '.join(cleaned)}" if found else "")
    )


def reaction_words(codes: Sequence[Code], text: str) -> tuple[str, ...]:
    """Coded words of a reaction; the record's own words where none is known."""
    coded = [_REACTION_CODES[code.code] for code in codes if code.code in _REACTION_CODES]
    if coded:
        return tuple(dict.fromkeys(coded))
    words = plain(text or next((code.display for code in codes if code.display), ""))
    known = [name for name, stems in _REACTIONS if any(stem in words for stem in stems)]
    if "angioedema" in known:
        known = [name for name in known if name != "swelling"]
    return tuple(known) or ((words,) if words else ())


def _subject(text: str) -> str:
    cleaned = _LEAD.sub(" ", _QUALIFIER.sub(" ", plain(text)))
    return " ".join(cleaned.split())


def _no_drug(text: str) -> Literal["", "food", "environment"]:
    tokens = set(_singular(text).split())
    if tokens & _NOT_A_DRUG["food"]:
        return "food"
    return "environment" if tokens & _NOT_A_DRUG["environment"] else ""


def _singular(text: str) -> str:
    """Words in lower case without a plural s, separated by one space."""
    words = re.findall(r"[a-z0-9]+", plain(text))
    return " ".join(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words
    )
