"""Adding and removing a port while others carry traffic: none of theirs may be lost.

A steady stream of numbered frames runs from guest to guest; meanwhile `vswitchctl apply` puts two
configurations in force by turns, one with a port more. The same stream without changes
runs beside it: what is lost there is the machine's doing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.contenders.vswitch import Vswitch, control
from bench.experiments.base import Experiment, Field, Metric, Sample
from bench.experiments.traffic import NOBODY, SMALL_FRAME
from bench.limits import program
from bench.shell import BenchError, stop, wait_for

RATE = 20_000
STREAM_S = 3.0
SILENCE_MS = 500
EXTRA_PORT = 'name = "extra"\nkind = "tap"'
STILL = "vswitch, no change"


class Stream(NamedTuple):
    """What became of a stream: frames that did not arrive, those of them that its own tap refused,
    and changes made meanwhile."""

    lost: int
    refused: int
    changes: int


class PortChurn(Experiment):
    key = "churn"
    metrics = (Metric("lost", "frames lost while ports come and go", "frames"),
               Metric("changes", "port changes meanwhile", "changes", more_is_better=True))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        switch = field.get(Vswitch)
        if not isinstance(switch, Vswitch):
            return
        window = field.window(STREAM_S)
        try:
            with switch.turn():
                still = stream(switch, window, lambda: None)
                stirred = stream(switch, window, _changer(switch))
        except BenchError as error:
            field.put_away(Vswitch, error)
            return
        yield Sample("lost", STILL, still.lost)
        yield Sample("lost", switch.key, stirred.lost)
        yield Sample("changes", switch.key, stirred.changes)
        if stirred.lost:
            field.notes.append(f"{self.metrics[0].title}: {stirred.lost} lost; the sender's tap "
                               f"refused {stirred.refused}, its queue being full and nobody reading")


def _changer(switch: Vswitch) -> Callable[[], int]:
    """What adds the port and removes it again; returns how many changes that was."""
    files = [switch.write_configuration("more.toml", EXTRA_PORT),
             switch.write_configuration("less.toml")]

    def change() -> int:
        for file in files:
            control(switch.host, switch.run_dir, "apply", file)
        return len(files)

    return change


def stream(switch: Vswitch, seconds: float, meanwhile: Callable[[], int | None]) -> Stream:
    """A steady stream from client to server, `meanwhile` done over and over."""
    sent_log, seen_log = switch.directory / "sent", switch.directory / "seen"
    for log in (sent_log, seen_log):
        log.unlink(missing_ok=True)
    sink = switch.server.start(program("frame_count"), switch.server.device, str(SILENCE_MS),
                               log=seen_log)
    try:
        wait_for(lambda: "ready" in seen_log.read_text(), "the counter", process=sink)
        refused_before = switch.client.refused_frames()
        source = _start_source(switch, seconds, sent_log)
        changes = 0
        while source.poll() is None:
            made = meanwhile()
            if made is None:
                source.wait()
            else:
                changes += made
        wait_for(lambda: sink.poll() is not None, "the last frame")
    finally:
        stop(sink)
    arrived, _again, _late, no_room = map(int, seen_log.read_text().split()[1:])
    lost = int(sent_log.read_text()) - arrived - no_room
    return Stream(lost, switch.client.refused_frames() - refused_before, changes)


def _start_source(switch: Vswitch, seconds: float, log: Path) -> subprocess.Popen[bytes]:
    client, server = switch.client, switch.server
    return client.start(program("frame_gen"), "-r", str(RATE), client.device, str(seconds),
                        str(SMALL_FRAME), client.mac(), server.mac(), client.address, NOBODY,
                        log=log)
