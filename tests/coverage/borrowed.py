"""What functions.py takes from another module."""

from beewire.bpf import Global, u32, u64

shared = Global(u64)


def doubled(value: u32) -> u32:
    shared.value += 1
    return value * 2
