"""Where global variables lie: `.data` when they start with a value, `.bss` when with 0.

Constants lie in `.rodata`, options of the kernel's configuration in `.kconfig`.
"""

from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.decl import GlobalDecl
from beewire.bpf.lang.types import pack
from beewire.bpf.object.spec import DataSection, Variable
from beewire.errors import SpecError


def lay_out_globals(declared: dict[str, GlobalDecl]) -> dict[str, DataSection]:
    """Place each global, by name, and give the sections that hold them."""
    sections: dict[str, DataSection] = {}
    for name, decl in declared.items():
        decl.name = decl.name or name
        if decl.fixed is not None:
            _keep(decl, decl.fixed, sections)
            continue
        initial = decl.type.zero() if decl.initial is None else decl.initial
        content = pack(initial, decl.type)
        section_name = ".data" if any(content) else ".bss"
        if decl.read_only:
            section_name = ".kconfig" if decl.option else ".rodata"
        section = sections.get(section_name)
        if section is None:
            section = sections[section_name] = DataSection(
                section_name, bytearray(), []
            )
        align = decl.type.align
        section.content.extend(bytes(-len(section.content) % align))
        decl.section = section_name
        decl.offset = len(section.content)
        section.content.extend(content)
        place = (decl.name, decl.offset, len(content), to_btf(decl.type))
        section.variables.append(Variable(*place, weak=decl.optional))
    return sections


def _keep(
    decl: GlobalDecl, fixed: DataSection, sections: dict[str, DataSection]
) -> None:
    """Leave a global of compiled programs where they expect it."""
    known = sections.get(fixed.name)
    if known is None:
        content = bytearray(fixed.content)
        sections[fixed.name] = DataSection(fixed.name, content, fixed.variables)
    elif known.variables is not fixed.variables:
        raise SpecError(
            f"global {decl.name!r} belongs to compiled programs: load them by themselves"
        )
    decl.section = fixed.name
    decl.offset = next(v.offset for v in fixed.variables if v.name == decl.name)
