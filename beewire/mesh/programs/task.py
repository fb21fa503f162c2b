"""What the kernel knows of the running process, read field by field.

The helpers that would tell it are not for every kind of program in every kernel: Linux 6.12
has none of them for sk_lookup, 6.1 none for sock_ops.
"""

from beewire.bpf import Kernel, chars, current, embedded, helpers, u32, u64
from beewire.mesh.programs.state import PodState

BELOW = 8  # cgroups in one another that the sidecar may have made below its own


class net(Kernel):
    """`struct net`."""

    net_cookie: u64  # since Linux 5.14


class nsproxy(Kernel):
    """`struct nsproxy`."""

    net_ns: net


class kuid_t(Kernel):
    """`kuid_t`."""

    val: u32


class cred(Kernel):
    """`struct cred`."""

    uid: kuid_t = embedded()


class kernfs_node(Kernel):
    """`struct kernfs_node`."""

    id: u64


class cgroup(Kernel):
    """`struct cgroup`."""

    self: "cgroup_subsys_state" = embedded()
    kn: kernfs_node


class cgroup_subsys_state(Kernel):
    """`struct cgroup_subsys_state`."""

    cgroup: cgroup
    parent: "cgroup_subsys_state"


class css_set(Kernel):
    """`struct css_set`."""

    dfl_cgrp: cgroup


class task_struct(Kernel):
    """`struct task_struct`."""

    tgid: u32
    comm: str = chars(16)
    cred: cred
    nsproxy: nsproxy
    cgroups: css_set


def this_thread() -> u64:
    """The running thread: its address, which is told faster than its number."""
    return helpers.get_current_task()


def own_namespace() -> u64:
    """The cookie of the running process' network namespace.

    When a packet is sent by a timer, whoever is interrupted runs, most often of
    another pod.
    """
    return current(task_struct).nsproxy.net_ns.net_cookie


def runs_in_sidecar(pod: PodState) -> bool:
    """Whether the process runs in the sidecar's cgroup or below it."""
    group = current(task_struct).cgroups.dfl_cgrp
    for _ in range(BELOW):
        if group.kn.id == pod.proxy_cgroup:
            return True
        group = group.self.parent.cgroup
    return False
