"""What is wrong with a configuration, in lines a person can act on.

A line is `FILE: PATH in it: VALUE: what would be right`; the parts that do not apply are left out. One error carries
all lines, because an administrator who mends a file wants to mend it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

NO_VALUE: Final = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it is, the value found there (or NO_VALUE), and what would be right."""

    path: str
    right: str
    value: Any = NO_VALUE

    def line(self, source: str = "") -> str:
        """The fault as one line; `source` is the file's name, or "" for a run-time command."""
        value = "" if self.value is NO_VALUE else toml_text(self.value)
        return ": ".join(one_line(part) for part in (source, self.path, value, self.right) if part)


def one_line(text: str) -> str:
    """The text with what would break the line, or a terminal, escaped: a name may be the fault."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class ConfigError(ValueError):
    """A configuration that is refused. `problems` has a line a fault; `str()` joins them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def toml_text(value: Any, limit: int = 80) -> str:
    """A value as it stands in the file, near enough to be found again, on one line and cut at `limit` characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class ApplyError(Exception):
    """A configuration that this machine did not let come about; nothing was changed. A line a reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
