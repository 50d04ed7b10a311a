"""Rules as iptables-restore reads them: the same text for the switch and for the kernel."""

from __future__ import annotations


def restore_text(count: int) -> str:
    """`count` rules of FORWARD: the first accepts what is established, no other matches the load."""
    known = ["-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"] if count else []
    others = [f"-A FORWARD -s 192.0.2.{n % 256}/32 -p tcp -m tcp --dport {n + 1} -j DROP"
              for n in range(count - 1)]
    return "\n".join(["*filter", *known, *others, "COMMIT", ""])
