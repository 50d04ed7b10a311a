"""ingress and clsact: no queue, but the place where filters look at what comes in."""

from __future__ import annotations

from dataclasses import dataclass

from ..complaint import illegal
from ..model import Link
from ..words import Words, what_is
from .base import Kind, no_options


@dataclass(frozen=True, slots=True)
class Ingress:
    pass


def _parse(name: str, words: Words) -> None:
    while words:
        word = words.take()
        if word != "handle":
            raise illegal(f"{what_is(word)}\nUsage: ... ingress")
        words.take()


def _make(given: None, link: Link) -> Ingress:
    return Ingress()


INGRESS = Kind(
    "ingress", _parse, _make, lambda o, out: out.text("---------------- "), lambda o: "", classful=True, filters=True
)  # fmt: skip
CLSACT = Kind("clsact", no_options, _make, lambda o, out: None, lambda o: "", classful=True, filters=True)
