"""`make install` below a directory of the test's own: what lands where, and what is left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = "usr/local/lib/systemd/system/vswitch.service"
CONFIG = "etc/vswitch/vswitch.toml"


def make(*arguments: str) -> None:
    done = subprocess.run(("make", *arguments), cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]


def test_files_land_and_a_configuration_is_never_overwritten(tmp_path: Path) -> None:
    make("install-files", f"DESTDIR={tmp_path}")
    assert (tmp_path / CONFIG).read_text() == (ROOT / "conf/vswitch.toml").read_text()
    (tmp_path / CONFIG).write_text("# mine\n")
    make("install-files", f"DESTDIR={tmp_path}")
    assert (tmp_path / CONFIG).read_text() == "# mine\n"
    assert os.readlink(tmp_path / "usr/local/bin/vswitchd") == "/opt/vswitch/bin/vswitchd"
    make("uninstall", f"DESTDIR={tmp_path}")
    assert files(tmp_path) == [CONFIG]


@pytest.mark.parametrize("packages", ["BUILD_PACKAGES", "INSTALL_PACKAGES"])
def test_what_the_daemon_loads_at_run_time_is_installed(packages: str) -> None:
    asked = ("make", "--no-print-directory", "--eval", f"asked: ; @echo $({packages})", "asked")
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"gcc", "nftables"} <= set(said.split())


def test_another_prefix_reaches_the_unit(tmp_path: Path) -> None:
    make("install-files", f"DESTDIR={tmp_path}", "PREFIX=/srv/vs", "SYSCONFDIR=/srv/etc")
    assert "ExecStart=/srv/vs/bin/vswitchd --config /srv/etc/vswitch/vswitch.toml\n" in (tmp_path / UNIT).read_text()
    assert os.readlink(tmp_path / "usr/local/bin/vswitchctl") == "/srv/vs/bin/vswitchctl"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: may install a compiler")
def test_the_program_works_and_has_no_test_doors(tmp_path: Path) -> None:
    make("install-program", f"DESTDIR={tmp_path}")
    program = tmp_path / "opt/vswitch"
    assert (program / "bin/vswitchd").read_text().startswith("#!/opt/vswitch/bin/python")
    assert "vswitchctl" in (tmp_path / "usr/local/share/bash-completion/completions/vswitchctl").read_text()
    native = [path.name for path in program.rglob("_fastpath/**/*.so")]
    assert any(name.startswith("worker.") for name in native)
    assert not any(name.startswith("_probe") for name in native)
    interpreter = program / "bin/python"
    said = subprocess.run((interpreter, "-P", "-m", "vswitch.daemon", "--version"), capture_output=True, check=True)
    assert said.stdout.startswith(b"vswitchd ")
