"""What the services say about themselves to `vswitchctl` and the API: values, in the manner of `observe/report.py`."""

from typing import Literal

import msgspec

LeaseState = Literal["offered", "bound", "expired", "declined"]


class LeaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a network and who has it, had it, or may not have it."""

    address: str
    mac: str  # "" when nobody asked for it: an address found in use
    name: str
    expires_s: float  # from now; of a declined address, when it may be tried again
    state: LeaseState
    port: str
