"""libbpf as an oracle: the instructions that it makes of an object, for a kernel's types."""

import ctypes
import os
from pathlib import Path

import pytest


class _OpenOptions(ctypes.Structure):
    """`struct bpf_object_open_opts`, as far as libbpf 1.0 has it."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("reserved", ctypes.c_long),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_void_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
    ]


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        pytest.skip("libbpf1 is not installed")
    pointer = ctypes.c_void_p
    library.bpf_object__open_file.restype = pointer
    library.bpf_object__load.argtypes = (pointer,)
    library.bpf_object__close.argtypes = (pointer,)
    library.bpf_object__find_program_by_name.restype = pointer
    library.bpf_object__find_program_by_name.argtypes = (pointer, ctypes.c_char_p)
    library.bpf_program__insns.restype = pointer
    library.bpf_program__insns.argtypes = (pointer,)
    library.bpf_program__insn_cnt.restype = ctypes.c_size_t
    library.bpf_program__insn_cnt.argtypes = (pointer,)
    return library


def relocated(path: Path, program: str, types: Path | None = None) -> bytes:
    """The instructions of `program`, as libbpf loads them where `types` is the kernel."""
    library = _library()
    options = _OpenOptions()
    options.sz = ctypes.sizeof(options)
    if types is not None:
        options.btf_custom_path = os.fsencode(types)
    opened = library.bpf_object__open_file(os.fsencode(path), ctypes.byref(options))
    assert opened, os.strerror(ctypes.get_errno())
    try:
        library.bpf_object__load(opened)
        found = library.bpf_object__find_program_by_name(opened, program.encode())
        count = library.bpf_program__insn_cnt(found)
        return ctypes.string_at(library.bpf_program__insns(found), 8 * count)
    finally:
        library.bpf_object__close(opened)
