"""The names of the BPF helpers, by number (`enum bpf_func_id`, without BPF_FUNC_).

The list is closed: since number 211 (Linux 6.2) the kernel adds kfuncs, not helpers.
"""

from beewire.bpf.isa.helper_table import HELPERS

HELPER_NAMES = (
    "unspec",
    *[line.partition(" ")[0] for line in HELPERS.strip().split("\n")],
)
