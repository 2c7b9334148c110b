"""What an allergy is to: known drugs, allergy groups, or something that is no drug."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from posologist.core.patient import Code
from posologist.core.values import Many, Value
from posologist.knowledge.load import Knowledge
from posologist.records.medication import Resolver
from posologist.records.names import plain, read_phrase

_QUALIFIER = re.compile(r"\((?:finding|disorder|substance|product|situation|organism|medicinal product)\)")
_LEAD = re.compile(
    r"\b(?:allergic reaction|allergy|allergies|allergic|hypersensitivity|adverse reaction|intolerance|sensitivity|"
    r"products?|substances?|medicinal|containing|caused by|history of|drug|antibiotics?|antibacterials?|agents?|"
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
_NONE_IN_WORDS = re.compile(
    r"(?:no known (?:drug |medication )?allerg(?:y|ies)|nkda|nka|none|none known|no allergies)\W*$"
)
NO_OTHER_ALLERGY = frozenset({"429625007", "428197003", "716184000", "428607008"})
"""No known allergy to food, to insects, to latex, to the environment: says nothing of drugs."""


_SHORTEST = 2  # letters of an abbreviation that is not taken for a class
_NEUTRAL = frozenset(["tape", "natural", "derived", "protein", "and", "related"])


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
    ("sulfonamide diuretic", "non-antibacterial sulfonamide"), ("beta lactam", "penicillin"),
    ("beta lactam", "cephalosporin"), ("beta lactam", "carbapenem"),
)  # fmt: skip


class AllergyGroups:
    """Allergy groups and drug classes by their words; a class without an allergy group stands for its members."""

    def __init__(self, knowledge: Knowledge) -> None:
        groups = knowledge.allergies
        self._by_word: dict[str, set[str]] = {}
        said = [(word, group.name) for group in groups.values() for word in (group.name, *group.synonyms)]
        for word, name in [*said, *_ALSO]:
            if name in groups:
                self._by_word.setdefault(_singular(word), set()).add(name)
        for drug_class in knowledge.classes.values():
            members = {str(drug) for drug in knowledge.members.get(drug_class.name, ())}
            for word in (drug_class.name, *drug_class.synonyms):
                if members and len(word) > _SHORTEST:
                    self._by_word.setdefault(_singular(word), members)

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
        As the record states it. Words for food and surroundings decide unless it states "medication"; a drug that
        is named counts whatever is stated.
    """
    words = [*(code.display for code in codes), text]
    cleaned = list(dict.fromkeys(part for word in words if word for part in _subjects(word)))
    together = " ".join(cleaned)
    other = _no_drug(together)
    if other and category != "medication":
        carried = groups.named_in(together)  # egg and soy are in some medicines
        return Substance(groups=carried, category=other, how=f"no drug, by its words: {together}")
    coded = resolver.resolve([code.model_copy(update={"display": ""}) for code in codes], "")
    named = [group for word in cleaned for group in groups.named_in(word)]
    drugs = coded.drugs or [drug for word in cleaned for drug in read_phrase(word, resolver.index).drugs]
    found = tuple(dict.fromkeys([*map(str, drugs), *named]))
    if found:
        how = coded.how or f"by name: {', '.join(cleaned)}"
        return Substance(groups=found, category="medication", how=how)
    if category in ("food", "environment"):
        return Substance(category="food" if category == "food" else "environment", how="no drug, by its category")
    if other and set(_singular(together).split()) <= _NOT_A_DRUG["food"] | _NOT_A_DRUG["environment"] | _NEUTRAL:
        return Substance(category=other, how=f"no drug, by its words: {together}")
    return Substance(category="medication" if category == "medication" else "")


def says_none(codes: Iterable[str], words: Iterable[str]) -> bool:
    """Whether codes or words state that no allergy, or none to drugs, is known."""
    return bool(NO_KNOWN_ALLERGY & set(codes)) or any(_NONE_IN_WORDS.match(plain(word)) for word in words if word)


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


def _subjects(text: str) -> list[str]:
    """The words for the substance, first without what stands in brackets."""
    whole = _QUALIFIER.sub(" ", plain(text))
    found = [" ".join(_LEAD.sub(" ", part).split()) for part in (re.sub(r"\([^)]*\)", " ", whole), whole)]
    return [part for part in found if part]


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
