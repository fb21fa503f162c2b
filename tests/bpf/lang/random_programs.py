"""Random programs with structs, maps and globals, each beside a model in plain Python.

The model is the same statements with the rules of the language written out: W wraps to a
width, DIV and REM truncate, COPY copies. Python runs it, so that nothing of the compiler
decides what is right. The fuzzer of `tests.bpf.fuzz` covers far more of the language, by
`evaluate`, which takes the types of variables from the compiler: these are independent.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from tests.bpf.fuzz.program import PARAMETERS
from tests.bpf.fuzz.shapes import LITERALS

FIELDS = {"p8": "u8", "p16": "u16", "p32": "u32", "p64": "u64"}
FIELDS |= {"n8": "i8", "n16": "i16", "n32": "i32", "n64": "i64"}
ARRAYS = {"w16": ("u16", 4), "w32": ("u32", 4), "w64": ("u64", 2), "x8": ("i8", 4)}
OPERATORS = ["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]

HEAD = """
from beewire.bpf import *
class A(Struct):
    a: u64
    b: i64
    c: u32
    d: i32
    e: u16
    f: i16
    g: u8
    h: i8
class S(Struct):
    p8: u8
    n64: i64
    n16: i16
    p32: u32
    p16: u16
    w16: list[int] = array(u16, 4)
    n8: i8
    x8: list[int] = array(i8, 4)
    p64: u64
    n32: i32
    w32: list[int] = array(u32, 4)
    w64: list[int] = array(u64, 2)
results = Array[u64](1)
table = HashMap[u32, u64](8)
slots = Array[u32](4)
small = PerCpuArray[u16](4)
kept = Array[S](2)
counter = Global(u32)
delta = Global(i16)
"""
MODEL = """
import copy
def W(value, bits, signed=False):
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> bits - 1 else value
def DIV(a, b):
    quotient = abs(a) // abs(b) if b else 0
    return quotient if (a < 0) == (b < 0) else -quotient
def REM(a, b):
    return a - DIV(a, b) * b
COPY = copy.deepcopy
class S:
    def __init__(self, **given):
        self.p8 = self.p16 = self.p32 = self.p64 = 0
        self.n8 = self.n16 = self.n32 = self.n64 = 0
        self.w16, self.w32, self.w64, self.x8 = [0] * 4, [0] * 4, [0] * 2, [0] * 4
        self.__dict__ |= given
class Cell:
    value = 0
class Kept(dict):
    def __setitem__(self, key, value):
        self[key].__dict__ |= COPY(value).__dict__
counter, delta = Cell(), Cell()
table, kept = {}, Kept({0: S(), 1: S()})
slots, small = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
def ADD(table, key, amount, bits):
    table[key] = W(table.get(key, 0) + amount, bits)
"""
END = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    at = ctx.at(0, A)
    if at is None:
        return XdpAction.ABORTED
    # So that all of them are there, whatever the function uses.
    counter.value, delta.value = 0, 0
    slots[0] = 0
    small[0] = 0
    if 0 in table or kept.lookup(0) is None:
        return XdpAction.ABORTED
    results[0] = target(at)
    return XdpAction.PASS
"""


class Value(NamedTuple):
    """An expression in both texts; `literal` adapts to what it meets."""

    text: str
    model: str
    sign: str
    bits: int = 64
    literal: bool = False


def source(seed: int) -> tuple[str, str]:
    """A program with a function `target`, and the model of that function."""
    maker = _Maker(random.Random(seed))
    for number in range(maker.rng.randrange(3)):
        maker.function(f"f{number}")
    maker.target()
    return (
        f"{HEAD}{maker.text}{END}",
        f"{MODEL}{maker.model}",
    )


def wrapped(model: str, sign: str, bits: int = 64) -> str:
    """The model of a value that is cut to a type."""
    return f"W({model}, {bits}, {sign == 'i'})"


