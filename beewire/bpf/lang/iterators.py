"""The types of the kernel functions by which codegen counts rounds, for object files."""

from beewire.bpf.btf import types as btf
from beewire.bpf.object.spec import Relocation, RelocationKind
from beewire.hints import Iterable

_INT = btf.Int("int", 4, signed=True)
_PREFIX = "bpf_iter_num_"


def externs(relocations: Iterable[Relocation]) -> dict[str, btf.Func]:
    """Those that a program refers to, by name."""
    names = {
        relo.symbol: relo.symbol.removeprefix(_PREFIX)
        for relo in relocations
        if relo.kind == RelocationKind.KFUNC and relo.symbol.startswith(_PREFIX)
    }
    return {name: _extern(name, what) for name, what in names.items()}


def _extern(name: str, what: str) -> btf.Func:
    place = btf.Param("it", btf.Ptr(btf.Struct("bpf_iter_num", 8)))
    bounds = (btf.Param("start", _INT), btf.Param("end", _INT))
    returns = {"new": _INT, "next": btf.Ptr(_INT)}.get(what)
    proto = btf.FuncProto(returns, (place, *bounds) if what == "new" else (place,))
    return btf.Func(name, proto, btf.Linkage.EXTERN)
