"""RxNorm for sites that have it: clinical drugs and brands -> ingredients, from NLM's prescribable content.

`import_rxnorm` reads RXNCONSO.RRF and RXNREL.RRF once and writes a small map into the site's own knowledge folder;
nothing of RxNorm is shipped with this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from posologist.core.errors import InputError
from posologist.core.values import Value

MAP_FILE = "rxnorm.tsv"

# columns of the RRF files, counted from 0 (NLM, RxNorm technical documentation, section 12)
_RXCUI, _SOURCE, _TERM_TYPE, _NAME, _SUPPRESS = 0, 11, 12, 14, 16
_CUI_1, _CUI_2, _RELATION = 0, 4, 7

# steps from a product towards its ingredients: relation read as "first <- second"
_STEPS = frozenset(
    {
        "has_ingredient", "has_ingredients", "consists_of", "has_precise_ingredient", "form_of", "tradename_of",
        "contains", "isa", "has_part",
    }
)  # fmt: skip
_INGREDIENT = "IN"
_KEPT = frozenset(
    {"SCD", "SBD", "SCDC", "SBDC", "SCDF", "SBDF", "SCDG", "SBDG", "GPCK", "BPCK", "BN", "PIN", "MIN", "IN"}
)


class RxNormMap(Value):
    """Product rxcui -> ingredient rxcuis, and the ingredients' names."""

    products: dict[str, tuple[str, ...]]
    ingredients: dict[str, str]


def import_rxnorm(folder: Path, target: Path) -> int:
    """Number of concepts written to `target/rxnorm.tsv` from the RRF files of a folder.

    Parameters
    ----------
    folder
        Holds RXNCONSO.RRF and RXNREL.RRF, itself or in its subfolder `rrf`.
    target
        The site's knowledge folder; made if it is not there.

    Raises
    ------
    InputError
        If a file is missing, is not in the RRF layout, or holds no ingredient.
    """
    types: dict[str, str] = {}
    names: dict[str, str] = {}
    for row in _rows(folder, "RXNCONSO.RRF", _SUPPRESS + 1):
        if row[_SOURCE] == "RXNORM" and row[_TERM_TYPE] in _KEPT and row[_SUPPRESS] in ("", "N"):
            types[row[_RXCUI]] = row[_TERM_TYPE]
            names[row[_RXCUI]] = row[_NAME]
    towards: dict[str, set[str]] = {}
    for row in _rows(folder, "RXNREL.RRF", _RELATION + 1):
        if row[_RELATION] in _STEPS and row[_CUI_1] in types and row[_CUI_2] in types:
            towards.setdefault(row[_CUI_2], set()).add(row[_CUI_1])
    if _INGREDIENT not in types.values():
        raise InputError(
            "no ingredient (IN) in RXNCONSO.RRF", where=str(folder), hint="use the full prescribable release"
        )
    written = {product: found for product in types if (found := _ingredients(product, towards, types))}
    _write(target / MAP_FILE, written, {rxcui: names[rxcui] for rxcui, kind in types.items() if kind == _INGREDIENT})
    return len(written)


def load_rxnorm(folder: Path) -> RxNormMap | None:
    """The map of a site's knowledge folder; None when none was imported.

    Raises
    ------
    InputError
        If the file is there and not readable.
    """
    path = folder / MAP_FILE
    if not path.exists():
        return None
    products: dict[str, tuple[str, ...]] = {}
    ingredients: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        kind, _, rest = line.partition("\t")
        rxcui, tab, content = rest.partition("\t")
        if kind not in ("ingredient", "product") or not tab:
            raise InputError("line is not 'kind, rxcui, content'", where=f"{path}:{number}", hint="import RxNorm again")
        if kind == "ingredient":
            ingredients[rxcui] = content
        else:
            products[rxcui] = tuple(content.split(","))
    return RxNormMap(products=products, ingredients=ingredients)


def _rows(folder: Path, name: str, least: int) -> Iterator[list[str]]:
    path = next((p for p in (folder / name, folder / "rrf" / name) if p.is_file()), None)
    if path is None:
        raise InputError(f"{name} is not there", where=str(folder), hint="unpack NLM's prescribable RxNorm release")
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = line.rstrip("\n").split("|")
                if len(row) < least:
                    raise InputError(f"{len(row)} columns, at least {least} expected", where=f"{path}:{number}")
                yield row
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}", where=str(path)) from error


def _ingredients(product: str, towards: dict[str, set[str]], types: dict[str, str]) -> tuple[str, ...]:
    """Ingredients reached from a product, in numeric order."""
    if types[product] == _INGREDIENT:
        return (product,)
    seen, waiting, found = {product}, [product], set[str]()
    while waiting:
        for step in towards.get(waiting.pop(), ()):
            if step not in seen:
                seen.add(step)
                if types[step] == _INGREDIENT:
                    found.add(step)
                else:
                    waiting.append(step)
    return tuple(sorted(found, key=lambda rxcui: (len(rxcui), rxcui)))


def _write(path: Path, products: dict[str, tuple[str, ...]], ingredients: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"ingredient\t{rxcui}\t{' '.join(name.split())}" for rxcui, name in sorted(ingredients.items())]
    lines += [f"product\t{rxcui}\t{','.join(found)}" for rxcui, found in sorted(products.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
