"""The words of `tc qdisc show`, `class show` and `filter show`: what of a port to show."""

from __future__ import annotations

from collections.abc import Callable

from . import units
from .complaint import wrong
from .edit_qdisc import once, read
from .show import Wanted
from .words import AT_EGRESS, AT_INGRESS, INGRESS, ROOT, Words, class_id, matches, protocol, qdisc_handle


def _qdiscs(words: Words) -> Wanted:
    wanted = Wanted()
    while words:
        word = words.take()
        if word in ("root", "ingress", "clsact") or matches(word, "parent") or matches(word, "handle"):
            if wanted.parent or wanted.handle:
                held = "parent" if wanted.parent else "handle"
                raise wrong(f'Error: argument "{word}" is wrong: {held} is already specified')
        match word:
            case "dev":
                wanted.device = words.take()
            case "root":
                wanted.parent = ROOT
            case "ingress" | "clsact":
                wanted.parent = INGRESS
            case "invisible":
                wanted.invisible = True
            case _ if matches(word, "parent"):
                wanted.parent = read(class_id, words.take(), "invalid parent ID")
            case _ if matches(word, "handle"):
                wanted.handle = read(qdisc_handle, words.take(), "invalid handle ID")
            case _:
                raise wrong(f'What is "{word}"? Try "tc qdisc help".')
    return wanted


def _classes(words: Words) -> Wanted:
    wanted = Wanted()
    while words:
        word = words.take()
        match word:
            case "dev":
                wanted.device = once("dev", wanted.device, words.take())
            case "qdisc":
                wanted.qdisc = read(qdisc_handle, words.take(), "invalid qdisc ID")
            case "classid":
                wanted.classid = read(class_id, words.take(), "invalid class ID")
            case "root" | "parent" if wanted.parent:
                raise wrong(f'Error: duplicate "parent": "{word}" is the second value.')
            case "root":
                wanted.parent = ROOT
            case "parent":
                wanted.parent = read(class_id, words.take(), "invalid parent ID")
            case _:
                raise wrong(f'What is "{word}"? Try "tc class help".')
    return wanted


def _filters(words: Words) -> Wanted:
    wanted, places = Wanted(), {"root": ROOT, "ingress": AT_INGRESS, "egress": AT_EGRESS}
    while words:
        word = words.take()
        if word == "dev":
            wanted.device = once("dev", wanted.device, words.take())
        elif word in places and wanted.parent:
            raise wrong(f'Error: "{word}" is duplicate parent ID')
        elif word in places:
            wanted.parent = places[word]
        elif word == "parent":
            wanted.parent = read(class_id, words.take(), "invalid parent ID")
        elif matches(word, "preference") or matches(word, "priority"):
            wanted.prio = read(units.whole, words.take(), "invalid preference")
        elif matches(word, "protocol"):
            wanted.protocol = read(protocol, words.take(), "invalid protocol")
        elif matches(word, "chain"):
            read(units.whole, words.take(), "invalid chain index value")
        else:
            raise wrong(f' What is "{word}"? Try "tc filter help"')
    return wanted


WANTED: dict[str, Callable[[Words], Wanted]] = {"qdisc": _qdiscs, "class": _classes, "filter": _filters}
