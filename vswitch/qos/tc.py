"""tc as a pure function of the traffic control that is there.

`run` takes the arguments, the ports with what they have, and statistics, and answers what the real program would print
and end with, and the traffic control of the one port that the command changed. It does nothing: whoever calls it puts
that to use. If the program fails, nothing is to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import edit_class, edit_filter, edit_qdisc, filter_words, show
from .complaint import NO_DEVICE, Refusal, errno, no_device, wrong
from .draft import Draft
from .edit_qdisc import How
from .model import NOTHING, Link, TrafficControl
from .printer import Printer
from .show import Stats
from .show_words import WANTED
from .words import Words, matches

COMMANDS = {"qdisc": edit_qdisc.COMMANDS, "class": edit_class.COMMANDS, "filter": filter_words.COMMANDS}
VERSION = "tc utility, iproute2-6.1.0, spoken by vswitch"
_USAGE = """Usage: tc [ OPTIONS ] { qdisc | class | filter } { COMMAND | help }
OPTIONS := { -s[tatistics] | -d[etails] | -j[son] | -p[retty] | -V[ersion] }"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. `port` is the one whose traffic control is now `control`; "": none."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    port: str = ""
    control: TrafficControl = NOTHING


class Ports(Protocol):
    """The ports by name, each with its link and what it has, and the statistics of one."""

    def __iter__(self) -> Any: ...
    def link(self, name: str) -> Link | None: ...
    def control(self, name: str) -> TrafficControl: ...
    def stats(self, name: str) -> Stats: ...


def run(argv: Sequence[str], ports: Ports) -> Outcome:
    words = Words(argv)
    try:
        out = _flags(words)
        if not words:
            return Outcome(stderr=f"{_USAGE}\n")
        return _object(words, ports, out)
    except _Version:
        return Outcome(stdout=f"{VERSION}\n")
    except Refusal as refusal:
        return Outcome(stderr=refusal.text, code=refusal.code)


class _Version(Exception):
    pass


def _flags(words: Words) -> Printer:
    flags = dict.fromkeys(("json", "pretty", "stats", "details"), False)
    spelled = {"-stats": "stats", "-statistics": "stats", "-details": "details", "-pretty": "pretty", "-json": "json"}
    while words.next.startswith("-"):
        word = words.take()
        name = next((name for name in (*spelled, "-Version", "-help") if matches(word, name)), None)
        if name == "-Version":
            raise _Version
        if name == "-help":
            raise Refusal(f"{_USAGE}\n", 0)
        if name is None:
            raise wrong(f'Option "{word}" is unknown, try "tc -help".')
        flags[spelled[name]] = True
    return Printer(flags["json"], flags["pretty"], flags["stats"], flags["details"])


def _object(words: Words, ports: Ports, out: Printer) -> Outcome:
    word = words.take()
    if matches(word, "help"):
        raise Refusal(f"{_USAGE}\n", 0)
    name = next((name for name in COMMANDS if matches(word, name)), None)
    if name is None:
        if any(matches(word, other) for other in ("chain", "actions", "monitor", "exec")):
            raise wrong(f'Object "{word}" is not there: the switch has qdisc, class and filter.')
        raise wrong(f'Object "{word}" is unknown, try "tc help".')
    commands = COMMANDS[name]
    if not words:
        return _list(name, words, ports, out)
    word = words.take()
    command = next((command for command in commands if matches(word, command)), None)
    if command is not None:
        return _modify(name, commands[command], words, ports)
    if any(matches(word, other) for other in ("list", "show", "lst")) or word == "ls":
        return _list(name, words, ports, out)
    if matches(word, "help"):
        raise Refusal(f"{_USAGE}\n", 0)
    if name == "filter" and matches(word, "get"):
        raise wrong('The switch shows filters by "tc filter show".')
    raise wrong(f'Command "{word}" is unknown, try "tc {name} help".')


# Changing


def _modify(name: str, how: How, words: Words, ports: Ports) -> Outcome:
    draft = Draft(NOTHING, Link(""))
    port = ""

    def found(device: str) -> Draft:
        nonlocal draft, port
        link = ports.link(device) if device else None
        if device and link is None:
            raise no_device(device)
        if link is None:
            raise Refusal(errno(NO_DEVICE).text + edit_filter.AFTER * (name == "filter"), 2)
        port, draft = device, Draft(ports.control(device), link)
        return draft

    _edit(name, how, words, found)
    return Outcome(stderr=draft.warnings, port=port, control=draft.freeze())


def edit(draft: Draft, argv: Sequence[str]) -> None:
    """One command that changes, without the word dev: a line of the configuration. Raises Refusal."""
    words = Words(argv)
    word = words.take()
    name = next((name for name in COMMANDS if matches(word, name)), None)
    if name is None:
        raise wrong(f'Object "{word}" is unknown, try "tc help".')
    word = words.take()
    command = next((command for command in COMMANDS[name] if matches(word, command)), None)
    if command is None:
        raise wrong(f'Command "{word}" is unknown, try "tc {name} help".')

    def found(device: str) -> Draft:
        if device:
            raise wrong('Error: "dev" is the port of the section; leave it out')
        return draft

    _edit(name, COMMANDS[name][command], words, found)


def _edit(name: str, how: How, words: Words, found: Callable[[str], Draft]) -> None:
    """`found` gives the draft of the port that is named, or refuses."""
    if name == "filter":
        request = filter_words.parse(words)
        draft = found(request.device)
        filter_words.read_rest(request, how)
        edit_filter.carry_out(draft, how, request)
    elif name == "class":
        asked = edit_class.parse(words)
        edit_class.carry_out(found(asked.device), how, asked)
    else:
        wanted = edit_qdisc.parse(words)
        edit_qdisc.carry_out(found(wanted.device), how, wanted)


# Listing


def _list(name: str, words: Words, ports: Ports, out: Printer) -> Outcome:
    wanted = WANTED[name](words)
    if wanted.device and ports.link(wanted.device) is None:
        raise no_device(wanted.device)
    names = [wanted.device] if wanted.device else list(ports) if name == "qdisc" else []
    for port in names:
        control = ports.control(port)
        match name:
            case "qdisc":
                show.qdiscs(port, control, ports.stats(port) if out.stats else {}, wanted, out)
            case "class":
                show.classes(port, control, ports.stats(port) if out.stats else {}, wanted, out)
            case _:
                show.filters(port, control, wanted, out)
    return Outcome(stdout=out.result())
