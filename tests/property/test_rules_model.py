"""The rule engine against its model (tests/rules.py): random chains, random packets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules import NEW, NONE16, Conn, Pkt, State, engine, evaluate, ip16, net16
from vswitch.filter.view import ChainView, Interfaces, MatchOp, RuleView, TargetOp

HOSTS = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.168.7.9"]
NETS = ["10.0.0.0/8", "10.0.0.0/31", "10.0.0.1/32", "0.0.0.1/0.0.0.255", "0.0.0.0/0"]
PORTS = st.sampled_from([(80, 80), (0, 65535), (1000, 1001), (81, 90), (9, 3)])
MARKS = st.sampled_from([0, 1, 2, 3, 0x100, 0xFFFFFFFF])
MASKS = st.sampled_from([0xFFFFFFFF, 1, 3, 0x100])
FLAGS = st.integers(0, 1)

nets = st.sampled_from([net16(text) for text in NETS])
interfaces = st.builds(Interfaces, st.sampled_from([0, 2, 4, 6]), st.sampled_from([0, 1, 3]))


def asking(op, args):
    return st.tuples(st.just(int(op)), FLAGS, args)


matches = st.one_of(
    asking(MatchOp.MULTIPORT, st.tuples(st.integers(0, 2), st.lists(PORTS, min_size=1, max_size=3).map(tuple))),
    asking(MatchOp.TCP_FLAGS, st.sampled_from([(0x17, 0x02), (0x02, 0), (0x10, 0x10), (0x3F, 0x10)])),
    asking(MatchOp.CTSTATE, st.sampled_from([1, 2, 8, 10, 64, 128, 256, 4]).map(lambda bits: (bits,))),
    asking(MatchOp.MARK, st.tuples(MARKS, MASKS)),
    asking(MatchOp.CONNMARK, st.tuples(MARKS, MASKS)),
    asking(MatchOp.MAC, st.sampled_from([(bytes.fromhex("525400000001"),), (bytes.fromhex("525400000002"),)])),
    asking(MatchOp.LENGTH, st.sampled_from([(40, 40), (0, 100), (101, 65535)])),
    asking(MatchOp.TOS, st.sampled_from([(0, 255), (0x10, 0x1C), (0xB8, 0xFC)])),
    asking(MatchOp.TTL, st.sampled_from([(64, 64), (0, 63), (65, 255), (1, 0)])),
    asking(MatchOp.PKTTYPE, st.integers(0, 2).map(lambda kind: (kind,))),
    asking(MatchOp.SRC_RANGE, st.just((ip16("10.0.0.1"), ip16("10.0.255.255")))),
    asking(MatchOp.DST_RANGE, st.just((ip16("10.0.0.2"), ip16("10.1.0.1")))),
    asking(MatchOp.CTORIGSRC, nets),
    asking(MatchOp.CTREPLSRC, nets),
    asking(MatchOp.CTORIGDSTPORT, PORTS),
    asking(MatchOp.CTSTATUS, st.sampled_from([(2,), (16,), (32,), (6,)])),
    asking(MatchOp.CTDIR, st.integers(0, 1).map(lambda way: (way,))),
)
own = st.tuples(
    st.none() | asking(MatchOp.SRC, nets),
    st.none() | asking(MatchOp.DST, nets),
    st.none() | asking(MatchOp.IN, interfaces),
    st.none() | asking(MatchOp.OUT, interfaces),
    st.none() | asking(MatchOp.PROTO, st.sampled_from([(6,), (17,)])),
    st.none() | asking(MatchOp.FRAGMENT, st.just(())),  # the rule's own option: asked before any match, as in the kernel
    st.none() | asking(MatchOp.DPORT, PORTS),
    st.none() | asking(MatchOp.SPORT, PORTS),
).map(lambda found: [match for match in found if match])
edits = st.one_of(
    st.tuples(st.just(TargetOp.MARK), st.tuples(MARKS, MASKS)),
    st.tuples(st.just(TargetOp.CONNMARK), st.tuples(st.integers(0, 2), MARKS, MASKS, MASKS, st.integers(-9, 9))),
    st.tuples(st.just(TargetOp.TOS), st.sampled_from([(0x10, 0xFF), (0xB8, 0xFC), (1, 0)])),
    st.tuples(st.just(TargetOp.TTL), st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 200]))),
    st.tuples(st.just(TargetOp.CLASSIFY), st.just((0x10002,))),
    st.just((TargetOp.NONE, ())),
)


def does(callees):
    ends = [(TargetOp.ACCEPT, ()), (TargetOp.DROP, ()), (TargetOp.RETURN, ()), (TargetOp.REJECT, (0x0303,))]
    leads = [(op, (number,)) for op in (TargetOp.JUMP, TargetOp.GOTO) for number in callees]
    return st.one_of(edits, st.sampled_from(ends), *[st.sampled_from(leads)] * bool(leads))


@st.composite
def chain_lists(draw):
    """mangle's and filter's FORWARD and their user chains; each may only call later ones, so there is no circle."""
    chains, number = [], 10
    for table in (1, 3):
        first = len(chains)
        for index in range(3):
            callees = range(first + max(index + 1, 1), first + 3)
            rules = []
            for _ in range(draw(st.integers(0, 4))):
                asked = draw(own) + draw(st.lists(matches, max_size=2))
                rules.append(RuleView(number, tuple(asked), draw(does(callees))))
                number += 1
            policy = draw(st.sampled_from([TargetOp.ACCEPT, TargetOp.DROP])) if index == 0 else TargetOp.ACCEPT
            chains.append(ChainView(table, 2 if index == 0 else None, rules, policy, table if index == 0 else 0))
    return chains


varying = st.fixed_dictionaries(
    {
        "tos": st.sampled_from([0, 0x10, 0xB8]),
        "ttl": st.sampled_from([1, 63, 64, 255]),
        "tcp_flags": st.sampled_from([0x02, 0x10, 0x18, 0x11]),
        "payload": st.sampled_from([0, 60, 61]),
        "mac_src": st.sampled_from(["52:54:00:00:00:01", "52:54:00:00:00:02"]),
        "mac_dst": st.sampled_from(["52:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"]),
        "in_port": st.sampled_from([1, 2]),
        "in_dev": st.sampled_from([0, 1]),
        "out_port": st.sampled_from([1, 2, NONE16]),
        "out_dev": st.sampled_from([0, NONE16]),
        "mark": MARKS,
    }
)
packets = st.builds(
    lambda more, **fields: Pkt(**fields, **more),
    varying,
    src=st.sampled_from(HOSTS),
    dst=st.sampled_from(HOSTS),
    proto=st.sampled_from([6, 17]),
    sport=st.sampled_from([80, 1000]),
    dport=st.sampled_from([80, 1000]),
    fragment=st.booleans(),
    cut=st.sampled_from([None, None, None, 7]),
)
BUSY = range(1, 60)


def busy_tables(chains):
    busy = {chain.table for chain in chains if chain.rules or chain.policy == TargetOp.DROP}
    return sorted(busy)


def model_way(chains, state):
    """mangle, then filter; a table without a rule counts nothing."""
    for table in busy_tables(chains):
        verdict = evaluate(chains, table, 2, state)
        if verdict != "ACCEPT":
            return verdict
    return "ACCEPT"


def shown(parcel):
    return {name: getattr(parcel, name) for name in ("mark", "tos", "ttl", "class_id")}


def expected(state):
    return {"mark": state.pkt.mark, "tos": state.pkt.tos, "ttl": state.pkt.ttl, "class_id": state.class_id}


@settings(max_examples=100, deadline=None)
@given(chain_lists(), st.lists(packets, min_size=1, max_size=6), st.booleans())
def test_walks_do_what_the_model_says(chains, packets, tracked):
    run = engine(chains)
    counted = Counter()
    for pkt in packets:
        conn = Conn() if tracked else None
        pkt = replace(pkt, ct_info=NEW if tracked else 0)
        state = State(pkt, conn)
        parcel, entry = pkt.parcel(), conn and conn.entry()
        verdict = model_way(chains, state)
        assert run.judge(parcel, entry, cached=False)["verdict"] == verdict
        counted += state.counted
        assert shown(parcel) == expected(state)
        assert entry is None or entry.mark == conn.mark
        assert parcel.content[:14] + parcel.content[14:] == edited_frame(pkt, state)
    assert {number: run.counters.get(number)[0] for number in BUSY if run.counters.get(number)[0]} == counted


def edited_frame(pkt, state):
    return replace(pkt, tos=state.pkt.tos, ttl=state.pkt.ttl).frame()
