"""Type information (BTF): bytes <-> types, and the records that point into it.

    builder = Builder()
    builder.add(Ptr(Struct("pair", 8, (Member("a", u32, 0), Member("b", u32, 32)))))
    index = Index.build(builder.encode())
    pair = index.lookup("pair", Struct)

types       every kind of type, as plain objects
structure   when two types are equal; how large a type is
builder     types -> ids -> the `.BTF` section
encoding    one type -> its record
index       the `.BTF` section -> types, as far as somebody looks
decoding    one record -> its type
compat      when a type of an object stands for one of a kernel
older       the `.BTF` section for kernels that know fewer kinds of types
core        CO-RE: what its records mean, given a kernel's types
ext         func_info, line_info and CO-RE records; the `.BTF.ext` section

What reads BTF is imported on first use: most programs only write it.
"""

from beewire.bpf.btf.builder import Builder
from beewire.bpf.btf.structure import same, size_of, strip
from beewire.bpf.btf.types import (
    ARRAY_INDEX,
    Array,
    Composite,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Linkage,
    Member,
    Param,
    Ptr,
    Reference,
    Restrict,
    SectionEntry,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.btf.compat import types_compatible, types_match
    from beewire.bpf.btf.core import Answer, CoreKind, Resolver
    from beewire.bpf.btf.index import Index, decode

_LAZY = {
    "Answer": "core",
    "CoreKind": "core",
    "Index": "index",
    "Resolver": "core",
    "decode": "index",
    "types_compatible": "compat",
    "types_match": "compat",
}

__all__ = [
    "ARRAY_INDEX",
    "Answer",
    "Array",
    "Builder",
    "Composite",
    "Const",
    "CoreKind",
    "DataSec",
    "DeclTag",
    "Enum",
    "Enum64",
    "Enumerator",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Index",
    "Int",
    "Kind",
    "Linkage",
    "Member",
    "Param",
    "Ptr",
    "Reference",
    "Resolver",
    "Restrict",
    "SectionEntry",
    "Struct",
    "Type",
    "TypeTag",
    "Typedef",
    "Union",
    "Var",
    "Volatile",
    "decode",
    "same",
    "size_of",
    "strip",
    "types_compatible",
    "types_match",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        # Not by importlib, whose own import takes 0.4 ms.
        home = __import__(f"{__name__}.{_LAZY[name]}", fromlist=(name,))
        return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
