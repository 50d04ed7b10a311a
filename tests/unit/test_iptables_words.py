"""`run` beside the real iptables: the same words on an empty table print the same and end with the same code.

The real one is iptables-legacy in a namespace of the test's own; the program's name and variant are the only
differences that are smoothed out. Where the kernel's log would have to be read, the switch says the reason itself, so
of such lines only the beginning is compared. What differs by intent is in test_iptables_rules.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.lab import Lab, require_root
from vswitch.filter.iptables import Outcome, run
from vswitch.filter.model import Rulesets

LOGGED = "Run `dmesg' for more information."

ACCEPTED = """
-N user
-A INPUT -p tcp --syn --sport 1:2 ! --dport 80 -m comment --comment "hello w\\"orld" -j ACCEPT
-A INPUT -p tcp --tcp-flags ALL NONE --tcp-option 5 -c 123456 99999999
-A INPUT -p udp --dport 53 ! --sport 1000:2000 -i eth+ -j user
-A INPUT -p icmp --icmp-type 8 -g user
-A INPUT -p icmp ! --icmp-type 3/1
-A INPUT -p icmp --icmp-type any -s 1.2.3.4/255.0.255.0 ! -d 10.0.0.0/8
-A INPUT -f ! -i lo
-A INPUT ! -f
-A INPUT -s 0.0.0.0/0.0.0.0 -d 1.2.3.4 -j DROP
-I INPUT 2 -s 10.1/16,10.2/16 -p 99
-A INPUT -p icmp --icmp-type dest
-A INPUT -m conntrack --ctstate NEW,ESTABLISHED ! --ctproto 6 --ctorigsrc 10.0.0.0/8 --ctdir REPLY --ctexpire 1:2
-A INPUT -m conntrack --ctorigsrcport 1:2 ! --ctorigdstport 3 --ctstatus ASSURED,CONFIRMED ! --ctrepldst 2.2.2.2
-A INPUT -m state ! --state NEW,RELATED
-A INPUT -p tcp -m multiport ! --dports 80,443,1000:2000
-A INPUT -m mark ! --mark 5/7
-A INPUT -m connmark --mark 5
-A INPUT -m mac ! --mac-source aa:bb:cc:dd:ee:ff
-A INPUT -m physdev --physdev-in lo ! --physdev-is-in --physdev-is-bridged
-A INPUT -m limit --limit 5/min --limit-burst 7
-A INPUT -m iprange --src-range 1.1.1.1-1.1.1.2 ! --dst-range 2.2.2.2
-A INPUT -m length ! --length 5:7
-A INPUT -m tos --tos Minimize-Delay
-A INPUT -m dscp --dscp-class af11
-A INPUT -m ttl ! --ttl-eq 4
-A INPUT -m addrtype --src-type LOCAL,BROADCAST ! --dst-type UNICAST --limit-iface-in
-A INPUT -m pkttype ! --pkt-type otherhost
-A INPUT -j QUEUE
-A INPUT -j LOG --log-level debug --log-prefix "a b" --log-tcp-sequence --log-uid
-A INPUT -j MARK --set-mark 5/3
-A INPUT -j MARK --and-mark 5
-A INPUT -j CONNMARK --restore-mark --nfmask 1 --ctmask 2
-A INPUT -j CONNMARK --save-mark --right-shift-mark 3
-A INPUT -p tcp -j REJECT --reject-with tcp-rst
-A INPUT -j NFQUEUE --queue-balance 5:6 --queue-cpu-fanout
-A FORWARD ! -p tcp ! -o lo
-t mangle -A PREROUTING -j TTL --ttl-inc 5
-t mangle -A PREROUTING -j TOS --and-tos 5
-t mangle -A PREROUTING -j DSCP --set-dscp-class AF41
-t mangle -A POSTROUTING -j CLASSIFY --set-class 1:a
-t mangle -A FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu
-t raw -A PREROUTING -j CT --zone-reply 5 --ctevents new,related
-t raw -A PREROUTING -j NOTRACK
-t nat -A PREROUTING -p tcp -j DNAT --to 1.1.1.1-1.1.1.5:1-5/7 --random --persistent
-t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 5-6 --random
-t nat -A PREROUTING -j NETMAP --to 1.1.1.0/24
-t nat -A POSTROUTING -p tcp -j SNAT --to-source :5 --random-fully
-t nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 5-6 --random
-P FORWARD DROP
-E user guest
-D INPUT 3
-R INPUT 1 -p udp
-C INPUT -p udp
-v -A INPUT -s 1.2.3.4 -p tcp --dport 80 -j ACCEPT
-v -D INPUT -s 1.2.3.4 -p tcp --dport 80 -j ACCEPT
-S
-L
-nvL
-nvxL --line-numbers
-L INPUT 2 -n
-S INPUT 2
-vS
-t nat -nvL
-t nat -L
-t mangle -L
-t raw -S
-v -Z
-v -F
-v -X
-tmangle -nL
"""

ACCEPTED6 = """
-A INPUT -s fe80::1 ! -d fe80::/64 -p icmpv6 --icmpv6-type 1/3 -j REJECT
-A INPUT -s 2001:db8:1:1:1:1:1:1/48 -p icmpv6 --icmpv6-type neighbour-solicitation
-A INPUT -s fe80::/ffff::ff
-A INPUT -m frag ! --fragid 1:2 --fraglen 3 --fragres --fragfirst --fragmore
-A INPUT -m hl ! --hl-eq 5
-A INPUT -m conntrack --ctorigdst fe80::1
-A INPUT -m iprange --src-range fe80::1-fe80::2
-A INPUT -j REJECT --reject-with policy-fail
-t mangle -A INPUT -j HL --hl-dec 5
-t nat -A POSTROUTING -p tcp -j SNAT --to-source [fe80::1-fe80::2]:5-6
-t nat -A PREROUTING -p tcp -j DNAT --to-destination [fe80::1]:5
-t nat -A PREROUTING -j NETMAP --to fe80::/64
-v -A INPUT -s fe80::1 -i eth0 -j ACCEPT
-S
-vL
-nL
-t nat -nvL
-t mangle -S
"""

REFUSED6 = """
-A INPUT -f
-A INPUT -s 1.2.3.4
-A INPUT -j REJECT --reject-with icmp-port-unreachable
-A INPUT -m hl --hl-eq 256
-A INPUT -m hl
-A INPUT -m ttl --ttl-eq 4
-A INPUT -p icmpv6 --icmpv6-type foo
-t nat -A PREROUTING -j DNAT --to-destination [fe80::1]:5
"""

REFUSED = """
-A NOPE -j ACCEPT
-A INPUT -g NOPE
-A INPUT -m nope
-A INPUT --bogus
-A INPUT -p tcp --bogus
-A INPUT -p bogus
-A INPUT -p tcp --dport 99999
-A INPUT -p tcp --dport 5:3
-A INPUT -p tcp --dport
-A INPUT -s foo
-A INPUT -s 1.2.3.4/99
-A INPUT ! -s 1.2.3.4,1.2.3.5
-A INPUT -s ! 1.2.3.4
-A INPUT -s 1.1.1.1 -s 2.2.2.2
-D INPUT -j DROP
-C INPUT -j DROP
-D INPUT 9
-D INPUT 0
-R INPUT 9 -j DROP
-R INPUT -j DROP
-R INPUT 1 -s 1.2.3.4,1.2.3.5 -j DROP
-I INPUT 9 -j DROP
-I INPUT x -j DROP
-N INPUT
-N ACCEPT
-N thisisaveryveryverylongchainname
-N -x
-N !x
-X bar
-X INPUT
-E nope baz
-E INPUT x
-P INPUT FOO
-P nope DROP
-P INPUT
-L nope
-F nope
-Z nope
-A
-A INPUT -L
-t nat -A FORWARD -j ACCEPT
-t nat -A PREROUTING -j DROP
-A INPUT -j SNAT --to-source 1.1.1.1
-t nat -A PREROUTING -j SNAT --to-source 1.1.1.1
-A INPUT -p icmp -j REJECT --reject-with tcp-reset
-A INPUT -j REJECT --reject-with foo
-A INPUT -o eth0
-A OUTPUT -i eth0
-A INPUT -i ''
-A INPUT -i thisinterfaceistoolong
-A INPUT foo
-A INPUT -j ACCEPT -j DROP
-A INPUT ! -j ACCEPT
-A INPUT !
-A INPUT ! ! -s 1.1.1.1
! -A INPUT
-A INPUT -n
-A INPUT -c 1
-A INPUT -c x 1
-L -s 1.1.1.1
-F INPUT 1
-A INPUT -m conntrack
-A INPUT -m conntrack --ctstate NEW,foo
-A INPUT -m state
-A INPUT -m multiport --ports 1
-A INPUT -p tcp -m multiport
-A INPUT -m limit --limit 0/s
-A INPUT -m limit --limit-burst 10001
-A INPUT -m comment
-A INPUT -m mac --mac-source foo
-A OUTPUT -m mac --mac-source aa:bb:cc:dd:ee:ff
-A INPUT -m mark --mark foo
-A INPUT -m mark --mark 1 --mark 2
-A INPUT -m length --length x
-A INPUT -m ttl --ttl-eq 256
-A INPUT -m ttl
-A INPUT -m addrtype --src-type foo
-A INPUT -m iprange --src-range 1.1.1.1-
-A INPUT -m pkttype --pkt-type foo
-A INPUT -m dscp --dscp 64
-A INPUT -m tos --tos foo
-A INPUT -m physdev
-A INPUT -p icmp --icmp-type foo
-A INPUT -m tcp
-A INPUT -j MARK
-A INPUT -j CONNMARK
-A INPUT -j LOG --log-level foo
-A INPUT -j TTL --ttl-set 5
-t mangle -A FORWARD -p tcp -j TCPMSS --set-mss 5
-t mangle -A FORWARD -p tcp --syn -j TCPMSS
-t raw -A PREROUTING -j CT --zone 70000
-t nat -A POSTROUTING -j MASQUERADE --to-ports 5
-t nat -A POSTROUTING -j SNAT --to-source foo
-t nat -A POSTROUTING -j SNAT
-t nat -A PREROUTING -p tcp -j DNAT --to-destination 1.1.1.1:5-3
-t mangle -A POSTROUTING -j CLASSIFY --set-class foo
-A INPUT -p tcp --tcp-flags FOO SYN
-A INPUT -p tcp --tcp-option 0
-A INPUT -p tcp --dport 80 --dport 81
-A INPUT ! -p all
-A INPUT -p 256
-L INPUT x
"""

RESTORED = (
    "*filter\n:INPUT DROP [5:6]\n:new - [0:0]\n[7:8] -A INPUT -j new\n-A new -p tcp --dport 80\nCOMMIT\n",
    "*filter\n-A INPUT -j ACCEPT\n-A INPUT --bogus\nCOMMIT\n",
    "*filter\n-A INPUT -j ACCEPT\n",
    "*filter\n*nat\n",
    "*nope\nCOMMIT\n",
    "*filter\n:X Y Z\nCOMMIT\n",
    "*filter\n:INPUT FOO\nCOMMIT\n",
    "*filter\n:INPUT\nCOMMIT\n",
    "*filter\n-t nat -A INPUT\nCOMMIT\n",
    "# a word\n\n*filter\n-N a\n-A a -j ACCEPT\n-E a b\n-P INPUT ACCEPT\nCOMMIT\n*raw\nCOMMIT\n",
    "*nat\n-A POSTROUTING -j DROP\nCOMMIT\n",
)


class Said(NamedTuple):
    """What is compared of either program: stdout, stderr up to what the kernel's log would tell, and the code."""

    stdout: str
    stderr: str
    code: int


