"""The unit, its drop-in and its user, judged by systemd's own tools."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vswitch.config.model import Switch

SYSTEMD = Path(__file__).parents[2] / "systemd"
DAEMON = Path(sys.executable).with_name("vswitchd")
INSTALLED = "/opt/vswitch/bin/vswitchd"

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as installed, but that it starts the daemon of this tree."""
    text = (SYSTEMD / "vswitch.service").read_text()
    assert INSTALLED in text
    path = tmp_path / "vswitch.service"
    path.write_text(text.replace(INSTALLED, str(DAEMON)))
    return path


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def add_drop_in(unit: Path) -> None:
    directory = unit.with_name("vswitch.service.d")
    directory.mkdir()
    shutil.copy(SYSTEMD / "vswitch-netns.conf", directory)


@pytest.mark.parametrize("with_drop_in", [False, True])
def test_verify_is_clean(unit: Path, with_drop_in: bool) -> None:
    if with_drop_in:
        add_drop_in(unit)
    result = run("systemd-analyze", "verify", "--man=no", unit)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_exposure_is_low(unit: Path) -> None:
    result = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for vswitch\.service: ([0-9.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found[1]) < 3


def test_no_privilege_but_what_is_proven_necessary() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(SYSTEMD / "vswitch.service")
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert unit["Service"][key].split() == ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BROADCAST"]


def test_what_outlives_the_daemon_has_a_place() -> None:
    unit = (SYSTEMD / "vswitch.service").read_text()
    (name,) = re.findall(r"^StateDirectory=(\S+)$", unit, re.MULTILINE)
    assert Switch().state_dir == f"/var/lib/{name}"


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="needs systemd-sysusers")
def test_the_user_and_its_group_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    result = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "vswitch.sysusers")
    assert result.returncode == 0, result.stderr
    for file in ("passwd", "group"):
        assert re.search(r"^vswitch:", (tmp_path / "etc" / file).read_text(), re.MULTILINE)
