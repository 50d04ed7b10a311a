"""vswitchd: the composition root. It makes the parts, starts them in order, and takes them down in the reverse.

    lock -> data plane -> links -> metrics -> switch (configuration applied) -> queue socket -> control socket -> READY

The control socket is the last to appear and the first to go, so whoever sees it may use the switch. Everything here
runs on one event loop (uvloop, or asyncio where that is missing or VSWITCH_LOOP=asyncio); the main task serves SIGHUP
and is cancelled by SIGTERM and SIGINT, during the start too.

What the daemon refuses it says in one line on stderr, and ends with 1; with 2 when its arguments are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from vswitch import __version__
from vswitch import log as logs
from vswitch.api.server import ControlServer
from vswitch.config.errors import ApplyError, ConfigError
from vswitch.config.load import load, rules_text
from vswitch.config.model import LOG_LEVELS, Config
from vswitch.dataplane import Dataplane, WorkerCounters
from vswitch.filter.model import Rulesets
from vswitch.filter.queue_server import QueueServer
from vswitch.lock import LockError, locked
from vswitch.notify import Notifier
from vswitch.observe.metrics import MetricsError, MetricsServer
from vswitch.ports.links import Links
from vswitch.switch import Switch, restored

DESCRIPTORS = 65536  # as in systemd/vswitch.service: 4096 ports with a queue for each of 16 workers
HEARTBEAT_S = 5.0  # the status line is no older; the watchdog may ask for more

REFUSALS = (ConfigError, ApplyError, MetricsError, LockError, OSError)

log = logging.getLogger("vswitch")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon in the foreground; the exit code."""
    options = _arguments(argv)
    try:
        config = load(options.config)
        if options.check:
            restored(Rulesets(), rules_text(config, options.config.parent), str(options.config))
            print(f"{options.config}: {len(config.bridge)} bridges, {len(config.port)} ports: no fault found")
            return 0
        logs.set_up(options.log_level or config.switch.log_level)
        allow_descriptors()
        with locked(config.switch.run_dir), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(Daemon(options, config).run())
    except REFUSALS as error:
        logs.complain(placed(error, options.config))
        return 1
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("vswitchd", description="The virtual switch daemon. It stays in the foreground.")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration, in TOML")
    parser.add_argument("--check", action="store_true", help="judge the configuration and end")
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="instead of the configuration's")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser.parse_args(argv)


def allow_descriptors() -> None:
    """Raise the soft limit on descriptors. A shell's 1024 are few for taps with a queue a worker, and with fewer than
    there may be ports io_uring gives no table of files (core/uring.h), so small frames would be moved one by one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError):  # a sandbox that forbids it: what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if os.environ.get("VSWITCH_LOOP") != "asyncio":
        with suppress(ImportError):
            import uvloop

            return uvloop.new_event_loop
    return asyncio.new_event_loop


def placed(error: Exception, file: Path) -> str:
    """A refusal's lines, each with the file before it where it does not name it itself."""
    text = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else str(error)
    prefix = f"{file}: "
    return "\n".join(prefix + line.removeprefix(prefix) for line in text.splitlines())


