"""The command line's half of the control socket: one HTTP request over a unix socket, from the standard library.

No aiohttp here: a command must answer at once, and most of its time would go into importing it. What goes wrong
becomes `Refusal`: lines for a person, an exit code for a script. A daemon that is not there is refused by naming the
socket and what would be right.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

SOCKET_NAME = "control.sock"
TIMEOUT_S = 60.0  # an apply may open hundreds of devices


class Refusal(Exception):
    """A command that was not carried out: why, and the HTTP status of the refusal (0: no answer from a daemon)."""

    def __init__(self, *lines: str, status: int = 0) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines
        self.status = status


class Client:
    """Requests to the daemon of one run directory. Not for several threads at once."""

    def __init__(self, run_dir: str) -> None:
        self.path = os.path.join(run_dir, SOCKET_NAME)

    def get(self, *parts: str, **query: str | int | None) -> Any:
        """A report."""
        return self.request("GET", parts, query=query)

    def post(self, *parts: str, **body: Any) -> Any:
        """An addition: the body's fields by name."""
        return self.request("POST", parts, body=body or None)

    def patch(self, *parts: str, **body: Any) -> Any:
        """A change: the fields that change, by name."""
        return self.request("PATCH", parts, body=body)

    def delete(self, *parts: str, **query: str | int | None) -> Any:
        """A removal."""
        return self.request("DELETE", parts, query=query)

    def request(self, method: str, parts: tuple[str, ...], *, body: Any = None, query: Any = None) -> Any:
        """The decoded answer to a request for /v1/PART/PART... Raises Refusal when it is refused."""
        status, answer = self._exchange(method, _target(parts, query or {}), body)
        if status != 200:
            raise _refused(status, answer)
        return answer

    def _exchange(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        import http.client

        connection = http.client.HTTPConnection("vswitch", timeout=TIMEOUT_S)
        connection.sock = self._connect()
        payload = None if body is None else json.dumps(body).encode()
        try:
            with contextlib.suppress(BrokenPipeError):  # refused before all was sent: the answer is there to read
                connection.request(method, target, payload, {"Content-Type": "application/json"} if payload else {})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        except TimeoutError:
            raise Refusal(f"{self.path}: no answer within {TIMEOUT_S:g} s") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Refusal(f"{self.path}: the daemon broke off: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_S)
        try:
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise Refusal(f"{self.path}: {_unreachable(error, self.path)}") from None
        return sock


def _target(parts: tuple[str, ...], query: dict[str, Any]) -> str:
    from urllib.parse import quote, urlencode

    given = {name: value for name, value in query.items() if value is not None}
    path = "/v1/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(given)}" if given else path


def _refused(status: int, answer: Any) -> Refusal:
    if not isinstance(answer, dict):
        return Refusal(f"the daemon answered {status}", status=status)
    return Refusal(*(answer.get("problems") or [answer.get("error", f"the daemon answered {status}")]), status=status)


def _unreachable(error: OSError, path: str) -> str:
    match error:
        case FileNotFoundError():
            return "no switch runs here; right: start vswitchd, or name its run directory with --run-dir"
        case ConnectionRefusedError():
            return "nobody listens (the daemon was killed?); right: start vswitchd"
        case PermissionError():
            return f"you may not control this switch; right: be root{_or_member(path)}"
    return f"cannot connect: {error.strerror or error}"


def _or_member(path: str) -> str:
    import grp

    try:
        gid = os.stat(path).st_gid
        return f" or a member of group '{grp.getgrgid(gid).gr_name}'" if gid else ""
    except (OSError, KeyError):
        return ""
