"""How tc says no: a text for stderr and the code that it ends with.

Three parties refuse, each in a tone of its own. The program's reader of words ends with 255, a discipline's or a
filter's own reader with 1, and the kernel with 2: by a message of its own ("Error: ...") or by the name of an errno.
The words here are theirs, since scripts and people look for them.
"""

from __future__ import annotations


class Refusal(Exception):
    """Nothing is changed; `text` goes to stderr."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text, self.code = text, code


def wrong(text: str) -> Refusal:
    """The program does not understand its words."""
    return Refusal(f"{text}\n", 255)


def illegal(text: str) -> Refusal:
    """A discipline or a filter does not understand its options."""
    return Refusal(f"{text}\n", 1)


def denied(text: str) -> Refusal:
    """The kernel would not, and says why."""
    return Refusal(f"Error: {text}.\n", 2)


def errno(name: str) -> Refusal:
    """The kernel would not, and gives no more than an errno's words."""
    return Refusal(f"RTNETLINK answers: {name}\n", 2)


NO_ENTRY, INVALID, EXISTS = "No such file or directory", "Invalid argument", "File exists"
NO_DEVICE, NO_ROOM = "No such device", "No space left on device"


def no_device(name: str, code: int = 1) -> Refusal:
    return Refusal(f'Cannot find device "{name}"\n', code)
