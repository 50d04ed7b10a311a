"""A configuration file's text: what is read from it, and in which words a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from vswitch.config.errors import ConfigError
from vswitch.config.load import load, parse
from vswitch.config.model import Bridge, Config, Port, StaticMac, Storm

BRIDGE = '[[bridge]]\nname = "br0"\n'
TAP = BRIDGE + '[[port]]\nname = "tapA"\nkind = "tap"\nbridge = "br0"\n'
NETDEV = BRIDGE + '[[port]]\nname = "eth1"\nkind = "netdev"\nbridge = "br0"\n'
MEMORY = '[[port]]\nname = "m0"\nkind = "memory"\n'
FDB = '[[fdb]]\nbridge = "br0"\nport = "tapA"\n'


def refused(text: str) -> list[str]:
    """The lines with which a text is refused, less the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(line.startswith("f.toml: ") and "\n" not in line for line in caught.value.problems)
    return [line.removeprefix("f.toml: ") for line in caught.value.problems]


def test_an_empty_file_is_all_defaults():
    config = parse("", "f.toml")
    assert config == Config()
    assert (config.switch.run_dir, config.switch.workers, config.switch.busy_poll_us) == ("/run/vswitch", 1, 2000)
    assert config.metrics.listen == "127.0.0.1:9478"


def test_everything_is_read():
    text = (
        BRIDGE
        + """
        [[port]]
        name = "vnet0"
        bridge = "br0"
        kind = "netdev"
        trunk = [20, 10, "100-102", 103]
        native = 1
        mac = "52-54-00-AB-CD-EF"
        create = true
        owner = "libvirt-qemu"
        queues = 1
        storm = { broadcast = 100 }
        [[fdb]]
        bridge = "br0"
        mac = "5254.00AB.CDEF"
        vlan = 101
        port = "vnet0"
        """
    )
    config = parse(text, "f.toml")
    assert config.bridge == (Bridge(name="br0"),)
    assert config.port == (
        Port(
            name="vnet0",
            bridge="br0",
            kind="netdev",
            trunk=(10, 20, "100-103"),
            native=1,
            mac="52:54:00:ab:cd:ef",
            create=True,
            owner="libvirt-qemu",
            queues=1,
            storm=Storm(broadcast=100),
        ),
    )
    assert config.fdb == (StaticMac(bridge="br0", mac="52:54:00:ab:cd:ef", vlan=101, port="vnet0"),)


SECTIONS = "switch, metrics, firewall, conntrack, bridge, port, fdb, network, route"

