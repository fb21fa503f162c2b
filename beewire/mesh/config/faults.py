"""What is wrong, or surprising, between the settings of one configuration."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from beewire.mesh.config.knobs import KNOB, Support
from beewire.mesh.config.origins import Finding, Level, Origin, Setting, Source
from beewire.mesh.config.pod import ALL, IPNetwork, PodConfig

_MOST_GROUPS = 64  # Istio: maxOwnerGroupsInclude


def contradictions(
    config: PodConfig, settings: Mapping[str, Setting]
) -> Iterator[Finding]:
    """Findings about settings that contradict each other."""
    said = {
        name: setting
        for name, setting in settings.items()
        if setting.origin.source is not Source.DEFAULT
    }
    yield from _ports_both_ways(said, "outbound", config.outbound_ports_exclude)
    if config.inbound_ports_include is not ALL:
        yield from _ports_both_ways(said, "inbound", config.inbound_ports_exclude)
        yield from _exclusions_without_effect(said)
    yield from _ranges_both_ways(said)
    yield from _groups_both_ways(said)
    yield from _dns_that_captures_nothing(config, said)


def refusals(settings: Mapping[str, Setting]) -> tuple[Finding, ...]:
    """A sentence for each knob that is turned and that Beewire cannot honour.

    Rules may be printed for such a configuration; no pod is enrolled with it.
    """
    refused = [
        Finding(Level.ERROR, settings[knob.name].origin, _refusal(knob.parity))
        for knob in KNOB.values()
        if knob.support is Support.REFUSED
        and (setting := settings.get(knob.name)) is not None
        and setting.value
    ]
    return (*refused, *_groups_without_numbers(settings))


def _groups_without_numbers(settings: Mapping[str, Setting]) -> Iterator[Finding]:
    known = {name for name, _ in _pairs(settings)}
    for name in ("owner_groups_include", "owner_groups_exclude"):
        for group in map(str, _items(settings, name)):
            if not group.isdigit() and group not in known:
                yield Finding(
                    Level.ERROR,
                    settings[name].origin,
                    f"group {group!r} has no number here; Istio would ask /etc/group",
                    f"say which it has: --group {group}=GID, or"
                    f" {KNOB['owner_group_ids'].path} in a file",
                )


def _pairs(settings: Mapping[str, Setting]) -> tuple[tuple[str, int], ...]:
    setting = settings.get("owner_group_ids")
    return setting.value if setting and isinstance(setting.value, tuple) else ()


def _refusal(parity: str) -> str:
    return f"cannot be honoured: {parity}".rstrip(".")


def _items(said: Mapping[str, Setting], name: str) -> tuple[object, ...]:
    setting = said.get(name)
    return setting.value if setting and isinstance(setting.value, tuple) else ()


def _ports_both_ways(
    said: Mapping[str, Setting], way: str, excluded: tuple[int, ...]
) -> Iterator[Finding]:
    include, exclude = f"{way}_ports_include", f"{way}_ports_exclude"
    given, known = set(_items(said, exclude)), set(excluded)
    both = [port for port in _items(said, include) if port in known]
    if not both:
        return
    ports = ", ".join(map(str, both))
    if any(port in given for port in both):
        other = said[exclude].origin
        yield Finding(
            Level.ERROR,
            said[include].origin,
            f"port {ports} is included here and excluded by {other}",
            "take it out of one of them",
        )
    elif way == "outbound":
        yield Finding(
            Level.NOTE,
            said[include].origin,
            f"port {ports} is excluded by default, and that comes first",
            f"write an empty {KNOB[exclude].annotations[-1]} to have it captured",
        )


def _exclusions_without_effect(said: Mapping[str, Setting]) -> Iterator[Finding]:
    setting = said.get("inbound_ports_exclude")
    if setting and setting.value and "inbound_ports_include" in said:
        include = said["inbound_ports_include"].origin
        yield Finding(
            Level.NOTE,
            setting.origin,
            f"has no effect: Istio excludes ports only where all are captured ({include})",
        )


def _ranges_both_ways(said: Mapping[str, Setting]) -> Iterator[Finding]:
    included = _networks(said, "outbound_ip_ranges_include")
    excluded = _networks(said, "outbound_ip_ranges_exclude")
    for network, cover in covered(included, excluded):
        yield Finding(
            Level.ERROR,
            said["outbound_ip_ranges_include"].origin,
            f"{network} is included here and lies in {cover}, which is excluded by"
            f" {said['outbound_ip_ranges_exclude'].origin}",
            "take it out of one of them: exclusions come first",
        )


def _networks(said: Mapping[str, Setting], name: str) -> tuple[IPNetwork, ...]:
    return tuple(
        each
        for each in _items(said, name)
        if isinstance(each, IPv4Network | IPv6Network)
    )


def covered(
    narrow: Iterable[IPNetwork], wide: Iterable[IPNetwork]
) -> Iterator[tuple[IPNetwork, IPNetwork]]:
    """Each network of `narrow` that lies in one of `wide`, with the widest such.

    Takes one look for each length that `wide` has, so that lists may be long.
    """
    known = set(wide)
    lengths = sorted({(each.version, each.prefixlen) for each in known})
    for network in narrow:
        for version, length in lengths:
            if version == network.version and length <= network.prefixlen:
                above = network.supernet(new_prefix=length)
                if above in known:
                    yield network, above
                    break


def _groups_both_ways(said: Mapping[str, Setting]) -> Iterator[Finding]:
    include, exclude = (
        said.get("owner_groups_include"),
        _items(said, "owner_groups_exclude"),
    )
    if include is None or include.value is ALL:
        return
    included = _items(said, "owner_groups_include")
    both = [group for group in included if group in exclude]
    if both:
        yield Finding(
            Level.ERROR,
            include.origin,
            f"group {', '.join(map(str, both))} is included here and excluded by"
            f" {said['owner_groups_exclude'].origin}",
            "take it out of one of them",
        )
    elif exclude:
        yield Finding(
            Level.NOTE,
            said["owner_groups_exclude"].origin,
            "has no effect: Istio excludes groups only where all are captured"
            f" ({include.origin})",
        )
    if len(included) > _MOST_GROUPS:
        yield Finding(
            Level.NOTE,
            include.origin,
            f"names {len(included)} groups, and Istio refuses more than {_MOST_GROUPS}",
        )


def _dns_that_captures_nothing(
    config: PodConfig, said: Mapping[str, Setting]
) -> Iterator[Finding]:
    servers = config.dns_servers_v4 or config.dns_servers_v6
    if config.redirect_dns and not config.capture_all_dns and not servers:
        origin = said["redirect_dns"].origin if "redirect_dns" in said else _NOWHERE
        yield Finding(
            Level.NOTE,
            origin,
            "captures nothing while no resolver is known",
            f"give --resolv-conf FILE, name them in {KNOB['dns_servers'].path}, or"
            " capture all DNS; when a pod is enrolled, they are read from the"
            " /etc/resolv.conf of its sidecar",
        )
    if config.capture_all_dns and not config.redirect_dns and "capture_all_dns" in said:
        yield Finding(
            Level.NOTE,
            said["capture_all_dns"].origin,
            "has no effect without the capture of DNS itself, as in Istio",
        )


_NOWHERE = Origin(Source.DEFAULT, "")
