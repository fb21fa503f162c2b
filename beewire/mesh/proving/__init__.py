"""Proof by real connections: what real rules, and the enrolled data path, do with them.

    attempts   connections that are made, and what the decision is asked about each
    worker     makes them inside a pod, and hears where they arrive
    ground     two pods with every port open, a world that answers for every address
    real       the comparison

Pod A has Istio's rules, by iptables-legacy; pod B is enrolled. The same sockets call, of
the same users, groups and cgroups.
"""

from beewire.mesh.proving.real import Real, RealReport

__all__ = ["Real", "RealReport"]
