"""docs/configuration.md has every key with its default, and no other; conf/vswitch.toml works, what is commented out too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from msgspec import NODEFAULT
from msgspec.structs import fields

from vswitch.config.load import LISTS, SECTIONS, parse
from vswitch.config.model import Storm, Timeouts
from vswitch.l3.settings import Dhcp, Dns, Ra

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/configuration.md").read_text()
ROUTING = (ROOT / "docs/routing.md").read_text()
EXAMPLE = (ROOT / "conf/vswitch.toml").read_text()
TABLES = {f"## [{name}]": table for name, table in SECTIONS.items()}
TABLES |= {f"## [[{name}]]": table for name, table in LISTS.items()}
# What a person reads as the default of a key that has none in the model.
IN_WORDS = (
    "needed",
    *("none", "root", "the device's own", "the device's own; a new tap's is 1500"),
    *("made of the machine's identity", "its ports' least", "the network's own"),
)
SERVICES = {"### dhcp": Dhcp, "### dns": Dns, "### ra": Ra}
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", re.MULTILINE)


def section(heading: str) -> str:
    """The page's text below a heading, to the next of any depth."""
    return PAGE.split(f"\n{heading}\n")[1].partition("\n#")[0]


@pytest.mark.parametrize(("heading", "table"), (TABLES | SERVICES).items(), ids=TABLES | SERVICES)
def test_every_key_is_explained_with_its_default_and_no_other(heading: str, table: type) -> None:
    rows = dict(ROW.findall(section(heading)))
    assert list(rows) and set(rows) == {field.name for field in fields(table)}
    for field in fields(table):
        said = rows[field.name]
        if field.default is NODEFAULT:
            assert said == "needed", field.name
        elif field.default is None:
            assert said in IN_WORDS[1:] or said.isdecimal(), field.name
        else:
            assert said == f"`{json.dumps(field.default)}`", field.name


def test_every_class_of_storm_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("### storm"), re.MULTILINE) == [field.name for field in fields(Storm)]


def test_every_timeout_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("### timeouts"), re.MULTILINE) == [field.name for field in fields(Timeouts)]


def test_the_example_is_a_configuration() -> None:
    config = parse(EXAMPLE, "vswitch.toml")
    assert config.bridge and config.port and config.fdb and config.network


def test_what_is_said_of_routing_works() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", ROUTING, re.MULTILINE | re.DOTALL)
    config = parse("\n".join(block for block in blocks if "[[" in block), "routing.md")
    assert {network.router for network in config.network} == {"main", "red", "blue"}
    (line,) = (block for block in blocks if "[[" not in block)
    assert parse(blocks[0].replace('dhcp = { range = ["10.0.0.100", "10.0.0.200"] }\n', line), "routing.md").network[0].dhcp


def test_what_the_example_has_commented_out_works_too() -> None:
    text = re.sub(r"^# (?=\[\w+\]$|\[\[|\w+ = |    \"|\]$)", "", EXAMPLE, flags=re.MULTILINE)
    whole, part = parse(text, "vswitch.toml"), parse(EXAMPLE, "vswitch.toml")
    assert {port.name for port in whole.port} > {port.name for port in part.port}
    assert len(whole.network) > len(part.network) and whole.route and whole.firewall.rules and whole.conntrack.timeouts
    assert any(port.limit for port in whole.port) and any(port.tc for port in whole.port)