REFUSALS = [
    # keys and types
    ("unknown section", "[swtich]", 'swtich: unknown section; did you mean "switch"?'),
    ("section of another world", "[zebra]", f"zebra: unknown section; right: {SECTIONS}"),
    ("unknown key", "[switch]\nworker = 2", 'switch.worker: unknown key; did you mean "workers"?'),
    ("later key", TAP + 'vni = 101', 'port[0] ("tapA").vni: not supported yet'),
    ("wrong type", '[switch]\nworkers = "2"', 'switch.workers: "2": a whole number'),
    ("truth is no number", "[switch]\nworkers = true", "switch.workers: true: a whole number"),
    ("number is no truth", TAP + "isolated = 1", 'port[0] ("tapA").isolated: 1: true or false'),
    ("float", TAP + "mtu = 1500.0", 'port[0] ("tapA").mtu: 1500.0: a whole number'),
    ("scalar trunk", TAP + "trunk = 10", 'port[0] ("tapA").trunk: 10: a list'),
    ("list of what", TAP + "trunk = [1.5]", 'port[0] ("tapA").trunk[0]: 1.5: a whole number or a string'),
    ("storm no table", TAP + "storm = 100", 'port[0] ("tapA").storm: 100: a table'),
    ("table where a list is", "[port]", "port: {}: a list of tables, each written [[port]]"),
    ("list where a table is", "[[switch]]", "switch: [{}]: a table, written [switch]"),
    ("scalar section", "switch = 1", "switch: 1: a table, written [switch]"),
    ("scalar in a list", "port = [1]", "port[0]: 1: a table, written [[port]]"),
    ("no name", '[[port]]\nkind = "tap"', "port[0].name: missing, and needed"),
    ("no kind", '[[port]]\nname = "p"', 'port[0] ("p").kind: missing; right: tap, netdev or memory'),
    # [switch] and [metrics]
    ("run_dir", '[switch]\nrun_dir = "run"', 'switch.run_dir: "run": an absolute path'),
    ("no worker", "[switch]\nworkers = 0", "switch.workers: 0: 1 to 16"),
    ("many workers", "[switch]\nworkers = 17", "switch.workers: 17: 1 to 16"),
    ("busy_poll", "[switch]\nbusy_poll_us = -1", "switch.busy_poll_us: -1: 0 to 1000000"),
    ("queue_memory", "[switch]\nqueue_memory_mb = 8", "switch.queue_memory_mb: 8: 16 to 4096 MiB"),
    ("level", '[switch]\nlog_level = "loud"', 'switch.log_level: "loud": debug, info, warning or error'),
    # names
    ("empty", '[[bridge]]\nname = ""', 'bridge[0].name: "": a name has 1 to 15 bytes (this has 0)'),
    (
        "16 bytes",
        '[[bridge]]\nname = "b234567890123456"',
        'bridge[0] ("b234567890123456").name: "b234567890123456": a name has 1 to 15 bytes (this has 16)',
    ),
    (
        "8 letters, 16 bytes",
        '[[bridge]]\nname = "äöüäöüäö"',
        'bridge[0] ("äöüäöüäö").name: "äöüäöüäö": a name has 1 to 15 bytes (this has 16)',
    ),
    ("dot", '[[bridge]]\nname = "."', 'bridge[0] (".").name: ".": a name is not "." or ".."'),
    (
        "slash",
        '[[bridge]]\nname = "a/b"',
        'bridge[0] ("a/b").name: "a/b": a name has no space, control character, slash, colon or percent sign',
    ),
    (
        "line break",
        '[[bridge]]\nname = "a\\nb"',
        'bridge[0] ("a\\nb").name: "a\\nb": a name has no space, control character, slash, colon or percent sign',
    ),
    ("line break in a key", '"a\\nb" = 1', f"a\\nb: unknown section; right: {SECTIONS}"),
    ("bridge twice", BRIDGE * 2, 'bridge[1].name: "br0": a name is used once; bridge[0] has it already'),
    ("port twice", MEMORY * 2, 'port[1].name: "m0": a name is used once; port[0] has it already'),
    (
        "port and bridge",
        MEMORY + '[[bridge]]\nname = "m0"',
        'port[0].name: "m0": a name is used once; bridge[0] has it already',
    ),
    ("no such bridge", MEMORY + 'bridge = "br1"', 'port[0] ("m0").bridge: "br1": no such bridge; right: none'),
    (
        "near bridge",
        BRIDGE + MEMORY + 'bridge = "br1"',
        'port[0] ("m0").bridge: "br1": no such bridge; right: br0',
    ),
    # bridges
    ("ageing", BRIDGE + "ageing_s = -1", 'bridge[0] ("br0").ageing_s: -1: 0 to 1000000'),
    ("FDB of none", BRIDGE + "mac_limit = 0", 'bridge[0] ("br0").mac_limit: 0: 1 to 1048576'),
    # kinds
    (
        "later kind",
        '[[port]]\nname = "vx"\nkind = "vxlan"\nvni = 1\nremotes = []',
        'port[0] ("vx").kind: "vxlan": not supported yet; right: tap, netdev or memory',
    ),
    ("no kind of ours", '[[port]]\nname = "p"\nkind = "veth"', 'port[0] ("p").kind: "veth": tap, netdev or memory'),
    ("netns", NETDEV + 'netns = "A"', 'port[0] ("eth1").netns: "A": only a tap is moved into a namespace'),
    (
        "netns path",
        TAP + 'netns = "a/b"',
        'port[0] ("tapA").netns: "a/b": a namespace\'s name, as `ip netns` lists it, or an absolute path',
    ),
    (
        "create",
        TAP + "create = true",
        'port[0] ("tapA").create: true: only a netdev is created for QEMU to open; a tap is the daemon\'s own anyway',
    ),
    (
        "owner",
        TAP + 'owner = "root"',
        'port[0] ("tapA").owner: "root": only with kind = "netdev" and create = true',
    ),
    (
        "group",
        NETDEV + 'group = "kvm"',
        'port[0] ("eth1").group: "kvm": only with kind = "netdev" and create = true',
    ),
    ("queues", NETDEV + "queues = 1", 'port[0] ("eth1").queues: 1: only with kind = "netdev" and create = true'),
    ("many queues", NETDEV + "create = true\nqueues = 17", 'port[0] ("eth1").queues: 17: 1 to 16'),
    # VLANs
    ("VLAN 0", TAP + "access = 0", 'port[0] ("tapA").access: 0: a VLAN id is 1 to 4094'),
    ("VLAN 4095", TAP + "access = 4095", 'port[0] ("tapA").access: 4095: a VLAN id is 1 to 4094'),
    ("VLAN 4095 in a trunk", TAP + "trunk = [1, 4095]", 'port[0] ("tapA").trunk[1]: 4095: a VLAN id is 1 to 4094'),
    ("range to 4095", TAP + 'trunk = ["4000-4095"]', 'port[0] ("tapA").trunk[0]: "4000-4095": a VLAN id is 1 to 4094'),
    (
        "backward range",
        TAP + 'trunk = ["9-4"]',
        'port[0] ("tapA").trunk[0]: "9-4": a range goes from the lower VLAN id to the higher',
    ),
    (
        "no range",
        TAP + 'trunk = ["10"]',
        'port[0] ("tapA").trunk[0]: "10": a trunk lists VLAN ids and ranges, like [10, 20, "100-200"]',
    ),
    ("native 4095", TAP + "trunk = [1]\nnative = 4095", 'port[0] ("tapA").native: 4095: a VLAN id is 1 to 4094'),
    ("access and trunk", TAP + "access = 10\ntrunk = [20]", 'port[0] ("tapA").access: 10: access or trunk, not both'),
    (
        "native alone",
        TAP + "native = 10",
        'port[0] ("tapA").native: 10: native goes with trunk; access alone makes an untagged port',
    ),
    # limits
    ("mtu", TAP + "mtu = 67", 'port[0] ("tapA").mtu: 67: 68 to 65521'),
    ("MACs", TAP + "mac_limit = 0", 'port[0] ("tapA").mac_limit: 0: 1 to 1048576'),
    (
        "storm",
        TAP + "storm = { multicast = 0 }",
        'port[0] ("tapA").storm.multicast: 0: 1 to 1000000000 frames a second',
    ),
    (
        "storm key",
        TAP + "storm = { unicast = 1 }",
        'port[0] ("tapA").storm.unicast: unknown key; did you mean "multicast"?',
    ),
    ("storm type", TAP + 'storm = { multicast = "1" }', 'port[0] ("tapA").storm.multicast: "1": a whole number'),
    (
        "MAC",
        TAP + 'mac = "52:54:00"',
        'port[0] ("tapA").mac: "52:54:00": a MAC address is six hex pairs, like "52:54:00:12:34:56"',
    ),
    (
        "group MAC",
        TAP + 'mac = "01:00:5e:00:00:01"',
        'port[0] ("tapA").mac: "01:00:5e:00:00:01": a station\'s MAC is unicast: its first byte is even',
    ),
    ("memory MAC", MEMORY + 'mac = "52:54:00:12:34:56"',
     'port[0] ("m0").mac: "52:54:00:12:34:56": a memory port is no device and has no MAC'),
    # static entries
    (
        "static multicast",
        TAP + FDB + 'mac = "33:33:00:00:00:01"',
        'fdb[0].mac: "33:33:00:00:00:01": a station\'s MAC is unicast: its first byte is even',
    ),
    (
        "static zeros",
        TAP + FDB + 'mac = "00:00:00:00:00:00"',
        'fdb[0].mac: "00:00:00:00:00:00": a station\'s MAC is not all zeros',
    ),
    (
        "static twice",
        TAP + (FDB + 'mac = "52:54:00:00:00:0a"\n') + (FDB + 'mac = "52-54-00-00-00-0A"\n'),
        'fdb[1].mac: "52-54-00-00-00-0A": one entry for a MAC in a VLAN of a bridge',
    ),
    (
        "static elsewhere",
        TAP + '[[fdb]]\nbridge = "br1"\nport = "tapA"\nmac = "52:54:00:00:00:0a"',
        'fdb[0].bridge: "br1": no such bridge; right: br0',
    ),
    (
        "static behind nobody",
        TAP + '[[fdb]]\nbridge = "br0"\nport = "tapB"\nmac = "52:54:00:00:00:0a"',
        'fdb[0].port: "tapB": no port on br0; right: tapA',
    ),
    (
        "static in a VLAN that is not there",
        TAP + "access = 10\n" + FDB + 'mac = "52:54:00:00:00:0a"',
        "fdb[0].vlan: 0: port tapA does not carry it; right: access 10",
    ),
    (
        "static in VLAN 4095",
        TAP + FDB + 'mac = "52:54:00:00:00:0a"\nvlan = 4095',
        "fdb[0].vlan: 4095: a VLAN id is 1 to 4094",
    ),
]


