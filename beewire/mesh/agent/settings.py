"""A pod's configuration as it travels and is kept: the text of a Beewire file."""

from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from beewire.errors import UsageError
from beewire.mesh.agent import processes
from beewire.mesh.config import (
    Configuration,
    PodConfig,
    combine,
    examine,
    parse_file,
    parse_resolv_conf,
    read_annotations,
    refusals,
    with_addresses,
    write_file,
)
from beewire.mesh.enrol import SIDECAR


def config_of(text: str, addresses: tuple[str, ...] = ()) -> PodConfig:
    """The configuration that a text stands for; what Istio's injector asks for if empty.

    Raises:
        UsageError: it is none, or it has what Beewire cannot honour.
    """
    return configuration_of(text, addresses).config


@lru_cache(maxsize=256)
def configuration_of(text: str, addresses: tuple[str, ...] = ()) -> Configuration:
    """The same with the origin of each setting. The pod's addresses decide about IPv6.

    Raises:
        UsageError: it is none, or it has what Beewire cannot honour.
    """
    if not text:
        return examine(read_annotations({}))._replace(config=SIDECAR)
    found = combine(parse_file(text))
    for refusal in refusals(found.settings):
        raise UsageError(str(refusal))
    return with_addresses(found, map(ip_address, addresses))


def changed(text: str, change: str) -> str:
    """A text with the settings of another, `change`, in the place of its own.

    Raises:
        UsageError: one of them is no configuration.
    """
    if not change:
        return text
    base = parse_file(text or write_file(SIDECAR))
    return write_file(combine(base, parse_file(change, "change")))


def with_resolvers(text: str, sidecar: Path) -> str:
    """A text that names its resolvers, where only questions to them are captured.

    They are those of the /etc/resolv.conf that a process in the cgroup `sidecar` sees, as
    istio-iptables reads them in the pod. While nothing runs there, the text stays as it is.

    Raises:
        UsageError: the text is no configuration.
    """
    config = config_of(text)
    known = config.dns_servers_v4 or config.dns_servers_v6
    if not config.redirect_dns or config.capture_all_dns or known:
        return text
    for pid in processes.pids_in(sidecar):
        found = processes.resolv_conf_of(pid)
        if found is not None:
            resolvers = parse_resolv_conf(found, "the sidecar's /etc/resolv.conf")
            return write_file(combine(parse_file(text), resolvers))
    return text
