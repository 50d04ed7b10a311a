"""Words taken as getopt takes them, and the extensions of a rule as its words load them.

Short options come in a bunch or alone, long ones whole or cut short where that is clear, an argument with `=` or as the
next word. An option that is not iptables' own belongs to the extensions loaded so far, the last first; one that none of
them knows loads the protocol's match (`-p tcp --dport 80` without `-m tcp`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from . import words as known
from .words.base import Extension, Fields, Option, take
from .words.complaint import Complaint
from .words.names import PROTOCOLS

UNEXPECTED = {"m": "--match", "t": "--table"}


class Main(NamedTuple):
    """An option of iptables' own: its letter, whether it takes a word, and what takes it."""

    letter: str
    words: int
    act: Callable[[Any, str, str], None]
    invert: bool = False
    command: bool = False
    optional: bool = False  # may be followed by a word that is no option


class Words:
    """One line being taken apart. `inverted` has the letters that stood after a `!`."""

    MAIN: ClassVar[dict[str, Main]]

    def __init__(self, family: int) -> None:
        self.family = family
        self.inverted: set[str] = set()
        self.loaded: list[tuple[Extension, Fields]] = []
        self.matches: list[tuple[Extension, Fields]] = []
        self.protocol = 0
        self.words: list[str] = []
        self.at = 0

    def take_all(self, words: Sequence[str]) -> None:
        self.words = list(words)
        invert = False
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "!":
                if invert:
                    raise Complaint("multiple consecutive ! not allowed")
                invert = True
            elif word in self.MAIN:
                self._main(self.MAIN[word], word, invert)
                invert = False
            elif word[:1] == "-" and len(word) > 1:
                self._option(word, invert)
                invert = False
            else:
                raise Complaint(f"Bad argument `{word}'", bare=True)
        if invert:
            raise Complaint("nothing appropriate following !")

    def _option(self, word: str, invert: bool) -> None:
        """An option that is not one of iptables' own as it stands."""
        if self._of_extension(word, invert):
            return
        if word[1] != "-":
            self._bunch(word, invert)
            return
        name, equals, value = word.partition("=")
        if equals:
            self.words.insert(self.at, value)
        full = self._completed(name)
        if full is None and self._load_protocol():
            full = self._completed(name)
        if full is None or (equals and full == word):
            raise Complaint(f'unknown option "{word}"')
        if full in self.MAIN:
            self._main(self.MAIN[full], full, invert)
        else:
            self._of_extension(full, invert)

    def _main(self, main: Main, word: str, invert: bool) -> None:
        if invert:
            self._invert(main, word)
        argument = self._argument(word) if main.words else ""
        main.act(self, main.letter, argument)

    def _invert(self, main: Main, word: str) -> None:
        if main.invert:
            self.inverted.add(main.letter)
        elif main.command:
            raise Complaint("unexpected '!' flag")
        elif main.letter in UNEXPECTED:
            raise Complaint(f"unexpected ! flag before {UNEXPECTED[main.letter]}")
        else:
            raise Complaint(f"cannot have ! before {word}")

    def _of_extension(self, word: str, invert: bool) -> bool:
        for extension, fields in reversed(self.loaded):
            option = extension.by_name.get(word)
            if option is not None:
                take(extension, fields, option, self._words_of(option, word), invert)
                return True
        return False

    def _words_of(self, option: Option, word: str) -> Any:
        if option.words == 0 or option.read is None:
            return ""
        first = self._argument(word)
        if option.words == 1:
            return first
        if self.at >= len(self.words) or self.words[self.at][:1] in ("-", "!"):
            raise Complaint(f"{word} requires two args.")
        self.at += 1
        return first, self.words[self.at - 1]

    def _bunch(self, word: str, invert: bool) -> None:
        """-nvL, -tnat: letters up to one that takes the rest for its argument."""
        main = self.MAIN.get(word[:2])
        if main is None:
            if self._load_protocol() and self._of_extension(word, invert):
                return
            raise Complaint(f'unknown option "{word if len(word) == 2 else word[:2]}"')
        takes = main.words or main.optional
        self.words.insert(self.at, word[2:] if takes else "-" + word[2:])
        self._main(main, word[:2], invert)

    def _completed(self, word: str) -> str | None:
        """The one long option that begins so, or is so."""
        found: dict[int, str] = {}
        for extension, _ in reversed(self.loaded):
            for name, option in extension.by_name.items():
                if name == word:
                    return name
                if name.startswith(word):
                    found[id(option)] = name
        for name, main in self.MAIN.items():
            if name == word:
                return name
            if name.startswith(word):
                found[id(main)] = name
        return next(iter(found.values())) if len(found) == 1 else None

    def _load_protocol(self) -> bool:
        """The match that goes with -p, unless it is loaded already."""
        name = PROTOCOLS.get(self.protocol, "")
        extension = known.match(name, self.family) if name else None
        if extension is None or any(extension is loaded for loaded, _ in self.loaded):
            return False
        self.load(extension)
        return True

    def load(self, extension: Extension) -> None:
        entry = extension, Fields(self.family)
        self.loaded.append(entry)
        self.matches.append(entry)

    def _argument(self, word: str) -> str:
        if self.at >= len(self.words):
            raise Complaint(f'option "{word}" requires an argument')
        self.at += 1
        return self.words[self.at - 1]

    def optional(self) -> str | None:
        """The next word, unless it is an option."""
        if self.at < len(self.words) and self.words[self.at][:1] not in ("-", "!"):
            self.at += 1
            return self.words[self.at - 1]
        return None
