"""Addresses as functions: the kernel's, and those of any process.

    kernel = KernelSymbols.read()
    kernel.find(0xFFFFFFFF81234567)         # KernelSymbol('vfs_read', ...)

    with Symbolizer() as symbols:
        symbols.user(pid, address)          # Frame('std::sort<int*>', 'app', 'user')

kallsyms    the kernel, its modules, BPF programs
elf         programs and libraries: segments, sections, symbols (table: by address)
debug       where the symbols of stripped files are
mappings    /proc/PID/maps
perfmap     what just-in-time compilers tell
image       one mapped file with its functions
cfi         unwind tables
unwind      callers by unwind tables
process     one process: address -> Frame
symbolizer  the kernel and all processes
demangling  names of C++ and Rust
"""

from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.symbols.demangling import demangle
    from beewire.symbols.elf import ElfFile
    from beewire.symbols.image import Image
    from beewire.symbols.kallsyms import KernelSymbol, KernelSymbols
    from beewire.symbols.mappings import Mapping, Mappings
    from beewire.symbols.perfmap import PerfMap
    from beewire.symbols.process import Frame, Images, Process
    from beewire.symbols.symbolizer import Symbolizer
    from beewire.symbols.table import SymbolTable, UserSymbol

_HOMES = {
    "ElfFile": "elf",
    "Frame": "process",
    "Image": "image",
    "Images": "process",
    "KernelSymbol": "kallsyms",
    "KernelSymbols": "kallsyms",
    "Mapping": "mappings",
    "Mappings": "mappings",
    "PerfMap": "perfmap",
    "Process": "process",
    "SymbolTable": "table",
    "Symbolizer": "symbolizer",
    "UserSymbol": "table",
    "demangle": "demangling",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = __import__(f"{__name__}.{_HOMES[name]}", fromlist=(name,))
    globals()[name] = value = getattr(home, name)
    return value


__all__ = [
    "ElfFile",
    "Frame",
    "Image",
    "Images",
    "KernelSymbol",
    "KernelSymbols",
    "Mapping",
    "Mappings",
    "PerfMap",
    "Process",
    "SymbolTable",
    "Symbolizer",
    "UserSymbol",
    "demangle",
]
