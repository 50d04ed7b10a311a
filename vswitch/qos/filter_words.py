"""The words of `tc filter add`, `change`, `replace` and `del`, up to those that the classifier reads."""

from __future__ import annotations

from dataclasses import dataclass

from . import units
from .complaint import Refusal, wrong
from .edit_qdisc import How, once, read
from .filters import CLASSIFIERS, Ask
from .words import ALL, AT_EGRESS, AT_INGRESS, ROOT, Words, class_id, matches, protocol

_USAGE = """Usage: tc filter { add | del | change | replace } dev STRING [ root | ingress | parent CLASSID ]
          [ pref PRIO ] [ protocol PROTO ] [ handle FILTERID ] [ { u32 | fw | flower | matchall } OPTIONS ]
       tc filter show [ dev STRING ] [ root | ingress | parent CLASSID ] [ pref PRIO ] [ protocol PROTO ]"""
COMMANDS = {
    "add": How.CREATE | How.EXCLUSIVE, "change": How.CHANGE, "replace": How.CREATE, "delete": How.DELETE
}  # fmt: skip


@dataclass(slots=True)
class Request:
    device: str = ""
    parent: int = 0
    prio: int = 0
    protocol: int | None = None
    handle: str | None = None
    kind: str = ""
    ask: Ask | None = None
    rest: Words | None = None  # what the classifier is to read, once the port is known to be there


def parse(words: Words) -> Request:
    """All but what the classifier reads: tc looks for the device before that."""
    request = Request()
    while words:
        word = words.take()
        match word:
            case "dev":
                request.device = once("dev", request.device, words.take())
            case "handle":
                request.handle = once("handle", request.handle or "", words.take())
            case "root" | "ingress" | "egress":
                if request.parent:
                    raise wrong(f'Error: "{word}" is duplicate parent ID')
                request.parent = {"root": ROOT, "ingress": AT_INGRESS, "egress": AT_EGRESS}[word]
            case "parent":
                text = words.take()
                if request.parent:
                    raise wrong(f'Error: duplicate "parent": "{text}" is the second value.')
                request.parent = read(class_id, text, "Invalid parent ID")
            case _ if word and not _common(word, request, words):
                request.kind, request.rest = word, words
                return request
    if request.handle:
        raise wrong('Must specify filter type when using "handle"')
    return request


def _common(word: str, request: Request, words: Words) -> bool:
    if matches(word, "preference") or matches(word, "priority"):
        text = words.take()
        if request.prio:
            raise wrong(f'Error: duplicate "priority": "{text}" is the second value.')
        request.prio = read(lambda text: units.whole(text, 0, 0xFFFF), text, "invalid priority value")
    elif matches(word, "protocol"):
        text = words.take()
        if request.protocol is not None:
            raise wrong(f'Error: duplicate "protocol": "{text}" is the second value.')
        request.protocol = read(protocol, text, "invalid protocol")
    elif matches(word, "chain"):
        if read(units.whole, words.take(), "invalid chain index value"):
            raise Refusal("Error: chain: the switch has chain 0 only.\n", 2)
    elif matches(word, "block") or matches(word, "estimator"):
        raise Refusal(f"Error: {word}: the switch has no such thing.\n", 2)
    elif matches(word, "help"):
        raise Refusal(f"{_USAGE}\n", 0)
    else:
        return False
    return True


def read_rest(request: Request, how: How) -> None:
    """Have the classifier read its part."""
    if request.protocol is None and How.CREATE in how:
        request.protocol = ALL
    if request.kind in CLASSIFIERS and request.rest is not None:
        request.ask = CLASSIFIERS[request.kind].parse(request.handle, request.protocol or 0, request.rest)
    elif request.kind and request.rest:
        raise wrong(f'Unknown filter "{request.kind}", hence option "{request.rest.next}" is unparsable')
