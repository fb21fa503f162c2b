"""Every BPF helper under the kernel's name: `helpers.skb_store_bytes(ctx, 0, mac, 6)`.

Arguments stand in the kernel's order, sizes included; `flags` at the end may be left out.
A helper that the program's kind may not call is refused when the program is compiled.
`helpers.pyi`, made of the same table, tells checkers and editors of their types.
"""

from beewire.bpf.lang.prototypes import HelperFunction, names, prototype


def __getattr__(name: str) -> HelperFunction:
    found = None if name.startswith("_") else prototype(name)
    if found is None:
        raise AttributeError(f"there is no BPF helper bpf_{name}")
    globals()[name] = made = HelperFunction(found)
    return made


def __dir__() -> list[str]:
    return names()
