"""What programs, maps and links there are in the kernel, whoever brought them.

states       ProgramState, MapState, LinkState: plain values
census       take_census: all of them, each with its owners, pins and attachments
objects      programs and maps, as the kernel tells of them
links        links, as the kernel tells of them
attachments  what runs without a link: cgroups, perf events, tables
network      what runs at interfaces, in every network namespace
owners       which processes hold descriptors, by /proc
pins         what has a name under a BPF file system
"""

from beewire.bpf.kernel.inspection.census import take_census
from beewire.bpf.kernel.inspection.links import link_state
from beewire.bpf.kernel.inspection.objects import map_state, program_state, runs
from beewire.bpf.kernel.inspection.owners import Held, held_by_proc
from beewire.bpf.kernel.inspection.states import (
    Attachment,
    Census,
    LinkState,
    MapState,
    Owner,
    ProgramState,
)

__all__ = [
    "Attachment",
    "Census",
    "Held",
    "LinkState",
    "MapState",
    "Owner",
    "ProgramState",
    "held_by_proc",
    "link_state",
    "map_state",
    "program_state",
    "runs",
    "take_census",
]
