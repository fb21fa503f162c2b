"""A pod's configuration as it travels and is kept: the text of a Beewire file."""

from functools import lru_cache

from beewire.mesh.config import PodConfig, combine, parse_file
from beewire.mesh.enrol import SIDECAR


@lru_cache(maxsize=256)
def config_of(text: str) -> PodConfig:
    """The configuration that a text stands for; what Istio's injector asks for if empty.

    Raises:
        UsageError: it is none.
    """
    return combine(parse_file(text)).config if text else SIDECAR
