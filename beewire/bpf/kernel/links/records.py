"""`struct bpf_link_info`: what each kind of link tells, behind what all of them do.

Fields are named as in uapi/linux/bpf.h, but for two that the kernel calls `type` as well:
`event` and `perf_type`.
"""

from beewire.bpf.kernel.attr import Record

_HEAD = """
    u32 type
    u32 id
    u32 prog_id
    u32 _pad
"""

HEAD = Record(_HEAD)
RAW_TRACEPOINT = Record(f"""{_HEAD}
    u64 tp_name
    u32 tp_name_len
    u32 _pad2
    u64 cookie
""")
TRACING = Record(f"""{_HEAD}
    u32 attach_type
    u32 target_obj_id
    u32 target_btf_id
    u32 _pad2
    u64 cookie
""")
CGROUP = Record(f"""{_HEAD}
    u64 cgroup_id
    u32 attach_type
    u32 _pad2
""")
ITER = Record(f"""{_HEAD}
    u64 target_name
    u32 target_name_len
    u32 map_id
    u64 _rest
""")
NETNS = Record(f"""{_HEAD}
    u32 netns_ino
    u32 attach_type
""")
XDP = Record(f"""{_HEAD}
    u32 ifindex
    u32 _pad2
""")
STRUCT_OPS = Record(f"""{_HEAD}
    u32 map_id
    u32 _pad2
""")
NETFILTER = Record(f"""{_HEAD}
    u32 pf
    u32 hooknum
    s32 priority
    u32 flags
""")
INTERFACE = Record(f"""{_HEAD}
    u32 ifindex
    u32 attach_type
""")
SOCKMAP = Record(f"""{_HEAD}
    u32 map_id
    u32 attach_type
""")
KPROBE_MULTI = Record(f"""{_HEAD}
    u64 addrs
    u32 count
    u32 flags
    u64 missed
    u64 cookies
""")
UPROBE_MULTI = Record(f"""{_HEAD}
    u64 path
    u64 offsets
    u64 ref_ctr_offsets
    u64 cookies
    u32 path_size
    u32 count
    u32 flags
    u32 pid
""")

# Perf events: what kind they are of, then what the kind tells.
_EVENT = f"""{_HEAD}
    u32 event
    u32 _pad2
"""
PERF_UPROBE = Record(f"""{_EVENT}
    u64 file_name
    u32 name_len
    u32 offset
    u64 cookie
""")
PERF_KPROBE = Record(f"""{_EVENT}
    u64 func_name
    u32 name_len
    u32 offset
    u64 addr
    u64 missed
    u64 cookie
""")
PERF_TRACEPOINT = Record(f"""{_EVENT}
    u64 tp_name
    u32 name_len
    u32 _pad3
    u64 cookie
""")
PERF_EVENT = Record(f"""{_EVENT}
    u64 config
    u32 perf_type
    u32 _pad3
    u64 cookie
""")
