"""The kinds of filters, each a file: grammar, what the fast path looks at, printing."""

from __future__ import annotations

from .base import Ask, Classifier
from .flower import FLOWER
from .fw import FW
from .matchall import MATCHALL
from .u32 import U32

CLASSIFIERS: dict[str, Classifier] = {kind.name: kind for kind in (U32, FW, MATCHALL, FLOWER)}

__all__ = ["CLASSIFIERS", "Ask", "Classifier"]
