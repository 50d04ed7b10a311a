"""tcp.pxd and window.pxd: segments in, what they count as and the connection's state out, as the kernel has it."""

from __future__ import annotations

import pytest

pytest.importorskip("vswitch._fastpath._probe_conntrack", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.conntrack_wire import Wire, segment

OPEN = [("> S 100", "NEW", "SYN_SENT"), ("< SA 500 101", "ESTABLISHED<", "SYN_RECV"),
        ("> A 101 501", "ESTABLISHED", "ESTABLISHED!")]
CLOSED = [*OPEN, ("> FA 101 501", "ESTABLISHED", "FIN_WAIT!"), ("< FA 501 102", "ESTABLISHED<", "LAST_ACK!"),
          ("> A 102 502", "ESTABLISHED", "TIME_WAIT!")]

SEQUENCES = {
    "handshake, data both ways": [*OPEN, ("> PA 101 501 len=10", "ESTABLISHED", "ESTABLISHED!"),
                                  ("< A 501 111", "ESTABLISHED<", "ESTABLISHED!")],
    "a SYN again": [OPEN[0], ("> S 100", "NEW", "SYN_SENT"), *OPEN[1:]],
    "a SYN with another number": [OPEN[0], ("> S 900", "NEW", "SYN_SENT"),
                                  ("< SA 500 901", "ESTABLISHED<", "SYN_RECV")],
    "a SYN/ACK again": [*OPEN[:2], OPEN[1], OPEN[2]],
    "a SYN/ACK for another SYN": [OPEN[0], ("< SA 500 999", "INVALID", "SYN_SENT")],
    "an ACK before the SYN/ACK": [OPEN[0], ("> A 101 501", "INVALID", "SYN_SENT")],
    "both ends send a SYN": [OPEN[0], ("< S 500", "ESTABLISHED<", "SYN_SENT2"),
                             ("> SA 100 501", "ESTABLISHED", "SYN_RECV"),
                             ("< A 501 101", "ESTABLISHED<", "ESTABLISHED!")],
    "refused": [OPEN[0], ("< RA 0 101", "ESTABLISHED<", "")],
    "aborted by the client": [*OPEN, ("> R 101 0", "ESTABLISHED", "CLOSE!")],
    "a RST that is not quite right": [*OPEN, ("> PA 101 501 len=10", "ESTABLISHED", "ESTABLISHED!"),
                                      ("< A 501 111", "ESTABLISHED<", "ESTABLISHED!"),
                                      ("> R 120 0", "ESTABLISHED", "ESTABLISHED!")],
    "a RST that is too old": [*OPEN, ("> PA 101 501 len=10", "ESTABLISHED", "ESTABLISHED!"),
                              ("< A 501 111", "ESTABLISHED<", "ESTABLISHED!"),
                              ("> R 105 0", "INVALID", "ESTABLISHED!")],
    "a RST beyond the window": [*OPEN, ("> R 90000 0", "INVALID", "ESTABLISHED!")],
    "a RST beyond all windows, once closing": [*CLOSED[:4], ("< R 90000 0", "ESTABLISHED<", "CLOSE!"),
                                               ("> RA 5 5", "ESTABLISHED", "CLOSE!")],
    "an opener's RST refuses no SYN of its own": [OPEN[0], ("< SA 200 4294897396", "ESTABLISHED<", "SYN_SENT"),
                                                  ("> R 100000 0", "INVALID", "SYN_SENT")],
    "a half-open connection, found by a SYN": [OPEN[0], ("< A 7000 9000", "ESTABLISHED<", "SYN_SENT"),
                                               ("> R 9000 0", "ESTABLISHED", "CLOSE")],
    "a half-open connection, reset out of window by the number that its own ACK came to": [
        *OPEN[:2], ("< PA 501 101 len=100", "ESTABLISHED<", "SYN_RECV"), ("< R 90000 601", "ESTABLISHED<", "CLOSE")],
    "closed by the client": CLOSED,
    "closed by the server": [*OPEN, ("< FA 501 101", "ESTABLISHED<", "FIN_WAIT!"),
                             ("> A 101 502", "ESTABLISHED", "CLOSE_WAIT!"),
                             ("> FA 101 502", "ESTABLISHED", "LAST_ACK!"),
                             ("< A 502 102", "ESTABLISHED<", "TIME_WAIT!")],
    "half closed: the other end goes on": [*OPEN, ("> FA 101 501", "ESTABLISHED", "FIN_WAIT!"),
                                           ("< A 501 102 len=50", "ESTABLISHED<", "CLOSE_WAIT!"),
                                           ("> A 102 551", "ESTABLISHED", "CLOSE_WAIT!")],
    "opened anew after a proper end": [*CLOSED, ("> S 7000", "NEW", "SYN_SENT")],
    "opened anew after an abort": [*OPEN, ("> R 101 0", "ESTABLISHED", "CLOSE!"), ("> S 7000", "NEW", "SYN_SENT")],
    "the other end's abort does not reopen": [*OPEN, ("< R 501 0", "ESTABLISHED<", "CLOSE!"),
                                              ("> S 7000", "ESTABLISHED", "CLOSE!")],
    "a SYN in the middle, answered": [*OPEN, ("> S 7000", "ESTABLISHED", "ESTABLISHED!"),
                                      ("< SA 9000 7001", "ESTABLISHED<", "SYN_RECV!"),
                                      ("> A 7001 9001", "ESTABLISHED", "ESTABLISHED!")],
    "a SYN in the middle, challenged": [*OPEN, ("> S 7000", "ESTABLISHED", "ESTABLISHED!"),
                                        ("< A 501 101", "ESTABLISHED<", "ESTABLISHED!"),
                                        ("> R 101 0", "ESTABLISHED", "CLOSE!")],
    "picked up in its middle": [("> A 101 501", "NEW", "ESTABLISHED"), ("< A 501 101", "ESTABLISHED<", "ESTABLISHED"),
                              ("> A 101 501", "ESTABLISHED", "ESTABLISHED!")],
    "picked up by a FIN": [("> FA 101 501", "INVALID", "")],
    "a SYN/ACK alone": [("> SA 101 501", "INVALID", "")],
    "flags that nobody sends together": [("> SF 100", "INVALID", ""), ("> SR 100", "INVALID", ""),
                                         ("> - 100", "INVALID", ""), ("> FPU 100", "INVALID", "")],
    "data beyond the window": [*OPEN, ("> PA 20000 501 len=10", "INVALID", "ESTABLISHED!")],
    "a little beyond the window": [*OPEN, ("> PA 101 501 len=8192", "ESTABLISHED", "ESTABLISHED!"),
                                   ("> PA 8294 501 len=10", "ESTABLISHED", "ESTABLISHED!")],
    "an ACK of what was not sent": [*OPEN, ("> A 101 9000", "INVALID", "ESTABLISHED!")],
    "old data again": [*OPEN, ("> PA 101 501 len=100", "ESTABLISHED", "ESTABLISHED!"),
                       ("> PA 101 501 len=100", "ESTABLISHED", "ESTABLISHED!")],
}


@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES)
def test_sequence(steps: list[tuple[str, str, str]]) -> None:
    wire = Wire()
    for text, info, state in steps:
        assert (text, wire.send(segment(text)), wire.state()) == (text, info, state)


