"""Print the rules that Istio would install for a configuration.

`iptables` and `ip6tables` are input of their -restore, `nft` of `nft -f`; `commands` are
what Istio runs besides: routes of TPROXY, the address ::6. Nothing is changed. Settings that
contradict each other are noted: Istio takes them, and no pod of Beewire's is enrolled so.
"""

import argparse
import sys
from collections.abc import Callable

from beewire.cli.mesh_config import add_configuration, configuration
from beewire.cli.parser import add_verbose
from beewire.cli.table import print_json
from beewire.mesh.config import InterceptionMode, PodConfig
from beewire.mesh.parity import nft_input, restore_inputs, routing_commands

EPILOG = """\
examples:
  beewire mesh rules --pod pod.yaml
  beewire mesh rules --annotation traffic.sidecar.istio.io/excludeOutboundPorts=443
  beewire mesh rules --istio-flags "-b '*' -i '*' -d 15090,15021" --format nft
  beewire mesh rules --config mesh.yaml --format iptables | iptables-restore --noflush

Exit codes: 0 printed, 2 the configuration is wrong."""


def _tables(family: int) -> Callable[[PodConfig], str]:
    def text(config: PodConfig) -> str:
        tables = restore_inputs(config)
        return "".join(each.text for each in tables if each.family == family)

    return text


def _commands(config: PodConfig) -> str:
    return "".join(f"{command}\n" for command in routing_commands(config))


# Each kind of text, and what takes it.
FORMATS = {
    "iptables": (_tables(4), "iptables-restore --noflush"),
    "ip6tables": (_tables(6), "ip6tables-restore --noflush"),
    "nft": (nft_input, "nft -f -"),
    "commands": (_commands, "sh"),
}
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh rules`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--format",
        choices=(*FORMATS, ALL),
        default=ALL,
        help="which of them (default: %(default)s, each under a comment)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print them with the settings' origins"
    )
    add_verbose(parser)
    add_configuration(parser)


def run(args: argparse.Namespace) -> int:
    """Print the rules."""
    found = configuration(args, contradictory=True)
    chosen = FORMATS if args.format == ALL else {args.format: FORMATS[args.format]}
    texts = {name: make(found.config) for name, (make, _) in chosen.items()}
    if args.json:
        origins = {name: str(each.origin) for name, each in found.settings.items()}
        notes = [str(finding) for finding in found.findings]
        print_json({"rules": texts, "origins": origins, "notes": notes})
        return 0
    for name, text in texts.items():
        if args.format == ALL and text:
            print(f"# {FORMATS[name][1]}")
        print(text, end="")
    if not any(texts.values()):
        print(f"beewire: note: {_why_none(args.format, found.config)}", file=sys.stderr)
    return 0


def _why_none(kind: str, config: PodConfig) -> str:
    if config.inbound_interception_mode is InterceptionMode.NONE:
        return "no rules: in mode NONE, Istio leaves the pod alone"
    if kind == "ip6tables":
        return "no IPv6 rules: no address of the pod says so (--address), nor `ipv6`"
    return f"Istio needs no {kind} here"
