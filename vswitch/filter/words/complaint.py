"""What iptables says when it refuses, and with which exit code it ends.

A word that cannot be taken is a parameter problem: `iptables v1.8.9 (vswitch): WHY`, a hint, and code 2. What the rules
that are there do not allow is `iptables: WHY` and code 1. In a restore both also name the line.
"""

from __future__ import annotations

VERSION = "v1.8.9 (vswitch)"

PARAMETER = 2
MISSING = 3  # no such table


class Complaint(Exception):
    """A parameter problem. `bare` ones are said without the program's name before them."""

    def __init__(self, why: str, code: int = PARAMETER, bare: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.code = code
        self.bare = bare

    def said(self, program: str, line: int | None = None) -> str:
        """The text for stderr, with its line's end."""
        first = self.why if self.bare else f"{program} {VERSION}: {self.why}"
        at = "" if line is None else f"Error occurred at line: {line}\n"
        if self.code == MISSING:
            hint = f"Perhaps {program} or your kernel needs to be upgraded."
        else:
            hint = f"Try `{program} -h' or '{program} --help' for more information."
        return f"{first}\n{at}{hint}\n"


class Refused(Exception):
    """The rules that are there do not allow it: code 1. `detail` says what iptables leaves to the kernel's log."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.detail = detail

    def said(self, program: str, line: int | None = None) -> str:
        """iptables points to the kernel's log for details; here they are said at once."""
        if line is None:
            return f"{program}: {self.why}.{' ' + self.detail + '.' if self.detail else ''}\n"
        return f"{program}: line {line} failed: {self.why}{': ' + self.detail if self.detail else ''}.\n"


class Usage(Exception):
    """The program ends at once, with this said."""

    def __init__(self, code: int, stdout: str = "", stderr: str = "") -> None:
        super().__init__(stderr)
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


NO_CHAIN = "No chain/target/match by that name"
INVALID = "Invalid argument"
