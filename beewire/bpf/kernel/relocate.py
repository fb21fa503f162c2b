"""Fill in what instructions refer to by name: maps, variables, kernel functions."""

from beewire.bpf import isa
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.object import ObjectSpec, Relocation, RelocationKind
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Mapping

if TYPE_CHECKING:
    from beewire.bpf.kernel.ksyms import BindSymbol


def relocate(
    image: Image,
    spec: ObjectSpec,
    fds: Mapping[str, int],
    symbols: "BindSymbol",
) -> None:
    """Patch the image in place; `fds` has a descriptor for every map and section.

    Raises:
        SpecError: a name that the object does not have.
        NotSupported: a kernel function or variable that this kernel does not have.
    """
    for relo in image.relocations:
        insn = image.insns[relo.slot]
        if insn is None:
            raise SpecError(f"a relocation points into the middle of slot {relo.slot}")
        if relo.kind == RelocationKind.MAP:
            patched = isa.ld_map_fd(insn.dst, _fd(fds, relo.symbol))
        elif relo.kind == RelocationKind.GLOBAL:
            section, offset = _variable(spec, relo)
            patched = isa.ld_map_value(insn.dst, _fd(fds, section), offset)
        elif relo.kind in (RelocationKind.KFUNC, RelocationKind.KSYM):
            patched = symbols(insn, relo, image.module_fds)
        else:
            raise SpecError(f"no such kind of relocation: {relo.kind!r}")
        image.insns[relo.slot] = patched


def _fd(fds: Mapping[str, int], name: str) -> int:
    try:
        return fds[name]
    except KeyError:
        raise SpecError(
            f"a program uses map {name!r}, which the object does not have"
        ) from None


def _variable(spec: ObjectSpec, relo: Relocation) -> tuple[str, int]:
    """Section and offset of a relocation against a section, or one of its variables."""
    if relo.symbol in spec.sections:
        return relo.symbol, relo.offset
    for section in spec.sections.values():
        for variable in section.variables:
            if variable.name == relo.symbol:
                return section.name, variable.offset + relo.offset
    raise SpecError(
        f"a program uses variable {relo.symbol!r}, which the object does not have"
    )
