"""A congestion control in Python: slow start, then one segment more for each round trip.

    python examples/congestion.py          # registers "bw_gentle" until Enter
    sysctl net.ipv4.tcp_available_congestion_control
    iperf3 -C bw_gentle -c HOST

It is Reno's arithmetic (RFC 5681), with a third instead of a half given back at a loss.
"""

import socket

from beewire.bpf import Global, Kernel, StructOps, chars, kernel_ptr, u32, u64

LEAST = 2
INFINITE = 0x7FFF_FFFF  # TCP_INFINITE_SSTHRESH


class tcp_sock(Kernel):
    snd_cwnd: u32
    snd_cwnd_cnt: u32
    snd_cwnd_clamp: u32
    snd_ssthresh: u32


class sock(Kernel):
    sk_mark: u32


connections = Global(u64)
losses = Global(u64)
most = Global(u32)


class Gentle(StructOps, kernel="tcp_congestion_ops"):
    """`struct tcp_congestion_ops`; what it leaves out is the kernel's own."""

    name: str = chars(16, default="bw_gentle")

    @staticmethod
    def init(sk: sock) -> None:  # noqa: ARG004
        connections.value += 1

    @staticmethod
    def ssthresh(sk: sock) -> u32:
        """After a loss: two thirds of the window."""
        losses.value += 1
        window = kernel_ptr(sk, tcp_sock).snd_cwnd
        return max(window * 2 // 3, LEAST)

    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        """What was taken for a loss was none."""
        return kernel_ptr(sk, tcp_sock).snd_cwnd

    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:  # noqa: ARG004
        """Segments were acknowledged."""
        tcp = kernel_ptr(sk, tcp_sock)
        window = tcp.snd_cwnd
        if window < tcp.snd_ssthresh:
            window += acked
        else:
            count = tcp.snd_cwnd_cnt + acked
            if count >= window:
                count = 0
                window += 1
            tcp.snd_cwnd_cnt = count
        window = min(window, tcp.snd_cwnd_clamp)
        tcp.snd_cwnd = window
        most.value = max(most.value, window)


def choose(sock_: socket.socket) -> None:
    """Let a socket use it."""
    sock_.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bw_gentle")


def main() -> None:
    with Gentle.attach() as link:
        print(f"bw_gentle is registered ({link.kind}); Enter takes it back")
        input()
    print(
        f"{connections.value} connections, {losses.value} losses, {most.value} segments"
    )


if __name__ == "__main__":
    main()
