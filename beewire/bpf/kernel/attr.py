"""The arms of `union bpf_attr` and the records that bpf(2) fills in, field by field.

One line a field, in the order of uapi/linux/bpf.h and under its names, so that a table
here can be read beside the header; a test compares every offset with the kernel's BTF.
Making them takes a sixth of the time that ctypes.Structure classes take.
"""

from struct import Struct, calcsize, error

from beewire.errors import EncodingError

_FORMATS = {"u8": "B", "u16": "H", "u32": "I", "s32": "i", "u64": "Q"}


class Record:
    """A C structure as a list of `type name` lines; `type[n]` is n opaque bytes.

    Padding is written out as fields whose name begins with `_`.
    """

    __slots__ = ("_codes", "_struct", "_zero", "size")

    def __init__(self, fields: str) -> None:
        codes = []
        self._zero: dict[str, int | bytes] = {}
        for line in fields.split("\n"):
            kind, _, name = line.strip().partition(" ")
            if not name:
                continue
            if kind in _FORMATS:
                codes.append(_FORMATS[kind])
                self._zero[name] = 0
            else:
                codes.append(kind[kind.index("[") + 1 : -1] + "s")
                self._zero[name] = b""
        self._codes = codes
        self._struct = Struct("=" + "".join(codes))
        self.size = self._struct.size

    def pack(self, **values: int | bytes) -> bytearray:
        """The structure with these fields set and all others zero.

        Raises:
            EncodingError: a value is no integer, or does not fit its field.
        """
        fields = {**self._zero, **values}
        if len(fields) != len(self._zero):
            unknown = ", ".join(sorted(values.keys() - self._zero.keys()))
            raise TypeError(f"no such field: {unknown}")
        try:
            return bytearray(self._struct.pack(*fields.values()))
        except error:
            raise EncodingError(self._misfit(fields)) from None

    def _misfit(self, fields: dict[str, int | bytes]) -> str:
        for code, (name, value) in zip(self._codes, fields.items(), strict=True):
            try:
                Struct("=" + code).pack(value)
            except error:
                return f"{name} is a number of {calcsize(code)} bytes, not {value!r}"
        return "a field does not fit"

    def unpack(self, data: bytes | bytearray) -> dict[str, int | bytes]:
        """Every field by name; `data` may be longer than the structure."""
        return dict(zip(self._zero, self._struct.unpack_from(data), strict=True))

    def integer(self, data: bytes | bytearray, name: str) -> int:
        """One integer field of `data`."""
        value = self.unpack(data)[name]
        if isinstance(value, bytes):
            raise TypeError(f"{name} is not an integer")
        return value

    def put(self, data: bytearray, name: str, value: int) -> None:
        """Set one integer field of `data`."""
        fields = self.unpack(data)
        fields[name] = value
        self._struct.pack_into(data, 0, *fields.values())

    def text(self, data: bytes | bytearray, name: str) -> str:
        """One NUL-terminated text field of `data`."""
        return self.octets(data, name).rstrip(b"\0").decode(errors="replace")

    def octets(self, data: bytes | bytearray, name: str) -> bytes:
        """One field of opaque bytes of `data`."""
        value = self.unpack(data)[name]
        if isinstance(value, int):
            raise TypeError(f"{name} is an integer")
        return value

    def offsets(self) -> dict[str, int]:
        """Byte offset of each named field (padding left out)."""
        found, offset = {}, 0
        for name, code in zip(self._zero, self._codes, strict=True):
            if not name.startswith("_"):
                found[name] = offset
            offset += calcsize("=" + code)
        return found


MAP_CREATE = Record("""
    u32 map_type
    u32 key_size
    u32 value_size
    u32 max_entries
    u32 map_flags
    u32 inner_map_fd
    u32 numa_node
    char[16] map_name
    u32 map_ifindex
    u32 btf_fd
    u32 btf_key_type_id
    u32 btf_value_type_id
    u32 btf_vmlinux_value_type_id
    u64 map_extra
    s32 value_type_btf_obj_fd
    s32 map_token_fd
""")

MAP_ELEM = Record("""
    u32 map_fd
    u32 _pad
    u64 key
    u64 value
    u64 flags
""")

MAP_BATCH = Record("""
    u64 in_batch
    u64 out_batch
    u64 keys
    u64 values
    u32 count
    u32 map_fd
    u64 elem_flags
    u64 flags
""")

PROG_LOAD = Record("""
    u32 prog_type
    u32 insn_cnt
    u64 insns
    u64 license
    u32 log_level
    u32 log_size
    u64 log_buf
    u32 kern_version
    u32 prog_flags
    char[16] prog_name
    u32 prog_ifindex
    u32 expected_attach_type
    u32 prog_btf_fd
    u32 func_info_rec_size
    u64 func_info
    u32 func_info_cnt
    u32 line_info_rec_size
    u64 line_info
    u32 line_info_cnt
    u32 attach_btf_id
    u32 attach_prog_fd
    u32 core_relo_cnt
    u64 fd_array
    u64 core_relos
    u32 core_relo_rec_size
    u32 log_true_size
    s32 prog_token_fd
""")

BTF_LOAD = Record("""
    u64 btf
    u64 btf_log_buf
    u32 btf_size
    u32 btf_log_size
    u32 btf_log_level
    u32 btf_log_true_size
    u32 btf_flags
    s32 btf_token_fd
""")

TOKEN_CREATE = Record("""
    u32 flags
    u32 bpffs_fd
""")

OBJ = Record("""
    u64 pathname
    u32 bpf_fd
    u32 file_flags
""")