def real(lab: Lab) -> Callable[..., Said]:
    require_root(tun=False)
    if shutil.which("iptables-legacy") is None:
        pytest.skip("needs iptables-legacy")
    netns = lab.namespace("real")

    def call(program: str, *words: str, stdin: str = "") -> Said:
        name = program.replace("tables", "tables-legacy")
        done = subprocess.run(
            ["ip", "netns", "exec", netns, name, *words], input=stdin, capture_output=True, text=True, timeout=30
        )
        return Said(done.stdout, done.stderr.replace("(legacy)", "(vswitch)"), done.returncode)

    if call("iptables", "-S").code:
        pytest.skip("the kernel has no ip_tables")
    return call


def ours(outcome: Outcome) -> Said:
    return Said(outcome.stdout, outcome.stderr, outcome.code)


def alike(theirs: Said, said: Said) -> bool:
    if LOGGED in theirs.stderr:
        first = theirs.stderr.replace(f" {LOGGED}\n", "").rstrip(".")
        return said.code == theirs.code and said.stderr.startswith(first)
    return said == theirs


def lines(text: str) -> list[str]:
    return text.strip().split("\n")


@pytest.mark.parametrize(("program", "accepted"), [("iptables", ACCEPTED), ("ip6tables", ACCEPTED6)])
def test_accepted_words_print_alike(lab: Lab, program: str, accepted: str) -> None:
    iptables = real(lab)
    rulesets, counters = Rulesets(), {}
    for line in lines(accepted):
        words = shlex.split(line)
        outcome = run(program, words, "", rulesets, counters)
        rulesets = outcome.rulesets
        counters |= outcome.set_counters
        for number in outcome.zero:
            counters.pop(number, None)
        assert outcome.code == 0, line
        assert ours(outcome) == iptables(program, *words), line


@pytest.mark.parametrize(("program", "refused"), [("iptables", REFUSED), ("ip6tables", REFUSED6)])
def test_refused_words_are_refused_alike(lab: Lab, program: str, refused: str) -> None:
    iptables = real(lab)
    for line in lines(refused):
        words = shlex.split(line)
        said = ours(run(program, words))
        assert said.code, line
        theirs = iptables(program, *words)
        assert alike(theirs, said), (line, theirs, said)


@pytest.mark.parametrize("text", RESTORED)
@pytest.mark.parametrize("options", [(), ("-c",), ("-n",), ("-t",)])
def test_restore_alike(lab: Lab, text: str, options: tuple[str, ...]) -> None:
    iptables = real(lab)
    outcome = run("iptables-restore", options, text)
    assert ours(outcome) == iptables("iptables-restore", *options, stdin=text)
    saved = run("iptables-save", ["-t", "filter", "-c"], "", outcome.rulesets, outcome.set_counters)
    theirs = iptables("iptables-save", "-t", "filter", "-c")
    assert uncommented(saved.stdout) == uncommented(theirs.stdout)


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#.*\n", "", text)