@pytest.mark.parametrize(("text", "line"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_refused_in_one_line(text: str, line: str):
    assert refused(text) == [line]


LISTEN = ["9478", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "::1:9478", "[::1]", "[1.2.3.4]:1",
          "1.2.3:80", "256.0.0.1:80", "a b:80", "http://a:80", "a:²"]


@pytest.mark.parametrize("listen", LISTEN)
def test_malformed_listen_address(listen: str):
    (line,) = refused(f'[metrics]\nlisten = "{listen}"')
    assert line == f'metrics.listen: "{listen}": an address to listen on is HOST:PORT or [IPV6]:PORT, ' \
                   'like "127.0.0.1:9478"; port 0: any free one'


@pytest.mark.parametrize("listen", ["", ":9478", "0.0.0.0:0", "[::1]:9478", "[::]:1", "localhost:65535", "a-b.c:1"])
def test_listen_address(listen: str):
    assert parse(f'[metrics]\nlisten = "{listen}"', "f.toml").metrics.listen == listen


def test_every_fault_has_its_line():
    text = """
        [switch]
        workers = 0
        threads = 2
        [[bridge]]
        name = "br0"
        ageing_s = "300"
        mac_limits = 1
        [[port]]
        name = "tapA"
        kind = "vxlan"
        [[port]]
        name = "tapB"
        kind = "tap"
        access = 0
        mtu = 1
        """
    assert refused(text) == [
        "switch.threads: unknown key; right: run_dir, state_dir, workers, busy_poll_us, queue_memory_mb, group, log_level",
        'bridge[0] ("br0").ageing_s: "300": a whole number',
        'bridge[0] ("br0").mac_limits: unknown key; did you mean "mac_limit"?',
        'port[0] ("tapA").kind: "vxlan": not supported yet; right: tap, netdev or memory',
        'port[1] ("tapB").access: 0: a VLAN id is 1 to 4094',
        'port[1] ("tapB").mtu: 1: 68 to 65521',
    ]


def test_a_port_with_a_fault_is_not_held_against_its_static_entries():
    text = TAP + "access = 4095\n" + FDB + 'mac = "52:54:00:00:00:0a"\nvlan = 20'
    assert refused(text) == ['port[0] ("tapA").access: 4095: a VLAN id is 1 to 4094']


def test_half_a_file_accuses_no_innocent():
    text = '[[bridge]]\nname = "br0"\nageing = 1\n' + MEMORY + 'bridge = "br0"'
    assert refused(text) == ['bridge[0] ("br0").ageing: unknown key; did you mean "ageing_s"?']


@pytest.mark.parametrize("text", ["[", "a = ", "a = 1\na = 2", "a = " + "[" * 10_000, "a = " + "9" * 10_000])
def test_what_is_no_toml(text: str):
    assert len(refused(text)) == 1


def test_a_long_value_is_cut():
    (line,) = refused(f'[switch]\nworkers = "{"x" * 500}"')
    assert len(line) < 130 and "..." in line


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'# \xe4\n')
    with pytest.raises(ConfigError, match=r"latin\.toml: byte 2: TOML is UTF-8 text"):
        load(tmp_path / "latin.toml")


def test_a_file(tmp_path: Path):
    path = tmp_path / "vswitch.toml"
    path.write_text(TAP)
    assert load(path) == parse(TAP, "anywhere")