PROG_ATTACH = Record("""
    u32 target_fd
    u32 attach_bpf_fd
    u32 attach_type
    u32 attach_flags
    u32 replace_bpf_fd
""")

PROG_QUERY = Record("""
    u32 target_fd
    u32 attach_type
    u32 query_flags
    u32 attach_flags
    u64 prog_ids
    u32 prog_cnt
    u32 _pad
    u64 prog_attach_flags
    u64 link_ids
    u64 link_attach_flags
    u64 revision
""")

TEST_RUN = Record("""
    u32 prog_fd
    u32 retval
    u32 data_size_in
    u32 data_size_out
    u64 data_in
    u64 data_out
    u32 repeat
    u32 duration
    u32 ctx_size_in
    u32 ctx_size_out
    u64 ctx_in
    u64 ctx_out
    u32 flags
    u32 cpu
    u32 batch_size
    u32 _pad
""")

GET_ID = Record("""
    u32 start_id
    u32 next_id
    u32 open_flags
""")

INFO = Record("""
    u32 bpf_fd
    u32 info_len
    u64 info
""")

RAW_TRACEPOINT = Record("""
    u64 name
    u32 prog_fd
    u32 _pad
    u64 cookie
""")

LINK_CREATE = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 flags
    u64 bpf_cookie
""")

TRACING_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 flags
    u32 target_btf_id
    u32 _pad
    u64 cookie
""")

ITER_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 flags
    u64 iter_info
    u32 iter_info_len
    u32 _pad
""")

KPROBE_MULTI_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 link_flags
    u32 flags
    u32 cnt
    u64 syms
    u64 addrs
    u64 cookies
""")

UPROBE_MULTI_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 link_flags
    u64 path
    u64 offsets
    u64 ref_ctr_offsets
    u64 cookies
    u32 cnt
    u32 flags
    u32 pid
    u32 _pad
""")

# Of the hooks that keep several programs in order: tcx, netkit, and cgroups.
ORDERED_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 flags
    u32 relative_fd
    u32 _pad
    u64 expected_revision
""")

NETFILTER_LINK = Record("""
    u32 prog_fd
    u32 target_fd
    u32 attach_type
    u32 flags
    u32 pf
    u32 hooknum
    u32 priority
    u32 netfilter_flags
""")

ITER_CREATE = Record("""
    u32 link_fd
    u32 flags
""")

LINK_UPDATE = Record("""
    u32 link_fd
    u32 new_prog_fd
    u32 flags
    u32 old_prog_fd
""")

LINK_DETACH = Record("""
    u32 link_fd
""")

# `struct bpf_map_info`, `bpf_prog_info` and `bpf_link_info` as far as Beewire reads
# them. A kernel that knows fewer fields leaves the rest zero.
MAP_INFO = Record("""
    u32 type
    u32 id
    u32 key_size
    u32 value_size
    u32 max_entries
    u32 map_flags
    char[16] name
    u32 ifindex
    u32 btf_vmlinux_value_type_id
    u64 netns_dev
    u64 netns_ino
    u32 btf_id
    u32 btf_key_type_id
    u32 btf_value_type_id
    u32 btf_vmlinux_id
    u64 map_extra
""")

PROG_INFO = Record("""
    u32 type
    u32 id
    char[8] tag
    u32 jited_prog_len
    u32 xlated_prog_len
    u64 jited_prog_insns
    u64 xlated_prog_insns
    u64 load_time
    u32 created_by_uid
    u32 nr_map_ids
    u64 map_ids
    char[16] name
    u32 ifindex
    u32 gpl_compatible
    u64 netns_dev
    u64 netns_ino
    u32 nr_jited_ksyms
    u32 nr_jited_func_lens
    u64 jited_ksyms
    u64 jited_func_lens
    u32 btf_id
    u32 func_info_rec_size
    u64 func_info
    u32 nr_func_info
    u32 nr_line_info
    u64 line_info
    u64 jited_line_info
    u32 nr_jited_line_info
    u32 line_info_rec_size
    u32 jited_line_info_rec_size
    u32 nr_prog_tags
    u64 prog_tags
    u64 run_time_ns
    u64 run_cnt
    u64 recursion_misses
    u32 verified_insns
    u32 attach_btf_obj_id
    u32 attach_btf_id
    u32 _pad
""")

BTF_INFO = Record("""
    u64 btf
    u32 btf_size
    u32 id
    u64 name
    u32 name_len
    u32 kernel_btf
""")

# The union behind prog_id differs by link type; its first words are what cgroup
# (cgroup_id, attach_type), netns (netns_ino, attach_type) and xdp (ifindex) links tell.
LINK_INFO = Record("""
    u32 type
    u32 id
    u32 prog_id
    u32 _pad
    u32 target
    u32 target_high
    u32 attach_type
    char[64] _rest
""")

TASK_FD_QUERY = Record("""
    u32 pid
    u32 fd
    u32 flags
    u32 buf_len
    u64 buf
    u32 prog_id
    u32 fd_type
    u64 probe_offset
    u64 probe_addr
""")

_EVENT = """
    u32 type
    u32 size
    u64 config
    u64 sample_period
    u64 sample_type
    u64 read_format
    u64 _bits
    u32 wakeup_events
    u32 bp_type
"""

# `struct perf_event_attr` of PERF_ATTR_SIZE_VER0, which every kernel takes.
PERF_EVENT_ATTR = Record(f"""{_EVENT}
    u64 bp_addr
""")

# Of PERF_ATTR_SIZE_VER1: what a probe's event is told beside it. `config1` is one with
# `bp_addr`, the address of a name; `config2` an offset.
PROBE_EVENT_ATTR = Record(f"""{_EVENT}
    u64 config1
    u64 config2
""")