def test_sequence_numbers_wrap() -> None:
    wire, base = Wire(), 2**32 - 50
    wire.send(segment(f"> S {base}"))
    wire.send(segment(f"< SA {base} {base + 1}"))
    assert wire.send(segment(f"> PA {base + 1} {base + 1} len=100")) == "ESTABLISHED"
    assert wire.send(segment(f"< A {base + 1} {base + 101}")) == "ESTABLISHED<"
    assert wire.send(segment(f"> A {base + 101} {base + 90000}")) == "INVALID"


SCALE = [("NOP", None), ("WScale", 7)]


@pytest.mark.parametrize(("offered", "answered", "info"), [
    (SCALE, SCALE, "ESTABLISHED"), (SCALE, None, "INVALID"), (None, SCALE, "INVALID"), (None, None, "INVALID"),
], ids=["both", "client alone", "server alone", "neither"])
def test_window_scale(offered: list | None, answered: list | None, info: str) -> None:
    """A window of 1,000 is 128,000 bytes once both have offered a scale of 7."""
    wire = Wire()
    wire.send(segment("> S 100 win=1000", offered))
    wire.send(segment("< SA 500 101 win=1000", answered))
    wire.send(segment("> A 101 501 win=1000"))
    wire.send(segment("< A 501 101 win=1000"))
    assert wire.send(segment("> PA 100101 501 len=10")) == info


