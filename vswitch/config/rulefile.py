"""The files that [firewall] names: iptables-save texts, read by whoever holds the configuration file.

A relative name starts at the configuration file's directory. Client and daemon both read them, and the client must not
wait for the model to be imported; so this is about plain values, and all that it needs is the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError, Problem

KEYS = ("rules", "rules6")
RULES_MAX = 8 << 20  # bytes: a device that never ends is no file of rules


def read(firewall: Mapping[str, str | None], directory: str | Path) -> dict[str, str]:
    """The texts of the files that the section names, by key. Raises ConfigError, a line a file that cannot be read."""
    texts, faults = {}, []
    for key, name in ((key, firewall.get(key)) for key in KEYS):
        if name is None:
            continue
        try:
            texts[key] = _text(Path(directory) / name)
        except (OSError, ValueError) as error:
            faults.append(Problem(f"firewall.{key}", _why(Path(directory) / name, error), name).line())
    if faults:
        raise ConfigError(faults)
    return texts


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(RULES_MAX + 1)
    if len(raw) > RULES_MAX:
        raise ValueError(f"has more than {RULES_MAX >> 20} MiB")
    return raw.decode()


def _why(path: Path, error: OSError | ValueError) -> str:
    match error:
        case OSError():
            return f"{path} cannot be read: {error.strerror}"
        case UnicodeDecodeError():
            return f"{path}: byte {error.start}: rules are UTF-8 text"
    return f"{path} {error}"
