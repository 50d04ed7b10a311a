"""What every table of the configuration file is made of; rooms of other features make theirs of it too."""

from __future__ import annotations

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of the file shares: immutable, keys by name, unknown keys refused."""