def _bits(kind: str) -> int:
    return int(kind[1:])


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.text = self.model = ""
        self.count = 0
        self.names: dict[str, str] = {}  # of integers, with their types
        self.fixed: set[str] = set()  # counters of loops
        self.structs: list[str] = []
        self.shared: set[str] = set()  # those of them that lie in a map
        self.functions: dict[str, tuple[list[str], str]] = {}
        self.returns = "u64"
        self.rounds = 1

    # Functions.

    def target(self) -> None:
        self.names, self.structs, self.returns = dict(PARAMETERS), ["s1", "s2"], "u64"
        self.line(0, "def target(at: A) -> u64:", "def target(a, b, c, d, e, f, g, h):")
        for name, kind in PARAMETERS.items():
            self.line(1, f"{name}: {kind} = at.{name}", "pass")
        self.line(1, "s1, s2 = S(p8=g, n32=d, p64=a), S(n8=h, p16=e, n64=b)")
        self.block(1, 2, self.rng.randrange(3, 8))
        self.line(1, "kept[0] = s1")
        self.line(1, "kept[1] = s2")
        self.leave(1)

    def function(self, name: str) -> None:
        kinds = [self.rng.choice(["u8", "u16", "u32", "u64"]), "i32"]
        kinds += self.rng.sample(["i8", "i16", "u16", "i64"], self.rng.randrange(3))
        names = [f"v{name}{i}" for i in range(len(kinds))]
        self.names = dict(zip(names, kinds, strict=True))
        self.structs = ["st"]
        self.returns = self.rng.choice(["u64", "i64", "u32", "i16", "u8"])
        head = ", ".join(f"{n}: {k}" for n, k in self.names.items())
        self.line(
            0,
            f"def {name}(st: S, {head}, *, extra: u16 = 9) -> {self.returns}:",
            f"def {name}(st, {', '.join(names)}, *, extra=9):",
        )
        self.names["extra"] = "u16"
        self.block(1, 1, self.rng.randrange(1, 4))
        self.leave(1)
        self.functions[name] = (kinds, self.returns)

    def leave(self, indent: int) -> None:
        value = self.typed(self.returns[0], 2)
        model = wrapped(value.model, self.returns[0], _bits(self.returns))
        self.line(indent, f"return {value.text}", f"return {model}")

    def line(self, indent: int, text: str, model: str | None = None) -> None:
        self.text += f"{'    ' * indent}{text}\n"
        self.model += f"{'    ' * indent}{text if model is None else model}\n"

    # Expressions.

    def literal(self, sign: str, bits: int = 64) -> Value:
        limit = (1 << bits) >> (sign == "i")
        number = self.rng.choice([n for n in LITERALS if n < limit])
        number = -number if sign == "i" and self.rng.random() < 0.4 else number
        return Value(str(number), str(number), sign, literal=True)

    def name(self, sign: str) -> Value:
        found = [(n, k) for n, k in self.names.items() if k[0] == sign]
        name, kind = self.rng.choice(found)
        return Value(name, name, sign, _bits(kind))

    def leaf(self, sign: str) -> Value:
        chance = self.rng.random()
        if chance < 0.2:
            return self.literal(sign)
        if chance < 0.6:
            place, kind = self.place(sign, self.structs)
            return Value(place, place, sign, _bits(kind))
        if chance < 0.65:
            name, bits = ("counter", 32) if sign == "u" else ("delta", 16)
            return Value(f"{name}.value", f"{name}.value", sign, bits)
        return self.name(sign)

    def place(self, sign: str, structs: list[str]) -> tuple[str, str]:
        """A field or an element, and its type."""
        struct = self.rng.choice(structs)
        if self.rng.random() < 0.6:
            fields = [(f, k) for f, k in FIELDS.items() if k[0] == sign]
            field, kind = self.rng.choice(fields)
            return f"{struct}.{field}", kind
        arrays = [(f, k, n) for f, (k, n) in ARRAYS.items() if k[0] == sign]
        field, kind, count = self.rng.choice(arrays)
        index = str(self.rng.randrange(count))
        if self.rng.random() < 0.5:
            index = f"{self.name('u').text} & {count - 1}"
        return f"{struct}.{field}[{index}]", kind

    def typed(self, sign: str, depth: int) -> Value:
        """An expression that is no literal."""
        value = self.expression(sign, depth)
        return self.name(sign) if value.literal else value

    def expression(self, sign: str, depth: int) -> Value:
        if depth <= 0 or self.rng.random() < 0.12:
            return self.leaf(sign)
        makers = [*[self.binary] * 6, self.inverse, self.ternary, self.extreme]
        makers += [self.decided, self.converted, self.walrus, self.called, self.truth]
        return self.rng.choice(makers)(sign, depth - 1)

    def binary(self, sign: str, depth: int) -> Value:
        symbol, left = self.rng.choice(OPERATORS), self.typed(sign, depth)
        right = self.shift() if symbol in {"<<", ">>"} else self.expression(sign, depth)
        model = self.computed(symbol, left.model, left.bits, right)
        return Value(f"({left.text} {symbol} {right.text})", wrapped(model, sign), sign)

    def shift(self) -> Value:
        number = str(self.rng.randrange(70))
        return self.rng.choice([Value(number, number, "u"), self.name("u")])

    def computed(self, symbol: str, left: str, bits: int, right: Value) -> str:
        """The model of an operation, before it is cut to 64 bits."""
        if symbol in {"//", "%"}:
            return f"{'DIV' if symbol == '//' else 'REM'}({left}, {right.model})"
        if symbol in {"<<", ">>"}:
            return f"({left} {symbol} ({right.model}) % {32 if bits <= 32 else 64})"
        return f"({left} {symbol} {right.model})"

    def inverse(self, sign: str, depth: int) -> Value:
        symbol = "-" if sign == "i" and self.rng.random() < 0.5 else "~"
        value = self.typed(self.rng.choice("ui") if symbol == "-" else sign, depth)
        model = wrapped(f"({symbol}{value.model})", sign)
        return Value(f"({symbol}{value.text})", model, sign)

    def ternary(self, sign: str, depth: int) -> Value:
        test, one, other = self.test(depth), self.typed(sign, depth), self.leaf(sign)
        text = f"({one.text} if {test[0]} else {other.text})"
        model = f"({one.model} if {test[1]} else {other.model})"
        return Value(text, wrapped(model, sign), sign)

    def extreme(self, sign: str, depth: int) -> Value:
        name = self.rng.choice(["min", "max"])
        one, other = self.typed(sign, depth), self.typed(sign, depth)
        text = f"{name}({one.text}, {other.text})"
        return Value(text, f"{name}({one.model}, {other.model})", sign)

    def decided(self, sign: str, depth: int) -> Value:
        word = f" {self.rng.choice(['and', 'or'])} "
        values = [self.typed(sign, depth), self.leaf(sign), self.leaf(sign)]
        model = f"({word.join(value.model for value in values)})"
        text = f"({word.join(value.text for value in values)})"
        return Value(text, wrapped(model, sign), sign)

    def converted(self, sign: str, depth: int) -> Value:
        bits = self.rng.choice([8, 16, 32, 64])
        value = self.typed(self.rng.choice("ui"), depth)
        model = wrapped(value.model, sign, bits)
        return Value(f"{sign}{bits}({value.text})", model, sign, bits)

    def walrus(self, sign: str, depth: int) -> Value:
        value, name = self.typed(sign, depth), self.fresh("w")
        return Value(f"({name} := {value.text})", f"({name} := {value.model})", sign)

    def called(self, sign: str, depth: int) -> Value:
        fitting = [n for n, (_, kind) in self.functions.items() if kind[0] == sign]
        if not fitting or depth > 1:
            return self.binary(sign, depth)
        name = self.rng.choice(fitting)
        kinds, returned = self.functions[name]
        struct = self.rng.choice([s for s in self.structs if s not in self.shared])
        values = [(kind, self.name(kind[0])) for kind in kinds]
        texts = [value.text for _, value in values]
        models = [wrapped(v.model, kind[0], _bits(kind)) for kind, v in values]
        if self.rng.random() < 0.5:
            extra = self.leaf("u") if depth else self.name("u")
            extra = self.name("u") if extra.literal else extra
            texts.append(f"extra={extra.text}")
            models.append(f"extra={wrapped(extra.model, 'u', 16)}")
        text = f"{name}({', '.join([struct, *texts])})"
        model = f"{name}({', '.join([struct, *models])})"
        return Value(text, model, sign, _bits(returned))

    def truth(self, sign: str, depth: int) -> Value:
        test = self.test(depth)
        if sign == "i":
            return Value(f"i8(bool({test[0]}))", f"int(bool({test[1]}))", sign, 8)
        return Value(f"u8(bool({test[0]}))", f"int(bool({test[1]}))", sign, 8)

    def test(self, depth: int) -> tuple[str, str]:
        sign, symbol = self.rng.choice("ui"), self.rng.choice(COMPARISONS)
        one = self.typed(sign, depth)
        other = self.rng.choice([self.literal(sign, one.bits), self.typed(sign, depth)])
        third = self.typed(sign, 0)
        forms = ["{0} " + symbol + " {1}"] * 4
        forms += ["{0} < {2} <= {0}", "{0} in ({1}, {2})", "{0} not in (1, {2})"]
        forms += ["{0} & {2}", "{0} in range(2, 9)", "not {0}", "{0}"]
        forms.append("{2} " + symbol + " {0}")
        if sign == "u":
            forms.append("{0} & 7 in table")
        form = self.rng.choice(forms)
        values = (one, other, third)
        text = f"({form.format(*(value.text for value in values))})"
        model = f"({form.format(*(value.model for value in values))})"
        if depth <= 0 or self.rng.random() < 0.7:
            return text, model
        word, more = self.rng.choice(["and", "or"]), self.test(depth - 1)
        return f"({text} {word} {more[0]})", f"({model} {word} {more[1]})"

    # Statements.

    def block(self, indent: int, depth: int, length: int) -> None:
        makers: list[Callable[[int, int], None]]
        makers = [*[self.assign] * 3, *[self.change] * 3, *[self.field] * 3]
        makers += [self.exchange, self.elements, self.global_, self.map, self.map]
        makers += [self.struct]
        if depth > 0:
            makers += [self.if_, self.if_, self.for_, self.while_, self.match]
            makers += [self.early, self.kept]
        for _ in range(length):
            self.rng.choice(makers)(indent, depth - 1)

    def inner(self, indent: int, depth: int) -> None:
        """A block whose new names are unknown after it."""
        names, structs = dict(self.names), list(self.structs)
        self.block(indent, depth, self.rng.randrange(1, 3))
        self.line(indent, "pass")
        self.names, self.structs = names, structs

    def fresh(self, letter: str = "v") -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def assign(self, indent: int, _depth: int) -> None:
        kind = self.rng.choice(["u64", "i64", "u8", "i8", "u16", "i16", "u32", "i32"])
        value, name = self.typed(kind[0], 3), self.fresh()
        head = name if kind[1:] == "64" else f"{name}: {kind}"
        model = wrapped(value.model, kind[0], _bits(kind))
        self.line(indent, f"{head} = {value.text}", f"{name} = {model}")
        self.names[name] = kind

    def variables(self, sign: str) -> list[str]:
        names = [n for n, k in self.names.items() if k[0] == sign and n[0] == "v"]
        return [name for name in names if name not in self.fixed]

    def change(self, indent: int, _depth: int) -> None:
        sign = self.rng.choice("ui")
        own = [struct for struct in self.structs if struct not in self.shared]
        target, kind = self.place(sign, own)
        if (names := self.variables(sign)) and self.rng.random() < 0.6:
            target = self.rng.choice(names)
            kind = self.names[target]
        symbol = self.rng.choice(OPERATORS)
        value = self.shift() if symbol in {"<<", ">>"} else self.expression(sign, 2)
        model = wrapped(self.computed(symbol, target, _bits(kind), value), sign)
        model = wrapped(model, sign, _bits(kind))
        self.line(indent, f"{target} {symbol}= {value.text}", f"{target} = {model}")

    def field(self, indent: int, _depth: int) -> None:
        target, kind = self.place(self.rng.choice("ui"), self.structs)
        value = self.typed(self.rng.choice("ui"), 3)
        model = wrapped(value.model, kind[0], _bits(kind))
        self.line(indent, f"{target} = {value.text}", f"{target} = {model}")

    def exchange(self, indent: int, _depth: int) -> None:
        one, first = self.place(self.rng.choice("ui"), self.structs)
        other, second = self.place(self.rng.choice("ui"), self.structs)
        models = (
            wrapped(other, first[0], _bits(first)),
            wrapped(one, second[0], _bits(second)),
        )
        self.line(
            indent,
            f"{one}, {other} = {other}, {one}",
            f"{one}, {other} = {', '.join(models)}",
        )

    def elements(self, indent: int, _depth: int) -> None:
        struct = self.rng.choice(self.structs)
        field, (kind, count) = self.rng.choice(list(ARRAYS.items()))
        values = [self.typed(kind[0], 1) for _ in range(count)]
        texts = ", ".join(value.text for value in values)
        models = ", ".join(wrapped(v.model, kind[0], _bits(kind)) for v in values)
        self.line(
            indent, f"{struct}.{field} = [{texts}]", f"{struct}.{field} = [{models}]"
        )

    def global_(self, indent: int, _depth: int) -> None:
        name, sign, bits = self.rng.choice([("counter", "u", 32), ("delta", "i", 16)])
        value = self.typed(sign, 2)
        model = wrapped(value.model, sign, bits)
        self.line(indent, f"{name}.value = {value.text}", f"{name}.value = {model}")

    def map(self, indent: int, _depth: int) -> None:
        key, value = self.typed("u", 2), self.typed("u", 2)
        name, bits, mask = self.rng.choice([
            ("table", 64, 7), ("slots", 32, 3), ("small", 16, 3)
        ])  # fmt: skip
        place, model = f"{name}[{key.text} & {mask}]", f"{key.model} & {mask}"
        number = wrapped(value.model, "u", bits)
        if self.rng.random() < 0.5:
            made = f"ADD({name}, {model}, {value.model}, {bits})"
            self.line(indent, f"{place} += {value.text}", made)
        elif name == "table" and self.rng.random() < 0.4:
            self.line(indent, f"del {place}", f"table.pop({model}, None)")
        elif name != "small":
            self.line(indent, f"{place} = {value.text}", f"{name}[{model}] = {number}")

    def struct(self, indent: int, _depth: int) -> None:
        if "s1" not in self.structs:
            return
        forms = [
            ("s1, s2 = s2.copy(), s1.copy()", "s1, s2 = COPY(s2), COPY(s1)"),
            ("s2 = s1.copy()", "s2 = COPY(s1)"),
            ("kept[1] = s1", "kept[1] = s1"),
            ("s1.w32 = s2.w32", "s1.w32 = COPY(s2.w32)"),
        ]
        value = self.typed("u", 2)
        forms.append((
            f"s2 = S(p8={value.text}, w16=s1.w16)",
            f"s2 = S(p8={wrapped(value.model, 'u', 8)}, w16=COPY(s1.w16))",
        ))  # fmt: skip
        self.line(indent, *self.rng.choice(forms))

    def if_(self, indent: int, depth: int) -> None:
        for word in ("if", "elif", "else")[: self.rng.randrange(1, 4)]:
            test = ("", "") if word == "else" else self.test(2)
            heads = [f"{word} {part}".rstrip() + ":" for part in test]
            self.line(indent, *heads)
            self.inner(indent + 1, depth)

    def for_(self, indent: int, depth: int) -> None:
        low, high = sorted((self.rng.randrange(4), self.rng.randrange(6)))
        bounds = [f"{high}", f"{low}, {high}, 2", f"{high}, {low}, -1"]
        bounds.append(f"{low}, {self.name('u').text} & 3")
        chosen, name = self.rng.choice(bounds), self.fresh()
        kind = "i64" if chosen.endswith("-1") else "u64"
        self.loop(indent, depth, f"for {name} in range({chosen}):", {name: kind})

    def while_(self, indent: int, depth: int) -> None:
        name, (text, model) = self.fresh("n"), self.test(1)
        self.line(indent, f"{name} = {self.rng.randrange(1, 4)}")
        head = f"while {name} > 0 and {text}:", f"while {name} > 0 and {model}:"
        self.loop(indent, depth, head[0], {}, head[1], f"{name} -= 1")

    def loop(
        self,
        indent: int,
        depth: int,
        head: str,
        names: dict[str, str],
        model: str | None = None,
        first: str = "pass",
    ) -> None:
        if self.rounds > 6:  # the verifier follows each of them
            return
        self.rounds *= 3
        self.line(indent, head, model)
        self.line(indent + 1, first)
        saved = dict(self.names)
        self.names |= names
        self.fixed |= set(names)
        self.inner(indent + 1, depth)
        test = self.test(1)
        self.line(indent + 1, f"if {test[0]}:", f"if {test[1]}:")
        self.line(indent + 2, self.rng.choice(["break", "continue", "pass"]))
        self.names = saved
        self.rounds //= 3
        if self.rng.random() < 0.3:
            self.line(indent, "else:")
            self.inner(indent + 1, depth)

    def match(self, indent: int, depth: int) -> None:
        value, name, test = self.typed("u", 2), self.fresh(), self.test(1)
        self.line(indent, f"match {value.text} & 7:", f"match {value.model} & 7:")
        heads = [("0 | 1", "0 | 1"), (f"2 if {test[0]}", f"2 if {test[1]}")]
        heads += [(f"(3 | 4) as {name}", f"(3 | 4) as {name}"), ("_", "_")]
        for text, model in heads[: self.rng.randrange(1, 5)]:
            self.line(indent + 1, f"case {text}:", f"case {model}:")
            self.inner(indent + 2, depth)

    def early(self, indent: int, _depth: int) -> None:
        self.line(indent, *(f"if {part}:" for part in self.test(1)))
        self.leave(indent + 1)

    def kept(self, indent: int, depth: int) -> None:
        key, name = self.typed("u", 1), self.fresh("k")
        text = f"kept.lookup({key.text} & 3)"
        model = f"kept.get({key.model} & 3)"
        if self.rng.random() < 0.5:
            self.line(indent, f"{name} = {text}", f"{name} = {model}")
            self.line(indent, f"if {name} is not None:")
        else:
            heads = [f"if ({name} := {part}) is not None:" for part in (text, model)]
            self.line(indent, *heads)
        structs = list(self.structs)
        self.structs.append(name)
        self.shared.add(name)
        self.inner(indent + 1, depth)
        self.structs = structs
