"""The files that [firewall] names: read for the daemon and for the client, refused in one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from vswitch.config import rulefile
from vswitch.config.errors import ConfigError
from vswitch.config.load import rules_text
from vswitch.config.model import Config, Firewall

RULES = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"


def test_names_start_at_the_files_directory(tmp_path: Path) -> None:
    (tmp_path / "rules.v4").write_text(RULES)
    away = tmp_path / "elsewhere.v6"
    away.write_text("# nothing: “ü”\n", encoding="utf-8")
    assert rules_text(Config(), tmp_path) == (None, None)
    assert rules_text(Config(firewall=Firewall(rules="rules.v4")), tmp_path) == (RULES, None)
    config = Config(firewall=Firewall(rules="../" + tmp_path.name + "/rules.v4", rules6=str(away)))
    assert rules_text(config, str(tmp_path)) == (RULES, "# nothing: “ü”\n")


def test_what_cannot_be_read_is_named_in_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latin").write_bytes(b"# \xe4\n")
    monkeypatch.setattr(rulefile, "RULES_MAX", 1 << 20)
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    for name, why in (
        ("nowhere", f"{tmp_path}/nowhere cannot be read: No such file or directory"),
        ("", f"{tmp_path} cannot be read: Is a directory"),
        ("latin", f"{tmp_path}/latin: byte 2: rules are UTF-8 text"),
        ("large", f"{tmp_path}/large has more than 1 MiB"),
    ):
        with pytest.raises(ConfigError) as caught:
            rules_text(Config(firewall=Firewall(rules=name, rules6=name)), tmp_path)
        assert caught.value.problems == [f'firewall.{key}: "{name}": {why}' for key in rulefile.KEYS]


def test_a_name_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_text(Config(firewall=Firewall(rules="a\0\nb")), tmp_path)
    (line,) = caught.value.problems
    assert line.startswith("firewall.rules: ") and line.endswith("embedded null byte") and line.isprintable()
