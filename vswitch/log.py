"""Where the log goes: stderr, in the form its reader wants.

journald adds time, host and process itself and takes a priority as `<N>` at the head of a line; a person at a
terminal wants the time and the word. JOURNAL_STREAM names the device and inode of the journal's pipe, so comparing
it with stderr tells who reads (systemd.exec(5)).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from aiohttp.http import HttpProcessingError

# syslog(3)'s priorities
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class JournalFormatter(logging.Formatter):
    """A priority before every line, those of a traceback too, so that journald files them together."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, each with its priority."""
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Send the log of `level` ("debug", "info", "warning" or "error") and above to `stream` (stderr)."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    if read_by_journal(stream, os.environ):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_fault_of_ours)


def _fault_of_ours(record: logging.LogRecord) -> bool:
    """Whether aiohttp logs something else than a client that does not speak HTTP: that has been answered with 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def read_by_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that JOURNAL_STREAM names."""
    try:
        device, inode = map(int, environ.get("JOURNAL_STREAM", "").split(":"))
        status = os.fstat(stream.fileno())
    except (ValueError, OSError):
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


def complain(text: str, stream: TextIO | None = None) -> None:
    """Say why the daemon does not start: to a person bare, for no time or level makes it clearer."""
    stream = stream or sys.stderr
    prefix = f"<{PRIORITIES[logging.ERROR]}>" if read_by_journal(stream, os.environ) else ""
    for line in text.splitlines():
        print(prefix + line, file=stream)
