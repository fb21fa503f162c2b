"""Random functions of integers, as source text: what the compiler is compared over.

Names are grouped by sign, so that most of what is made compiles; a literal that does not
fit what it meets is refused, and the function is thrown away.
"""

import random
from collections.abc import Callable

PARAMETERS = {
    "a": "u64",
    "b": "i64",
    "c": "u32",
    "d": "i32",
    "e": "u16",
    "f": "i16",
    "g": "u8",
    "h": "i8",
}
LITERALS = [0, 1, 2, 3, 7, 8, 15, 31, 32, 63, 64, 100, 127, 255, 256, 65535, 1 << 31]
EXTREMES = [(1 << 31) - 1, (1 << 32) - 1, 1 << 32, (1 << 63) - 1]
ARITHMETIC = ["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
AUGMENTED = ["+=", "-=", "*=", "^=", "|=", "&=", ">>=", "//="]


def source(seed: int) -> str:
    """The definition of `target`, over PARAMETERS."""
    rng = random.Random(seed)
    maker = _Maker(rng)
    maker.block(1, 2, rng.randrange(2, 6))
    kind = rng.choice(["u64", "u64", "u32", "u16", "i64", "i32"])
    result = maker.expression(kind[0], 3)
    parameters = ", ".join(f"{name}: {kind}" for name, kind in PARAMETERS.items())
    body = "\n".join(maker.lines)
    return f"def target({parameters}) -> {kind}:\n{body}\n    return {result}\n"


def arguments(seed: int) -> list[int]:
    """One value for each parameter, extremes often."""
    rng = random.Random(seed)
    values = []
    for kind in PARAMETERS.values():
        bits = int(kind[1:])
        edge = [0, 1, 2, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1]
        value = rng.choice([*edge, rng.getrandbits(bits), rng.getrandbits(4)])
        signed = kind[0] == "i" and value >> bits - 1
        values.append(value - (1 << bits) if signed else value)
    return values


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names = {
            sign: [name for name, kind in PARAMETERS.items() if kind[0] == sign]
            for sign in "ui"
        }
        self.lines: list[str] = []
        self.count = 0

    def literal(self, sign: str) -> str:
        value = self.rng.choice(LITERALS if self.rng.random() < 0.8 else EXTREMES)
        return str(-value if sign == "i" and self.rng.random() < 0.4 else value)

    def leaf(self, sign: str) -> str:
        if self.rng.random() < 0.7:
            return self.rng.choice(self.names[sign])
        return self.literal(sign)

    def expression(self, sign: str, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.15:
            return self.leaf(sign)
        makers = [
            *[self.binary] * 6,
            self.inverse,
            self.ternary,
            self.extreme,
            self.decided,
            self.converted,
        ]
        return self.rng.choice(makers)(sign, depth)

    def binary(self, sign: str, depth: int) -> str:
        symbol = self.rng.choice(ARITHMETIC)
        left = self.expression(sign, depth - 1)
        if symbol in {"<<", ">>"}:
            # A literal on the left may outgrow 64 bits.
            left = self.rng.choice(self.names[sign])
            right = self.rng.choice([str(self.rng.randrange(70)), "g", "c"])
        else:
            right = self.expression(sign, depth - 1)
        return f"({left} {symbol} {right})"

    def inverse(self, sign: str, depth: int) -> str:
        if sign == "i" and self.rng.random() < 0.5:
            return f"(-{self.expression(self.rng.choice('ui'), depth - 1)})"
        return f"(~{self.rng.choice(self.names[sign])})"

    def ternary(self, sign: str, depth: int) -> str:
        one, other = (self.expression(sign, depth - 1) for _ in range(2))
        return f"({one} if {self.condition(depth - 1)} else {other})"

    def extreme(self, sign: str, depth: int) -> str:
        one, other = (self.expression(sign, depth - 1) for _ in range(2))
        return f"{self.rng.choice(['min', 'max'])}({one}, {other})"

    def decided(self, sign: str, depth: int) -> str:
        one, other = (self.expression(sign, depth - 1) for _ in range(2))
        return f"({one} {self.rng.choice(['and', 'or'])} {other})"

    def converted(self, sign: str, depth: int) -> str:
        if sign == "u" and self.rng.random() < 0.3:
            swap = self.rng.choice(["ntohs(u16", "htonl(u32", "bswap64(u64"])
            return f"{swap}({self.expression('u', depth - 1)}))"
        kind = f"{sign}{self.rng.choice([8, 16, 32, 64])}"
        return f"{kind}({self.expression(self.rng.choice('ui'), depth - 1)})"

    def condition(self, depth: int) -> str:
        rng = self.rng
        sign = rng.choice("ui")
        one, two, three = (self.expression(sign, depth - 1) for _ in range(3))
        forms = [f"({one} {rng.choice(COMPARISONS)} {two})"] * 4
        forms.append(f"({one} < {two} <= {three})")
        forms.append(f"({one} {rng.choice(['in', 'not in'])} ({two}, {three}))")
        forms.append(f"({one} & {two})")
        if depth > 0:
            left, right = self.condition(depth - 1), self.condition(depth - 1)
            forms.append(f"({left} {rng.choice(['and', 'or'])} {right})")
            forms.append(f"(not {left})")
        return rng.choice(forms)

    def block(self, indent: int, depth: int, length: int) -> None:
        makers: list[Callable[[int, int], None]]
        makers = [self.assign, self.assign, self.assign, self.change, self.change]
        if depth > 0:
            makers += [self.if_, self.if_, self.for_, self.match, self.early]
        for _ in range(length):
            self.rng.choice(makers)(indent, depth)

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def assign(self, indent: int, _depth: int) -> None:
        sign = self.rng.choice("ui")
        self.count += 1
        name = f"v{self.count}"
        width = self.rng.choice(["", "", f": {sign}8", f": {sign}16", f": {sign}32"])
        self.line(indent, f"{name}{width} = {self.expression(sign, 3)}")
        self.names[sign].append(name)

    def change(self, indent: int, _depth: int) -> None:
        sign = self.rng.choice("ui")
        own = [name for name in self.names[sign] if name.startswith("v")]
        if own:
            operator = self.rng.choice(AUGMENTED)
            self.line(indent, f"{self.rng.choice(own)} {operator} {self.leaf(sign)}")

    def inner(self, indent: int, depth: int) -> None:
        """A block whose new names are unknown after it."""
        saved = {sign: list(names) for sign, names in self.names.items()}
        self.block(indent, depth, self.rng.randrange(1, 3))
        self.line(indent, "pass")
        self.names = saved

    def if_(self, indent: int, depth: int) -> None:
        self.line(indent, f"if {self.condition(2)}:")
        self.inner(indent + 1, depth - 1)
        if self.rng.random() < 0.5:
            self.line(indent, "else:")
            self.inner(indent + 1, depth - 1)

    def for_(self, indent: int, depth: int) -> None:
        low, high = sorted((self.rng.randrange(5), self.rng.randrange(7)))
        bounds = self.rng.choice([f"{high}", f"{low}, {high}, 2", f"{high}, {low}, -1"])
        self.count += 1
        self.line(indent, f"for v{self.count} in range({bounds}):")
        self.inner(indent + 1, depth - 1)
        if self.rng.random() < 0.5:
            self.line(indent + 1, f"if {self.condition(1)}:")
            self.line(indent + 2, self.rng.choice(["break", "continue"]))

    def match(self, indent: int, depth: int) -> None:
        self.line(indent, f"match {self.expression('u', 2)} & 7:")
        for head in ("1 | 2", f"3 if {self.condition(1)}", "_"):
            self.line(indent + 1, f"case {head}:")
            self.inner(indent + 2, depth - 1)

    def early(self, indent: int, _depth: int) -> None:
        self.line(indent, f"if {self.condition(1)}:")
        self.line(indent + 1, f"return u8({self.expression('u', 2)})")
