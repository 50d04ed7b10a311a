"""Names for the shell to complete: asked of the running switch, silent when there is none."""

from __future__ import annotations

import click

from .client import Client, Refusal


def bridges(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Bridges of the switch."""
    return _names(context, "bridges", incomplete)


def ports(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ports of the switch."""
    return _names(context, "ports", incomplete)


def _names(context: click.Context, kind: str, incomplete: str) -> list[str]:
    try:
        report = Client(context.find_root().params["run_dir"]).get("show")
    except Refusal:
        return []
    return [entry["name"] for entry in report[kind] if entry["name"].startswith(incomplete)]
