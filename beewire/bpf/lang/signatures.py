"""The BTF of subprograms: what they are called with, for the kernel and for debuggers."""

from beewire.bpf.btf import Linkage
from beewire.bpf.btf import types as btf
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.passing import Passed
from beewire.bpf.lang.unit import Subprogram
from beewire.bpf.lang.values import ContextValue, Int, Memory, Value

NONNULL = "arg:nonnull"  # Linux 6.8, as __arg_nonnull of bpf_helpers.h
CONTEXT = (
    "arg:ctx"  # the same, for hooks whose context is no struct of the kernel's UAPI
)


def describe(made: Subprogram, passed: list[Passed]) -> None:
    """Give a subprogram that takes `passed` its type, and the tags of its parameters."""
    params: list[btf.Param] = []
    tags: list[tuple[int, str]] = []
    for each in passed:
        if each.op is None:
            continue
        tag = _tag(each.template) if made.is_global else ""
        if tag:
            tags.append((len(params), tag))
        params.append(btf.Param(each.name, _parameter(each.template)))
    if made.in_memory:
        if made.is_global:
            tags.append((len(params), NONNULL))
        params.append(btf.Param("result", btf.Ptr(_WORD if made.is_global else None)))
    result = made.result
    returns = to_btf(result.type) if isinstance(result, Int) else _LONG
    linkage = Linkage.GLOBAL if made.is_global else Linkage.STATIC
    proto = btf.FuncProto(returns, tuple(params))
    made.signature = btf.Func(made.name, proto, linkage)
    made.tags = tuple([btf.DeclTag(tag, made.signature, at) for at, tag in tags])


_LONG = btf.Int("long long", 8, signed=True)
_WORD = btf.Int("unsigned long long", 8)


def _parameter(template: Value) -> btf.Type:
    if isinstance(template, Int):
        return to_btf(template.type)
    if isinstance(template, Memory):
        return btf.Ptr(to_btf(template.type))
    if isinstance(template, ContextValue):
        name = template.cls.struct_name
        # By the name the kernel knows that it is the context.
        return btf.Ptr(btf.Struct(name, 0) if name else _WORD)
    return btf.Ptr(None)


def _tag(template: Value) -> str:
    if isinstance(template, Memory) and not template.nullable:
        return NONNULL
    is_unnamed = isinstance(template, ContextValue) and not template.cls.struct_name
    return CONTEXT if is_unnamed else ""