class Daemon:
    """One switch and what serves it, from start to stop."""

    def __init__(self, options: argparse.Namespace, config: Config) -> None:
        self._options = options
        self._config = config
        self._notifier = Notifier()
        self._reload_wanted = asyncio.Event()
        self._stopping = False
        self._dataplane = Dataplane(workers=config.switch.workers, busy_poll_us=config.switch.busy_poll_us,
                                    connections=config.conntrack.max, queue_memory=config.switch.queue_memory_mb << 20)
        self._links = Links()
        self._switch = Switch(self._dataplane, self._links)
        self._metrics = MetricsServer(self._switch)
        self._control = ControlServer(self._switch, config.switch.run_dir, config.switch.group)
        self._queues = QueueServer(self._switch.queues, config.switch.run_dir, config.switch.group)
        self._switch.serve_metrics(self._metrics)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises one of REFUSALS when the start fails; then nothing stays behind."""
        self._take_signals()
        with suppress(asyncio.CancelledError):
            async with AsyncExitStack() as stack:
                await self._start(stack)
                stack.callback(self._notifier.stopping)
                await self._serve()

    def _take_signals(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, task)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)

    def _stop(self, task: asyncio.Task[None]) -> None:
        if not self._stopping:  # a second signal must not cut the way down short
            self._stopping = True
            task.cancel()

    async def _start(self, stack: AsyncExitStack) -> None:
        self._control.refuse_taken()
        self._dataplane.start()
        stack.push_async_callback(self._dataplane.stop)
        stack.push_async_callback(self._links.stop)
        await self._links.start()
        stack.push_async_callback(self._metrics.stop)
        await self._metrics.start(self._config.metrics.listen)  # before any device is made: an address may be taken
        stack.push_async_callback(self._switch.stop)
        await self._switch.start(self._config, str(self._options.config), rules_text(self._config, self._options.config.parent))
        stack.push_async_callback(self._queues.stop)
        await self._queues.start()
        stack.push_async_callback(self._control.stop)
        await self._control.start()
        self._switch.on_config(self._follow)

    def _follow(self, config: Config) -> None:
        """Take over what of [switch] may change while it runs."""
        if not self._options.log_level:
            log.setLevel(config.switch.log_level.upper())
        before, self._config = self._config, config
        if before.switch.group == config.switch.group:
            return
        try:
            self._control.use_group(config.switch.group)
            self._queues.use_group(config.switch.group)
        except OSError as error:
            log.error("switch.group: %s: the sockets cannot be given to it: %s", config.switch.group, error.strerror)

    async def _serve(self) -> None:
        self._notifier.ready(self._status())
        log.info("vswitch %s is ready: %s", __version__, self._status())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._heartbeat())
            while True:
                await self._reload_wanted.wait()
                self._reload_wanted.clear()
                await self._reload()

    async def _reload(self) -> None:
        file = self._options.config
        self._notifier.reloading()
        try:
            config = load(file)
            plan = await self._switch.apply(config, source=str(file), rules=rules_text(config, file.parent))
        except REFUSALS as error:
            self._switch.refused()
            log.error("not reloaded: %s", placed(error, file).replace("\n", "; "))
        except Exception:  # a fault of ours is no reason to cut off everybody
            self._switch.refused()
            log.exception("not reloaded: %s", file)
        else:
            log.info("reloaded %s: %d changes", file, len(plan))
        self._notifier.ready(self._status())

    async def _heartbeat(self) -> None:
        """Tell systemd that the loop and all workers are alive, and what the switch consists of."""
        period = min(HEARTBEAT_S, (self._notifier.watchdog_s or HEARTBEAT_S) / 2)
        before, told = self._dataplane.worker_counters(), self._status()
        while True:
            await asyncio.sleep(period)
            now, status = self._dataplane.worker_counters(), self._status()
            if stuck := stuck_workers(before, now):
                log.error("worker %s has not moved for %.1f s", ", ".join(map(str, stuck)), period)
            else:
                self._notifier.alive()
            if status != told:
                self._notifier.status(status)
            before, told = now, status

    def _status(self) -> str:
        report = self._switch.show()
        up = sum(port.state == "up" for port in report.ports)
        return f"{len(report.bridges)} bridges, {up} of {len(report.ports)} ports up"


def stuck_workers(before: Sequence[WorkerCounters], now: Sequence[WorkerCounters]) -> list[int]:
    """The workers that were awake at both readings and did not pass through their loop between them."""
    pairs = enumerate(zip(before, now, strict=True))
    return [i for i, (old, new) in pairs if not (old.parked or new.parked) and old.polls == new.polls]


if __name__ == "__main__":
    sys.exit(main())
