"""Beewire: an eBPF toolkit for Python, and the service-mesh data path built with it."""

__version__ = "0.1.0"
