"""A pod's configuration as it travels and is kept: the text of a Beewire file."""

from functools import lru_cache
from ipaddress import ip_address

from beewire.errors import UsageError
from beewire.mesh.config import (
    Configuration,
    PodConfig,
    combine,
    examine,
    parse_file,
    read_annotations,
    refusals,
    with_addresses,
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