@pytest.mark.parametrize("permitted", [True, False])
def test_sack_moves_the_window(permitted: bool) -> None:
    """With SACK agreed, a block beyond what was sent makes the segment INVALID; without, the option says nothing."""
    wire, options = Wire(), [("SAckOK", b"")] if permitted else None
    wire.send(segment("> S 100", options))
    wire.send(segment("< SA 500 101", options))
    wire.send(segment("> A 101 501"))
    blocks = [("NOP", None), ("NOP", None), ("SAck", (6000, 7000))]
    assert wire.send(segment("< A 501 101", blocks)) == ("INVALID" if permitted else "ESTABLISHED<")
    wire.send(segment("> PA 101 501 len=100"))
    assert wire.send(segment("< A 501 101", [("NOP", None), ("NOP", None), ("SAck", (151, 201))])) == "ESTABLISHED<"


@pytest.mark.parametrize("raw", [b"\x05", b"\x03\x03", b"\x05\x00\x01\x01", b"\x05\xff\x01\x01", b"\x02\x01\x03\x03"])
def test_options_that_lie(raw: bytes) -> None:
    """They end the options and nothing else."""
    wire = Wire()
    whole = bytearray(segment("> S 100", [("NOP", None)] * 4))
    whole[40:40 + len(raw)] = raw[:4]
    assert wire.send(bytes(whole)) == "NEW"


@pytest.mark.parametrize("sysctl", ["nf_conntrack_tcp_be_liberal", "nf_conntrack_tcp_loose"])
def test_switches(sysctl: str) -> None:
    wire = Wire()
    wire.table.set_timeouts({sysctl: 1 if sysctl.endswith("liberal") else 0})
    if sysctl.endswith("loose"):
        assert wire.send(segment("> A 101 501")) == "INVALID"
        return
    for text, _, _ in OPEN:
        wire.send(segment(text))
    assert wire.send(segment("> PA 90000 501 len=10")) == "ESTABLISHED"


@pytest.mark.parametrize(("texts", "timeout"), [
    ([OPEN[0][0]], 120), ([s[0] for s in OPEN[:2]], 60), ([s[0] for s in OPEN], 432000),
    ([*(s[0] for s in OPEN), "> PA 101 501 len=10"], 300), ([s[0] for s in CLOSED], 120),
    ([*(s[0] for s in OPEN), "> R 101 0"], 10), (["> A 101 501"], 300),
    ([*(s[0] for s in OPEN), *["< A 501 101"] * 5], 300), ([*(s[0] for s in OPEN), "< A 501 101 win=0"], 300),
], ids=["SYN_SENT", "SYN_RECV", "ESTABLISHED", "unacknowledged", "TIME_WAIT", "CLOSE", "one end heard", "retransmitted",
        "window closed"])
def test_timeouts(texts: list[str], timeout: int) -> None:
    wire = Wire()
    for text in texts:
        wire.send(segment(text))
    (row,) = wire.rows()
    assert row.timeout_s == timeout


def test_a_syn_again_does_not_renew() -> None:
    wire = Wire()
    wire.send(segment("> S 100"))
    wire.now += 100
    wire.send(segment("> S 100"))
    assert wire.rows()[0].timeout_s == 20
    wire.now += 20
    assert wire.rows() == []


def test_fin_out_of_window_from_both_ends_shortens() -> None:
    wire = Wire()
    for text, _, _ in OPEN:
        wire.send(segment(text))
    assert wire.send(segment("> FA 90000 501")) == "INVALID"
    assert wire.rows()[0].timeout_s == 432000
    assert wire.send(segment("< FA 90000 101")) == "INVALID"
    assert wire.rows()[0].timeout_s == 300
