"""Network namespaces for tests, by iproute2."""

import subprocess


def enter(name: str) -> tuple[str, ...]:
    """What to put before a command that is to run in the namespace `name`.

    Not `ip netns exec` nor `ip -n`: they mount /sys anew, which fails in a chroot.
    """
    return ("nsenter", f"--net=/run/netns/{name}")


def ip(*words: str, netns: str = "") -> None:
    """Run `ip`, in a namespace where one is named."""
    before = enter(netns) if netns else ()
    subprocess.run([*before, "ip", *words], check=True, capture_output=True)
