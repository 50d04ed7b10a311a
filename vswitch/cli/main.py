"""vswitchctl: commands an administrator gives a running switch, over its control socket.

This module is the root of the command tree and the one place where failures are put into words. A command either
prints what it was asked for and ends with 0, or says in one line on stderr why not and ends with 1 (2 when the command
line itself cannot be understood). It never imports the daemon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from .. import __version__
from . import bridge, brctl, conntrack, fdb, iptables, network, port, tc, vconfig
from .client import Refusal
from .output import Session
from .show import apply, save, show, stats

HELP = """Control a running vswitch.

\b
A switch with two guests in VLAN 10, from nothing:
  vswitchctl bridge add br0
  vswitchctl port add tapA --bridge br0 --netns A --access 10
  vswitchctl port add tapB --bridge br0 --netns B --access 10
  vswitchctl show                        is everything up?
  vswitchctl stats                       does traffic flow, is anything dropped?
  vswitchctl fdb br0                     which MAC is behind which port?
  vswitchctl save > vswitch.toml         keep it
\b
And from a file, all or nothing, with the traffic running:
  vswitchctl apply vswitch.toml --dry-run
  vswitchctl apply vswitch.toml
\b
A private network that reaches the world by an uplink with an address of its own:
  vswitchctl network add br0.10 --address 10.0.0.1/24 --mode nat --dhcp 10.0.0.100-10.0.0.200
  vswitchctl leases
\b
Those who know brctl, vconfig, iptables, tc and conntrack say it in their words:
  vswitchctl brctl addbr br0
  vswitchctl brctl addif br0 eth1
  vswitchctl vconfig add eth1 10
  vswitchctl iptables -A FORWARD -i br0 -p tcp --dport 22 -j ACCEPT
  vswitchctl tc qdisc add dev tapA root tbf rate 100mbit burst 64kb latency 50ms
  vswitchctl tc -s qdisc show dev tapA
  vswitchctl conntrack -L -p tcp --dport 22
"""


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--run-dir",
    metavar="DIR",
    envvar="VSWITCH_RUN_DIR",
    default="/run/vswitch",
    show_default=True,
    show_envvar=True,
    help="The daemon's run directory, where control.sock is.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="For people or programs.")
@click.version_option(__version__, prog_name="vswitchctl")
@click.pass_context
def cli(context: click.Context, run_dir: str, output: str) -> None:
    """The root of all commands."""
    context.obj = Session(run_dir, output)


@cli.command(epilog="\b\nExamples:\n  vswitchctl version\n  vswitchctl -o json version")
@click.pass_obj
def version(session: Session) -> None:
    """Print the version of vswitchctl."""
    session.print({"version": __version__}, lambda value: print(f"vswitchctl {value['version']}"))


@cli.command(
    epilog="\b\nExamples:\n"
    "  source <(vswitchctl completion bash)                                   this shell\n"
    "  vswitchctl completion bash > /etc/bash_completion.d/vswitchctl         every shell\n"
    "  vswitchctl completion zsh > /usr/local/share/zsh/site-functions/_vswitchctl\n"
    "  vswitchctl completion fish > ~/.config/fish/completions/vswitchctl.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that teaches a shell to complete vswitchctl."""
    from click.shell_completion import get_completion_class

    writer = get_completion_class(shell)
    assert writer is not None
    print(writer(cli, {}, "vswitchctl", "_VSWITCHCTL_COMPLETE").source())


COMMANDS = (
    *(show, stats, apply, save, bridge.bridge, port.port, fdb.fdb),
    *(network.network, network.route, network.neighbours, network.leases),
    *(brctl.brctl, vconfig.vconfig, *iptables.COMMANDS, tc.tc, conntrack.conntrack),
)
for command in COMMANDS:
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="vswitchctl", standalone_mode=False) or 0
        sys.stdout.flush()  # what cannot be written is to be told here, not by the interpreter at its end
        return code
    except Refusal as refusal:
        return _complain(1, *refusal.lines)
    except click.exceptions.NoArgsIsHelpError as error:
        return _complain(2, error.format_message(), prefix="")
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "vswitchctl"
        return _complain(2, f"{error.format_message().rstrip('.')} (see {where} --help)")
    except click.ClickException as error:
        return _complain(1, error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        return 1 if isinstance(error, BrokenPipeError) else _complain(1, f"standard output: {error.strerror}")


def _complain(code: int, *lines: str, prefix: str = "vswitchctl: ") -> int:
    for line in lines:
        print(f"{prefix}{line}", file=sys.stderr)
    return code
