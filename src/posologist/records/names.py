"""Medicine names in text: which drugs a display or a clinician's words mean.

A phrase counts only when it is wholly explained: beside a known name stand salts, strengths, forms and dosing
words, and nothing else. So "ethinyl estradiol" is not estradiol, "Tylenol #3" is not plain Tylenol, "insulin
isophane" is no other insulin, and the potassium of "penicillin V potassium" is a salt. One misspelt letter is
forgiven in names of eight letters or more, when only one known name is that near.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import permutations
from types import MappingProxyType

from posologist.core.values import DrugId, Many, Value

_UNIT = r"(?:mg|mcg|ug|ng|g|gm|kg|ml|l|unt|units?|iu|meq|mmol|mol|actuat|hr|hrs|h|cells|mci|sqcm|cm2|%)"
_AMOUNT = re.compile(
    rf"\d[\d.,]*(?:\s*[-/x]\s*\d[\d.,]*)*\s*-?\s*{_UNIT}(?:\s*/\s*(?:[\d.,]+\s*)?{_UNIT}|\s*/\s*actuat)?(?![a-z])"
)
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_SPLIT = re.compile(r"\s+/\s+|\s*[+&;]\s*|(?<=[a-z)])/(?=[a-z(])|\s+(?:and|with)\s+|\s+w/\s*")
_NUMBERED = re.compile(r"nda\d+|\d+[a-z]{1,3}|q\d+(?:h|d|w|wk)?")
_TOKEN = re.compile(r"#?[a-z0-9]+(?:'[a-z]+)?")
_LONGEST_NAME = 6
Ingredients = tuple[tuple[DrugId, ...], str]  # of one product, and a remark to print behind them
_Span = tuple[int, int, DrugId]  # first token, token after the last, drug
_FUZZY_LETTERS = 8


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SALTS = _words(
    "acetate adipate anhydrous arginine aspartate axetil benzathine besilate besylate bisulfate bitartrate "
    "borate bromide butyrate calcium camphorsulfonate carbonate chloride cilexetil citrate decanoate dihydrate "
    "dihydrochloride dimesylate dipropionate disodium disoproxil edisylate enanthate erbumine estolate etexilate "
    "ethanolate ethylsuccinate fumarate furoate gluconate glucuronate hcl hemifumarate hemihydrate "
    "hydrate hydrobromide hydrochloride hyclate iodide isethionate lactate lactobionate lysine magnesium malate "
    "maleate "
    "medoxomil meglumine mesilate mesylate mofetil monohydrate monohydrochloride monosodium napsylate nitrate "
    "olamine oxalate palmitate pamoate phosphate pivoxil polistirex potassium propionate proxetil salt "
    "sesquihydrate sodium stearate succinate sulfate sulphate tannate tartrate tert tosylate trihydrate "
    "trisilicate tromethamine valerate xinafoate zinc butylamine macrocrystals macrocrystal micronized na k"
)

FILLER = _words(
    "a am an actuat actuation ac aerosol after as apply at auto autoinjector bedtime before biphasic bid by cap "
    "capsule capsules caplet cart cartridge chewable chew coated continuous controlled cr cream crystals d daily day "
    "days delayed delivery device dose doses dr drop drops drug each ec ect effervescent elixir enteric er every "
    "evening ext extended feeding film fl food for form free g gel granule granules gm h hour hours hr hrs hs "
    "immediate implant in inhal inhalant inhalation inhale inhaler inject injectable injection injector "
    "intramuscular "
    "intrauterine intravenous ir iu iv jet kg kit l la lotion lozenge matrix mcg meal meals metered mg ml mist "
    "modified "
    "month monthly morning mouth mouthwash mucosal nasal nda needed night nightly ng of oil ointment once one "
    "ophthalmic or oral orally oromucosal osmotic otic ophth pack packet pad paste patch pen pellet per pill pm po "
    "powder pr prefilled pressurized prn product puff puffs q qam qd qhs qid qod qpm qday rapid reconstituted rectal "
    "release sc sl soln solution spray sq sr strength subcutaneous sublingual supp suppository susp suspension "
    "sustained swallow sustained-release syringe syrup system tab tabs tablet tablets take tds tid time times to "
    "topical transdermal troche twice two three four half ug unit units unt use vaginal vial weekly week weeks xl xr "
    "dry disintegrating ds odt human generic brand ophthalmic soluble dispersible hfa mdi dpi nebuliser nebulizer "
    "respimat diskus kwikpen flexpen flextouch solostar bd cd taper mane nocte"
)


class Phrase(Value):
    """What a text means: known drugs, what is left unexplained, and the words that were corrected."""

    drugs: Many[DrugId] = ()
    unresolved: str = ""
    matched: Many[str] = ()
    corrected: Many[str] = ()


class NameIndex:
    """Known names as token sequences; build once from `knowledge.names`. Brands are never spelt right for anyone."""

    def __init__(
        self,
        names: Iterable[tuple[str, DrugId]],
        brands: Iterable[str] = (),
        products: Iterable[tuple[str, Ingredients]] = (),
    ) -> None:
        self._products = {_tokens(plain(brand)): ingredients for brand, ingredients in products}
        exactly = {_tokens(plain(brand)) for brand in brands}
        self._by_tokens: dict[tuple[str, ...], DrugId] = {}
        for name, drug in sorted(names):
            self._by_tokens.setdefault(_tokens(plain(name)), drug)
        self._by_letters: dict[str, list[str]] = {}
        for tokens in self._by_tokens:
            if len(tokens) == 1 and tokens not in exactly and len(tokens[0]) >= _FUZZY_LETTERS - 1:
                self._by_letters.setdefault(tokens[0][0], []).append(tokens[0])

    def exact(self, tokens: tuple[str, ...]) -> DrugId | None:
        """Drug of a whole token sequence."""
        return self._by_tokens.get(tokens)

    def product(self, tokens: tuple[str, ...]) -> Ingredients | None:
        """Ingredients of a brand that holds several, with what to say about them; None for anything else."""
        return self._products.get(tokens)

    def nearest(self, token: str) -> str | None:
        """The only known one-word name that differs by one letter; None for short, numeric or ambiguous words."""
        if len(token) < _FUZZY_LETTERS or not token.isalpha():
            return None
        near = [name for name in self._by_letters.get(token[0], ()) if _one_letter_apart(token, name)]
        return near[0] if len({self._by_tokens[(name,)] for name in near}) == 1 else None


@lru_cache(maxsize=8)
def _cached_index(
    names: frozenset[tuple[str, DrugId]],
    brands: frozenset[str],
    products: frozenset[tuple[str, Ingredients]],
) -> NameIndex:
    return NameIndex(names, brands, products)


def name_index(
    names: Mapping[str, DrugId],
    brands: Iterable[str] = (),
    products: Mapping[str, Ingredients] = MappingProxyType({}),
) -> NameIndex:
    """Index of names, cached by its content. A misspelt brand is not recognised: lanolin is no Lanoxin.

    `products`: brand -> ingredients and a remark, for brands that hold several.
    """
    return _cached_index(frozenset(names.items()), frozenset(brands), frozenset(products.items()))


def plain(text: str) -> str:
    """Lower case without accents and odd spaces."""
    folded = unicodedata.normalize("NFKD", text.replace("µ", "u"))
    return " ".join("".join(c for c in folded if not unicodedata.combining(c)).lower().split())


def read_phrase(text: str, index: NameIndex) -> Phrase:
    """Drugs that a text names, with all that could not be explained.

    Parameters
    ----------
    text
        A display ("24 HR metoprolol succinate 100 MG Extended Release Oral Tablet [Toprol]"), a brand, or a
        clinician's words ("Lasix 40mg po bid").
    """
    lowered = plain(text)
    body = _BRACKETS.sub(" ", lowered)
    several = index.product(tuple(t for t in _tokens(_AMOUNT.sub(" ", body)) if not _is_dosing(t)))
    if several is not None:
        drugs, remark = several
        return Phrase(drugs=drugs, corrected=(f"{' '.join(_tokens(body))} read as {' + '.join(drugs)}{remark}",))
    whole = index.exact(_tokens(body))
    if whole is not None:
        return Phrase(drugs=(whole,), matched=(body,))
    parts = [part for part in _SPLIT.split(_AMOUNT.sub(" ", body)) if any(not _is_dosing(t) for t in _tokens(part))]
    joint = _combination(parts, index)
    if joint is not None:
        return Phrase(drugs=(joint,), matched=(" / ".join(parts),))
    read = [_read_part(part, index) for part in parts]
    found = _together(read)
    if not found.drugs:
        for brand in _BRACKETS.findall(lowered):
            named = _read_part(brand, index)
            if named.drugs and not named.unresolved:
                return named
    return found


def _together(read: list[Phrase]) -> Phrase:
    return Phrase(
        drugs=tuple(dict.fromkeys(drug for phrase in read for drug in phrase.drugs)),
        unresolved=" / ".join(phrase.unresolved for phrase in read if phrase.unresolved),
        matched=tuple(word for phrase in read for word in phrase.matched),
        corrected=tuple(word for phrase in read for word in phrase.corrected),
    )


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


def _is_dosing(token: str) -> bool:
    return token in FILLER or token.isdigit() or bool(_NUMBERED.fullmatch(token))


def _is_filler(token: str) -> bool:
    return token in SALTS or _is_dosing(token)


def _content(part: str) -> tuple[str, ...]:
    return tuple(token for token in _tokens(part) if not _is_filler(token))


def _combination(parts: list[str], index: NameIndex) -> DrugId | None:
    """A product known under the names of all its ingredients, in any order."""
    if not 2 <= len(parts) <= 3:
        return None
    for order in permutations([_content(part) for part in parts]):
        found = index.exact(tuple(token for part in order for token in part))
        if found is not None:
            return found
    return None


def _read_part(part: str, index: NameIndex) -> Phrase:
    tokens = _tokens(part)
    spans, corrected = _known_spans(tokens, index)
    explained = [_is_filler(token) or any(s <= i < e for s, e, _ in spans) for i, token in enumerate(tokens)]
    kept = [
        (start, end, drug)
        for start, end, drug in spans
        if (start == 0 or explained[start - 1]) and (end == len(tokens) or explained[end])
    ]
    if not kept:
        return Phrase(unresolved=" ".join(token for token in tokens if not _is_dosing(token)))
    left = [token for i, token in enumerate(tokens) if not explained[i] or _rejected(i, spans, kept)]
    return Phrase(
        drugs=tuple(dict.fromkeys(drug for _, _, drug in kept)),
        unresolved=" ".join(left),
        matched=tuple(" ".join(tokens[start:end]) for start, end, _ in kept),
        corrected=corrected,
    )


def _known_spans(tokens: tuple[str, ...], index: NameIndex) -> tuple[list[_Span], tuple[str, ...]]:
    """Known names in a part, longest first and without overlap, then misspelt ones; a lone salt is no name."""
    taken = [False] * len(tokens)
    spans: list[_Span] = []
    for size in range(min(_LONGEST_NAME, len(tokens)), 0, -1):
        for start in range(len(tokens) - size + 1):
            if size == 1 and tokens[start] in SALTS:
                continue
            drug = index.exact(tokens[start : start + size])
            if drug is not None and not any(taken[start : start + size]):
                taken[start : start + size] = [True] * size
                spans.append((start, start + size, drug))
    corrected: list[str] = []
    for place, token in enumerate(tokens):
        if not taken[place] and not _is_filler(token) and (name := index.nearest(token)) is not None:
            drug = index.exact((name,))
            if drug is not None:
                spans.append((place, place + 1, drug))
                corrected.append(f"{token} read as {drug}")
    return sorted(spans), tuple(corrected)


def _rejected(place: int, spans: list[_Span], kept: list[_Span]) -> bool:
    return any(start <= place < end for start, end, drug in spans if (start, end, drug) not in kept)


def _one_letter_apart(a: str, b: str) -> bool:
    """One letter inserted, left out, replaced, or two neighbours exchanged."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if len(a) == len(b):
        swapped = a[start + 1 : start + 2] + a[start : start + 1] == b[start : start + 2]
        return a[start + 1 :] == b[start + 1 :] or (swapped and a[start + 2 :] == b[start + 2 :])
    shorter, longer = sorted((a, b), key=len)
    return shorter[start:] == longer[start + 1 :]
