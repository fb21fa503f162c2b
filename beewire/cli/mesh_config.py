"""The options that say how a pod is configured, for every command that needs to know."""

import argparse
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from beewire.cli.parser import tell
from beewire.errors import UsageError
from beewire.mesh.config import (
    KNOB,
    Collector,
    Configuration,
    Layer,
    Origin,
    PodManifest,
    Source,
    combine,
    examine,
    read_annotations,
    read_environment,
    read_file,
    read_flags,
    read_groups,
    read_pod,
    read_resolv_conf,
    read_values,
    refusals,
    with_addresses,
    write_settings,
)


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Declare where a configuration comes from; `configuration` reads it."""
    group = parser.add_argument_group(
        "configuration",
        "Later ones win, setting by setting: Helm values, the pod, annotations, a Beewire"
        " file, variables, flags.",
    )
    group.add_argument(
        "--values",
        type=Path,
        metavar="FILE",
        help="Istio's Helm values: mesh-wide defaults",
    )
    group.add_argument(
        "--pod", type=Path, metavar="MANIFEST", help="a Pod, or a workload with one"
    )
    group.add_argument(
        "--pod-name", metavar="NAME", help="which of several pods in the MANIFEST"
    )
    _repeated(group, "--annotation", "NAME=VALUE", "an annotation of the pod")
    group.add_argument("--config", type=Path, metavar="FILE", help="a Beewire file")
    _repeated(group, "--istio-env", "NAME=VALUE", "a variable of istio-iptables")
    group.add_argument(
        "--istio-flags",
        metavar="WORDS",
        help='flags of istio-iptables, in one text: --istio-flags="-p 15001"',
    )
    group.add_argument(
        "--resolv-conf", type=Path, metavar="FILE", help="the pod's /etc/resolv.conf"
    )
    _repeated(group, "--group", "NAME=GID", "the number of a group that is named")
    _repeated(
        group, "--address", "ADDRESS", "an address of the pod, the first one first"
    )


def add_bypass(parser: argparse.ArgumentParser) -> None:
    """Declare the short path's settings; `bypass_settings` reads them."""
    group = parser.add_argument_group(
        "short path",
        "They win over the configuration's own, and everything else stays as it is.",
    )
    group.add_argument(
        "--bypass",
        metavar="TIER",
        help="off, sidecars, all or auto: which connections may leave out TCP/IP",
    )
    for name, past in (("shortcut", "past its own sidecar"), ("splice", "past both")):
        group.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            help=f"other pods of the node reach the application {past}, where no sidecar"
            " has anything but TCP to do",
        )


def bypass_settings(args: argparse.Namespace) -> str:
    """What the command line says about the short path, as a Beewire file; "" if nothing.

    Raises:
        UsageError: there is no such tier.
    """
    found = Collector()
    for name in ("bypass", "shortcut", "splice"):
        value = getattr(args, name)
        if value is not None:
            text = value if isinstance(value, str) else str(value).lower()
            found.read(KNOB[name], Origin(Source.FLAG, f"--{name}", text))
    layer = found.layer()
    combine(layer)  # raises what is wrong
    return write_settings(layer) if layer.settings else ""


def _repeated(
    group: "argparse._ArgumentGroup", option: str, value: str, text: str
) -> None:
    group.add_argument(
        option,
        action="append",
        default=[],
        metavar=value,
        help=f"{text}; may be repeated",
    )


def asked(args: argparse.Namespace) -> bool:
    """Whether the command line says anything about the configuration."""
    names = ("values", "pod", "annotation", "config", "istio_env", "istio_flags")
    return any(getattr(args, name) for name in (*names, "resolv_conf", "group"))


def refuse(args: argparse.Namespace, found: Configuration) -> None:
    """Refuse what no pod is enrolled with.

    Raises:
        UsageError: a knob cannot be honoured, or the pod has the host's network.
    """
    pod = pod_manifest(args)
    for refusal in (*refusals(found.settings), *(pod.refusals() if pod else ())):
        raise UsageError(str(refusal))


def pod_manifest(args: argparse.Namespace) -> PodManifest | None:
    """The pod that `--pod` names.

    Raises:
        UsageError: there is none, or the manifest has no such pod.
    """
    if args.pod is not None:
        return read_pod(args.pod, args.pod_name)
    if args.pod_name is not None:
        raise UsageError("--pod-name goes with --pod MANIFEST")
    return None


def configuration(
    args: argparse.Namespace, *, faults: bool = False, contradictory: bool = False
) -> Configuration:
    """The configuration that the command line asks for; notes go to standard error.

    With `faults`, they are among the findings, and nothing is printed. `contradictory`
    settings are noted only.

    Raises:
        UsageError: a file or an option is wrong, or none was given.
    """
    pod = pod_manifest(args)
    layers = list(_layers(args, pod))
    if not layers:
        raise UsageError(
            "how is the pod configured? --pod, --annotation, --config, --istio-flags,"
            " --istio-env and --values say so"
        )
    found = (
        examine(*layers) if faults else combine(*layers, contradictory=contradictory)
    )
    addresses = [_address(word) for word in args.address]
    found = with_addresses(found, addresses or (pod.addresses if pod else ()))
    if not faults:
        for finding in found.findings:
            print(f"beewire: note: {finding}", file=sys.stderr)
        for name, setting in found.settings.items():
            tell(args, f"{name} from {setting.origin}")
    return found


def _layers(args: argparse.Namespace, pod: PodManifest | None) -> Iterator[Layer]:
    if args.values is not None:
        yield read_values(args.values)
    if pod is not None:
        yield pod.layer
    if args.annotation:
        yield read_annotations(_pairs("--annotation", args.annotation))
    if args.config is not None:
        yield read_file(args.config)
    if args.istio_env:
        yield read_environment(_pairs("--istio-env", args.istio_env))
    if args.istio_flags is not None:
        yield read_flags(args.istio_flags)
    if args.resolv_conf is not None:
        yield read_resolv_conf(args.resolv_conf)
    if args.group:
        yield read_groups(args.group)


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {word}: write it as NAME=VALUE")
        pairs[name] = value
    return pairs


def _address(word: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(word)
    except ValueError:
        raise UsageError(f"--address {word}: is no IP address") from None
