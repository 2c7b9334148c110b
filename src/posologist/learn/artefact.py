"""A saved model: a folder with `manifest.json` and `graph.onnx`, read with every doubt.

Nothing of it is code, and no pickle is ever read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from posologist.core.errors import ModelError
from posologist.core.manifest import FORMAT, Manifest
from posologist.core.prediction import Schema
from posologist.learn.predict import Served

MANIFEST, GRAPH = "manifest.json", "graph.onnx"
DEFAULTS = Path(__file__).parent / "default"
"""Folders of the models that come with the package; a hospital's own model of the same task takes its place."""


def load(folder: Path, *, schema: Schema | None = None) -> Served:
    """The model saved in a folder.

    Parameters
    ----------
    schema
        The schema that rows are built with today; None: rows will be built with the model's own.

    Raises
    ------
    ModelError
        If a file is missing or changed, the format is newer than this program, or the model was trained on another
        schema than `schema`.
    """
    manifest = read_manifest(folder)
    graph = _bytes(folder / GRAPH)
    if hashlib.sha256(graph).hexdigest() != manifest.graph_digest:
        raise ModelError("the graph is not the one that was saved", where=str(folder / GRAPH), hint="train it again")
    if schema is not None and schema.digest != manifest.features_digest:
        raise ModelError(
            f"the model was trained on schema {manifest.features.version} of {manifest.task}, "
            f"this program builds rows of {schema.version}",
            where=str(folder / MANIFEST),
            hint="train the model again with this version",
        )
    return Served(manifest, graph)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a saved model."""
    place = folder / MANIFEST
    text = _bytes(place)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        newer = _format_of(text)
        if newer is not None and newer > FORMAT:
            raise _too_new(newer, place) from error
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{at}: {first['msg']}", where=str(place), hint="train the model again") from error
    if manifest.format > FORMAT:
        raise _too_new(manifest.format, place)
    if manifest.content_digest != manifest.digest:
        raise ModelError("the manifest is not the one that was saved", where=str(place), hint="train the model again")
    return manifest


def write(folder: Path, manifest: Manifest, graph: bytes) -> Manifest:
    """Writes both files of a model, the manifest with its digest, and gives it; the folder is made."""
    signed = manifest.model_copy(update={"digest": manifest.content_digest})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH).write_bytes(graph)
    (folder / MANIFEST).write_text(signed.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
    return signed


def _bytes(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the file cannot be read ({error.strerror})", where=str(place), hint="give the folder of a saved model"
        ) from error


def _format_of(text: bytes) -> int | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    found = told.get("format") if isinstance(told, dict) else None
    return found if isinstance(found, int) else None


def _too_new(found: int, place: Path) -> ModelError:
    return ModelError(
        f"the model is of format {found}, this program reads up to {FORMAT}",
        where=str(place),
        hint="update posologist, or train the model with this version",
    )
