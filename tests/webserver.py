"""nginx in a namespace, and wrk at it: many short connections, of which none may fail.

    with nginx serving on 203.0.113.254:80 in a namespace:
    start_nginx(lab, world.netns, "203.0.113.254", 80)
    assert short_connections(lab, guest.netns, "http://203.0.113.254/", 10_000) >= 10_000
"""

from __future__ import annotations

import re
import shutil

import pytest

from tests.lab import Lab, Running, wait_for
from tests.routerhost import reach

START_LIMIT_S = 10.0
CONFIG = """
daemon off;
master_process off;
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    server {{
        listen {address}:{port} backlog=1024;
        return 200 "a server of few words\\n";
    }}
}}
"""


def require_web_tools() -> None:
    """Skip the calling test where nginx or wrk is missing."""
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian packages nginx-light, wrk)")


def start_nginx(lab: Lab, netns: str, address: str, port: int) -> Running:
    """Start a server and wait until it answers."""
    directory = lab.path(f"nginx-{netns}")
    directory.mkdir()
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(directory=directory, address=address, port=port))
    server = lab.start("nginx", "-e", "stderr", "-c", str(config), netns=netns)
    wait_for(lambda: not server.alive() or _answers(netns, address, port), START_LIMIT_S, "nginx to answer")
    assert server.alive(), server.text()
    return server


def _answers(netns: str, address: str, port: int) -> bool:
    try:
        reach(netns, address, port).close()
    except OSError:
        return False
    return True


def short_connections(lab: Lab, netns: str, url: str, wanted: int, at_once: int = 16) -> int:
    """Make connections of one request each until `wanted` have succeeded; the test fails if one does not."""
    done = 0
    while done < wanted:
        words = ["wrk", "-t", "1", "-c", str(at_once), "-d", "1s", "--timeout", "5s", "-H", "Connection: close", url]
        said = lab.run(*words, netns=netns).stdout
        assert "Socket errors" not in said and "Non-2xx" not in said, said
        requests = int(re.search(r"(\d+) requests in", said)[1])
        assert requests, said
        done += requests
    return done
