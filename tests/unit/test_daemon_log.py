"""The log's two forms: for journald and for a person."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from vswitch import log


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers = []  # pytest's own, put back below: set_up would close them
    with (tmp_path / "stderr").open("w+") as file:
        yield file
    root.handlers, root.level = before


def written(stream: TextIO) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


def test_a_person_gets_time_and_word(stream: TextIO) -> None:
    log.set_up("info", stream)
    logging.getLogger("vswitch").warning("port tapA is down")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING port tapA is down", written(stream)[0])


def test_the_journal_gets_a_priority_on_every_line(stream: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log.set_up("debug", stream)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("vswitch").log(level, "one\ntwo")
    assert written(stream) == [f"<{n}>{word}" for n in (7, 6, 4, 3, 2) for word in ("one", "two")]


def test_levels_below_are_left_out(stream: TextIO) -> None:
    log.set_up("warning", stream)
    logging.getLogger("vswitch").info("quiet")
    assert written(stream) == []


@pytest.mark.parametrize(("error", "lines"), [(BadHttpMessage("no HTTP"), 0), (KeyError("a fault of ours"), 2)])
def test_a_client_that_speaks_no_http_is_no_fault(stream: TextIO, error: Exception, lines: int) -> None:
    log.set_up("info", stream)
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=error)
    assert len(written(stream)) == lines


@pytest.mark.parametrize("value", ["", "1:2", "nonsense", "1:2:3"])
def test_another_stream_is_not_the_journal(stream: TextIO, value: str) -> None:
    assert not log.read_by_journal(stream, {"JOURNAL_STREAM": value})
