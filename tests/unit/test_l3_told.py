"""Every reason for which a service ignores a message is known to the metrics, from 0 on, and none that is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from vswitch.l3 import told

L3 = Path(told.__file__).parent
RAISED = re.compile(r'(?:Malformed|Ignored|NoAddress)\("([^"]+)"\)|Fault\(Code\.(\w+)\)|ignored\["([^"]+)"\]')
OF_ICMP, OF_UDP = "not ICMPv6", "not UDP"


def reasons(*sources: str) -> set[str]:
    """What these files raise, or count by name."""
    text = "".join((L3 / source).read_text() for source in sources)
    return {next(filter(None, found)) for found in RAISED.findall(text)}


@pytest.mark.parametrize(
    ("sources", "listed", "other"),
    [
        (("wire.py", "dhcp/server.py", "dhcp/leases.py", "dhcp/message.py", "dhcp/identity.py"), told.DHCP_IGNORED, OF_ICMP),
        (("wire.py", "dns/server.py", "dns/message.py"), told.DNS_IGNORED, OF_ICMP),
        (("wire.py", "ra.py"), told.RA_IGNORED, OF_UDP),
    ],
)  # fmt: skip
def test_the_lists_are_complete(sources: Iterable[str], listed: tuple[str, ...], other: str) -> None:
    assert len(set(listed)) == len(listed)
    assert set(listed) == reasons(*sources) - {other}
