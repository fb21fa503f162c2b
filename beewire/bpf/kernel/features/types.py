"""BTF: which types the kernel knows, and whose it tells."""

import os
import struct

from beewire.bpf import isa
from beewire.bpf.btf import (
    Builder,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Int,
    Linkage,
    Ptr,
    SectionEntry,
    Struct,
    Type,
    TypeTag,
    Var,
    ext,
)
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.features.feature import Feature, Outcome, ask, judge, no, yes
from beewire.bpf.kernel.features.maps import load_btf
from beewire.bpf.kernel.modules import DIRECTORY
from beewire.bpf.kernel.names import VMLINUX
from beewire.bpf.kernel.probed import try_program
from beewire.errors import UsageError

_INT = Int("int", 4, signed=True)
_CORE_TYPE_SIZE = 9  # enum bpf_core_relo_kind
_LOCAL_SIZE = 4  # no kernel has a task_struct as small as that


def _variable(section: str) -> DataSec:
    held = Var("v", _INT, Linkage.STATIC)
    return DataSec(section, 4, (SectionEntry(held, 0, 4),))


_FUNCTION = FuncProto(_INT, ())
# What BPF_BTF_LOAD takes, since when, and the smallest BTF with it.
TYPES: dict[str, tuple[str, Type]] = {
    "functions": ("5.0", Func("f", _FUNCTION, Linkage.STATIC)),
    "data sections": ("5.2", _variable(".data")),
    "global functions": ("5.6", Func("f", _FUNCTION, Linkage.GLOBAL)),
    "floats": ("5.13", Float("float", 4)),
    "declaration tags": ("5.16", DeclTag("tag", Func("f", _FUNCTION, Linkage.STATIC))),
    "type tags": ("5.17", Ptr(TypeTag("tag", _INT))),
    "enums of 64 bits": ("6.0", Enum64("e", 8, (Enumerator("E", 1),))),
    "signed enums": ("6.0", Enum("e", 4, (Enumerator("E", 1),), signed=True)),
    "optional data sections": ("6.9", _variable("?.data")),
}


def btf(name: str) -> Feature:
    """Whether the kernel takes one of TYPES, which objects may bring along.

    Raises:
        UsageError: There is no such name in TYPES.
    """
    if name not in TYPES:
        raise UsageError(f"{name!r} is none of {', '.join(TYPES)}")
    since, node = TYPES[name]
    return ask("btf", name, since, lambda: _try(node))


def _try(node: Type) -> Outcome:
    builder = Builder()
    builder.add(node)
    return judge(load_btf(builder))


def kernel_btf(path: str = VMLINUX) -> Feature:
    """Whether the kernel tells its own types."""
    what = "of the kernel" if path == VMLINUX else f"of the kernel at {path}"
    return ask("btf", what, "5.4", lambda: _readable(path))


def _readable(path: str) -> Outcome:
    if os.access(path, os.R_OK):
        return yes()
    return no(f"{path} is missing: CONFIG_DEBUG_INFO_BTF is off", lasting=False)


def module_btf() -> Feature:
    """Whether the kernel tells the types of its modules; it may have none loaded."""
    return ask("btf", "of modules", "5.11", _try_modules)


def _try_modules() -> Outcome:
    """Names of BTF objects came together with the BTF of modules."""
    builder = Builder()
    builder.add(_INT)
    result = load_btf(builder)
    if result < 0:
        return judge(result)
    with Descriptor(result) as handle:
        name = bytearray(16)
        info = attr.BTF_INFO.pack(name=syscall.address(name), name_len=len(name))
        request = attr.INFO.pack(
            bpf_fd=handle.fd, info_len=len(info), info=syscall.address(info)
        )
        known = syscall.try_bpf(syscall.Cmd.OBJ_GET_INFO_BY_FD, request) >= 0
    if not known:
        return no("the kernel does not tell names of BTF objects")
    if os.path.isdir(DIRECTORY):  # noqa: PTH112 - no pathlib here
        return yes()
    return no(f"{DIRECTORY} is missing: CONFIG_DEBUG_INFO_BTF_MODULES is off")


def core() -> Feature:
    """Whether the kernel itself applies CO-RE records."""
    return ask("btf", "CO-RE by the kernel", "5.17", _try_core)


def _try_core() -> Outcome:
    """A program that returns what CO-RE makes of the size that its types give a struct.

    It has to be run: without records of functions, kernels load it and look at nothing.
    """
    builder = Builder()
    function = builder.add(Func("f", _FUNCTION, Linkage.STATIC))
    task = Struct("task_struct", _LOCAL_SIZE)
    relos = bytearray(ext.encode_core_relos(builder, [(0, task, "0", _CORE_TYPE_SIZE)]))
    functions = bytearray(struct.pack("=II", 0, function))
    btf_fd = load_btf(builder)
    if btf_fd < 0:
        return judge(btf_fd)
    with Descriptor(btf_fd):
        result = try_program(
            (isa.mov_imm(0, _LOCAL_SIZE), isa.exit_insn()),
            prog_btf_fd=btf_fd,
            func_info=syscall.address(functions),
            func_info_cnt=1,
            func_info_rec_size=len(functions),
            core_relos=syscall.address(relos),
            core_relo_cnt=1,
            core_relo_rec_size=ext.CORE_RELO.size,
        )
    if result < 0:
        return judge(result)
    with Descriptor(result) as program:
        packet = bytearray(64)
        run = attr.TEST_RUN.pack(
            prog_fd=program.fd, data_size_in=64, data_in=syscall.address(packet)
        )
        ran = syscall.try_bpf(syscall.Cmd.PROG_TEST_RUN, run)
    if ran < 0:
        return judge(ran)
    applied = attr.TEST_RUN.integer(run, "retval") != _LOCAL_SIZE
    return yes() if applied else no("the kernel takes the records, and ignores them")
