"""Cited constants of the simulated studies: a file of facts, each with its source and how far it was verified."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import Field

from posologist.core.errors import KnowledgeError
from posologist.core.values import Many, Value


class Citation(Value):
    """Where a fact was read."""

    key: str
    title: str
    where: str
    kind: str
    retrieved: str = ""
    version: str = ""
    licence: str = ""


class Fact(Value):
    """A constant: one number, or several in the order that `text` names; where there is none, `blank` says why."""

    name: str
    value: float | Many[float] | None = None
    unit: str
    text: str
    source: str
    status: Literal["verified", "secondary", "to verify", "assumption"]
    note: str = ""
    blank: str = ""


class Facts(Value):
    """The facts of one study."""

    facts: Many[Fact] = Field(min_length=1)
    citations: Many[Citation]

    def number(self, name: str) -> float:
        """The one number of a fact."""
        value = self.fact(name).value
        if not isinstance(value, float):
            raise KnowledgeError(f"{name} is not one number", where="study facts", hint="give its value")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """The numbers of a fact that has several."""
        value = self.fact(name).value
        if not isinstance(value, tuple):
            raise KnowledgeError(f"{name} is not a list of numbers", where="study facts", hint="give its values")
        return value

    def fact(self, name: str) -> Fact:
        """The fact of this name."""
        held = next((fact for fact in self.facts if fact.name == name), None)
        if held is None:
            raise KnowledgeError(f"no fact is called {name}", where="study facts", hint="add it with its source")
        return held


@cache
def facts_of(study: str) -> Facts:
    """The facts of a study, e.g. "hypertension", as they stand in the package."""
    place = files("posologist.study").joinpath(f"{study}.toml")
    told = tomllib.loads(place.read_text(encoding="utf-8"))
    return Facts.model_validate({"facts": told["facts"], "citations": told["citations"]}, strict=False)
