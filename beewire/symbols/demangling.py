"""Names of C++ and Rust functions as their authors wrote them.

LLVM's demangler does it, where the extra `symbols` is installed (pycxxfilt). Without it
C++ is left to the machine's libstdc++, where there is one, and names of Rust's newer
scheme stay as they are. What Rust adds to make names unique is taken off.
"""

import re

from beewire.hints import Callable

# Rust's older scheme: parts with their lengths, of which the last is a hash.
_LEGACY = re.compile(r"_?_ZN(\d.*)17h[0-9a-f]{16}E$")
# What rustc writes for characters that linkers do not take (rustc-demangle, "legacy").
_ESCAPES = {
    "SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ",",
}  # fmt: skip
_ESCAPE = re.compile(r"\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{1,6})\$")
# Parts that compilers split off or made copies of: .cold, .constprop.0, .llvm.123
_CLONE = re.compile(r"(\.(?:cold|part|isra|constprop|lto_priv|llvm|localalias)\b.*)$")

Demangler = Callable[[str], "str | None"]


class _Engine:
    """The demangler of this machine, which is looked for when it is first needed."""

    __slots__ = ("known", "run")

    def __init__(self) -> None:
        self.run: Demangler | None = None
        self.known: dict[str, str] = {}


_engine = _Engine()


def demangle(name: str) -> str:
    """The name as it was written in C++ or Rust; any other name as it is.

    Versions (`@GLIBC_2.2.5`) are taken off.
    """
    plain = name.partition("@")[0] or name
    if not plain.startswith(("_Z", "_R", "__Z")):
        return plain
    found = _engine.known.get(plain)
    if found is None:
        if _engine.run is None:
            _engine.run = _find()
        if len(_engine.known) > 1 << 16:
            _engine.known.clear()
        found = _engine.known[plain] = _demangled(plain, _engine.run)
    return found


def _demangled(name: str, run: Demangler) -> str:
    base, clone = name, ""
    found = legacy_rust(base) or run(base)
    if found is None and (match := _CLONE.search(name)):
        base, clone = name[: match.start()], match[1]
        found = legacy_rust(base) or run(base)
    return name if found is None else found + clone


def legacy_rust(name: str) -> str | None:
    """A name of Rust's older scheme, as it was written; None for any other."""
    match = _LEGACY.match(name)
    rest, parts = (match[1] if match else ""), []
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        size = int(rest[:digits][:6] or "0")
        part, rest = rest[digits : digits + size], rest[digits + size :]
        if not part or digits > 6 or len(part) < size:
            return None
        # It begins with a letter or "_", which is put before what does not.
        plain = part[1:] if part.startswith("_$") else part
        parts.append(_ESCAPE.sub(_unescaped, plain).replace("..", "::"))
    return "::".join(parts) or None


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code in _ESCAPES:
        return _ESCAPES[code]
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 else match[0]


def _find() -> Demangler:
    try:
        import pycxxfilt  # noqa: PLC0415 - an extra
    except ImportError:
        return _of_libstdcxx() or (lambda _: None)
    run = pycxxfilt.demangle

    def by_llvm(name: str) -> str | None:
        try:
            found: str | None = run(name)
        except ValueError:
            return None
        return found

    return by_llvm


def _of_libstdcxx() -> Demangler | None:
    """`__cxa_demangle` of the machine's C++ library, which knows no Rust."""
    import ctypes  # noqa: PLC0415 - not on the start-up path

    try:
        function = ctypes.CDLL("libstdc++.so.6")["__cxa_demangle"]
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_void_p
    function.argtypes = (
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_int),
    )
    free = ctypes.CDLL(None).free
    free.argtypes = (ctypes.c_void_p,)

    def by_libstdcxx(name: str) -> str | None:
        status = ctypes.c_int()
        place = function(name.encode(), None, None, ctypes.byref(status))
        if not place:
            return None
        try:
            return ctypes.string_at(place).decode(errors="replace")
        finally:
            free(place)

    return by_libstdcxx
