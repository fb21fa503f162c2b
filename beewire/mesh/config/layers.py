"""Settings from several sources, each with its origin, become one `Configuration`.

    configuration = combine(read_pod("pod.yaml"), read_flags(["-o", "443"]))
    configuration.config                                  # the PodConfig
    configuration.origin("outbound_ports_exclude")        # who said so, and where

A source is a `Layer`. Later layers win, setting by setting; the first one that stands for
a whole pod, file or command line says whose defaults hold below all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from beewire.errors import UsageError
from beewire.mesh.config.faults import contradictions
from beewire.mesh.config.knobs import KNOB, KNOBS, SIDECAR_PORTS, Knob
from beewire.mesh.config.origins import (
    Base,
    Finding,
    Layer,
    Level,
    Origin,
    Setting,
    Source,
)
from beewire.mesh.config.pod import PodConfig


class Configuration(NamedTuple):
    """A PodConfig, who said what, and what else is to be said."""

    config: PodConfig
    settings: Mapping[str, Setting]
    findings: tuple[Finding, ...] = ()

    def origin(self, field: str, item: object = None) -> Origin:
        """Who put `item` (a port, a range) into `field` of the PodConfig, or all of it.

        Raises:
            KeyError: PodConfig has no such field.
        """
        if field == "inbound_ports_exclude" and item is not None:
            return self._excluded_port(item)
        name = "dns_servers" if field in _SERVER_FIELDS else field
        if name in self.settings:
            return self.settings[name].origin
        knob = KNOB[name]
        return Origin(Source.DEFAULT, f"the default of {knob.path}")

    def _excluded_port(self, port: object) -> Origin:
        given = self.settings.get("inbound_ports_exclude")
        status = self.settings.get("status_port")
        if given and isinstance(given.value, tuple) and port in given.value:
            return given.origin
        if status and status.value == port:
            return status.origin
        return Origin(Source.DEFAULT, f"a sidecar's own port, {port}")


_SERVER_FIELDS = ("dns_servers_v4", "dns_servers_v6")


def python(**settings: object) -> Layer:
    """Settings of Python code, as fields of PodConfig: they win over all others.

    None says nothing.

    Raises:
        UsageError: PodConfig has no such field.
    """
    known = {}
    for name, value in settings.items():
        if name not in KNOB:
            raise UsageError(f"{name!r} is no knob: {', '.join(sorted(KNOB))}")
        if value is not None:
            known[name] = Setting(value, Origin(Source.PYTHON, name, str(value)))
    return Layer(known, base=Base.ISTIO_IPTABLES)


def combine(*layers: Layer, contradictory: bool = False) -> Configuration:
    """One Configuration of `layers`; later ones win.

    Settings that contradict each other are wrong, unless they may be `contradictory`:
    Istio writes rules for them.

    Raises:
        UsageError: something in them is wrong; further faults are in its notes.
    """
    configuration = examine(*layers)
    spared: tuple[Finding, ...] = ()
    if contradictory:
        spared = tuple(contradictions(configuration.config, configuration.settings))
    faults = [
        each
        for each in configuration.findings
        if each.level is Level.ERROR and each not in spared
    ]
    if faults:
        error = UsageError(str(faults[0]))
        for fault in faults[1:]:
            error.add_note(str(fault))
        raise error
    return configuration


def examine(*layers: Layer) -> Configuration:
    """As `combine`, but faults are among the findings, and their settings left out."""
    settings: dict[str, Setting] = {}
    for layer in layers:
        settings |= layer.settings
    base = next((each.base for each in layers if each.base), Base.ISTIO_IPTABLES)
    if base is Base.SIDECAR:
        settings = _pod_defaults() | settings
    config = _config(settings)
    found = [finding for layer in layers for finding in layer.findings]
    found += contradictions(config, settings)
    return Configuration(config, settings, tuple(found))


def with_addresses(
    configuration: Configuration, addresses: Iterable[IPv4Address | IPv6Address]
) -> Configuration:
    """The configuration of a pod that has these addresses, in their interfaces' order.

    Istio writes IPv6 rules where the first address is IPv6 or, with dual stack, any is.
    Where a source says `ipv6` itself, nothing changes.
    """
    listed = [
        each for each in addresses if not (each.is_loopback or each.is_link_local)
    ]
    if "enable_ipv6" in configuration.settings or not listed:
        return configuration
    asked = listed if configuration.config.dual_stack else listed[:1]
    address = next((each for each in asked if each.version == 6), listed[0])
    origin = Origin(Source.POD, f"the pod's address {address}")
    setting = Setting(address.version == 6, origin)
    return configuration._replace(
        config=replace(configuration.config, enable_ipv6=setting.value is True),
        settings={**configuration.settings, "enable_ipv6": setting},
    )


def _pod_defaults() -> dict[str, Setting]:
    return {
        knob.name: Setting(
            knob.pod_default,
            Origin(Source.DEFAULT, f"default of a pod without {_called(knob)}"),
            of_pod=True,
        )
        for knob in KNOBS
        if knob.pod_default is not None
    }


def _called(knob: Knob) -> str:
    return knob.annotations[-1] if knob.annotations else knob.path


def _config(settings: Mapping[str, Setting]) -> PodConfig:
    # Any: fields of many types; each kind reads its field's type.
    fields: dict[str, Any] = {name: each.value for name, each in settings.items()}
    status = fields.pop("status_port", None)
    servers = fields.pop("dns_servers", None)
    if servers is not None:
        v4, v6 = by_family(servers)
        fields |= {"dns_servers_v4": v4, "dns_servers_v6": v6}
    excluded = settings.get("inbound_ports_exclude")
    if excluded is not None and excluded.of_pod:
        own = ((status,) if status else ()) + SIDECAR_PORTS
        given: tuple[int, ...] = fields["inbound_ports_exclude"]
        fields["inbound_ports_exclude"] = tuple(dict.fromkeys((*given, *own)))
    return replace(PodConfig(), **fields)


def by_family(addresses: object) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Addresses of IPv4, and those of IPv6, each in their order."""
    listed = tuple(addresses) if isinstance(addresses, Iterable) else ()
    v4 = tuple(each for each in listed if isinstance(each, IPv4Address))
    return v4, tuple(each for each in listed if each not in v4)
