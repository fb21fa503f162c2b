"""Beewire: an eBPF toolkit for Python, and the service-mesh data path built with it."""

from beewire.finder import install

__version__ = "0.1.0"

install(__spec__)
del install
