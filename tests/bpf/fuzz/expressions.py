"""Random expressions of integers, each of a known sign."""

from collections.abc import Callable

from tests.bpf.fuzz.maker import Maker, Value
from tests.bpf.fuzz.shapes import bits

OPERATORS = ("+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>")
MIXING = ("+", "-", "*", "&", "|", "^")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
NAMES = {"//": "division", "%": "remainder", "<<": "shift", ">>": "shift"}
# Helpers that answer the same while a program runs, by the sign of their result.
HELPERS = ("current_tgid()", "current_pid()", "cpu_id()", "current_uid()")
GLOBALS = {
    "u": (("counter", "u32"), ("mark", "u64")),
    "i": (("delta", "i16"), ("level", "i32")),
}
# Those that nobody writes, or nobody else.
OTHERS = {
    "u": (("limit", "u32", "read-only global"), ("mine", "u64", "per-CPU global")),
    "i": (("low", "i64", "read-only global"),),
}


class Expressions(Maker):
    """Makes expressions; `depth` is how much deeper they may go."""

    def typed(self, sign: str, depth: int) -> Value:
        """An expression that is no literal."""
        value = self.expression(sign, depth)
        return self.name(sign) if value.literal else value

    def expression(self, sign: str, depth: int) -> Value:
        """Any expression."""
        if depth <= 0 or self.chance(0.12):
            return self.leaf(sign)
        makers: list[Callable[[str, int], Value]] = [self.binary] * 7
        makers += [self.inverse, self.ternary, self.extreme, self.decided]
        makers += [self.converted, self.walrus, self.called, self.truth, self.swapped]
        return self.rng.choice(makers)(sign, depth - 1)

    def leaf(self, sign: str) -> Value:
        """A literal, a variable, a field, a global, what a helper says."""
        chance = self.rng.random()
        if chance < 0.03 and sign == "u":
            self.use("constant of the module")
            return Value(self.rng.choice(("SIZE", "PORTS[1]")), sign, 64, literal=True)
        if chance < 0.2:
            return self.literal(sign)
        if chance < 0.5 and (found := self.place(sign)):
            self.use("field read")
            return Value(found[0], sign, bits(found[1]))
        if chance < 0.56:
            if self.chance(0.3):
                name, kind, construct = self.rng.choice(OTHERS[sign])
                self.use(construct)
                return Value(f"{name}.value", sign, bits(kind))
            self.use("global")
            name, kind = self.rng.choice(GLOBALS[sign])
            return Value(f"{name}.value", sign, bits(kind))
        if chance < 0.6 and sign == "u":
            return self.answered()
        if chance < 0.64 and sign == "u" and (found := self.place("b")):
            self.use("network order")
            width = bits(found[1])
            back = {16: "ntohs", 32: "ntohl", 64: "bswap64"}[width]
            return Value(f"{back}({found[0]})", "u", width)
        return self.name(sign)

    def answered(self) -> Value:
        """What a helper says, or a field of a kernel struct."""
        if self.chance(0.3):
            self.use("kernel struct (CO-RE)")
            way = self.rng.choice(("", ".real_parent", ".group_leader"))
            return Value(f"u32(current(task_struct){way}.tgid)", "u", 32)
        self.use("helper")
        return Value(self.rng.choice(HELPERS), "u", 32)

    def binary(self, sign: str, depth: int) -> Value:
        """Arithmetic."""
        symbol = self.rng.choice(OPERATORS)
        kind = NAMES.get(symbol, "arithmetic")
        self.use(f"signed {kind}" if sign == "i" else f"unsigned {kind}")
        left = self.typed(sign, depth)
        if sign == "i" and symbol in MIXING and self.chance(0.1):
            self.use("signs mixed")
            left = self.typed("u", depth)
            return Value(f"({left.text} {symbol} {self.typed('i', depth).text})", "i")
        right = self.shift() if symbol in {"<<", ">>"} else self.expression(sign, depth)
        return Value(f"({left.text} {symbol} {right.text})", sign)

    def shift(self) -> Value:
        """A count of bits."""
        number = Value(str(self.rng.randrange(70)), "u")
        return self.rng.choice((number, self.name("u")))

    def inverse(self, sign: str, depth: int) -> Value:
        """`-a` and `~a`."""
        if sign == "i" and self.chance(0.5):
            self.use("negation")
            return Value(f"(-{self.typed(self.rng.choice('ui'), depth).text})", "i")
        self.use("bitwise not")
        return Value(f"(~{self.typed(sign, depth).text})", sign)

    def ternary(self, sign: str, depth: int) -> Value:
        """`a if c else b`."""
        self.use("ternary")
        one, other = self.typed(sign, depth), self.leaf(sign)
        return Value(f"({one.text} if {self.test(depth)} else {other.text})", sign)

    def extreme(self, sign: str, depth: int) -> Value:
        """`min` and `max`."""
        self.use("min, max")
        name = self.rng.choice(("min", "max"))
        one, other = self.typed(sign, depth), self.typed(sign, depth)
        return Value(f"{name}({one.text}, {other.text})", sign)

    def decided(self, sign: str, depth: int) -> Value:
        """`a and b` as a value."""
        self.use("and, or as a value")
        word = f" {self.rng.choice(('and', 'or'))} "
        values = [self.typed(sign, depth), self.leaf(sign), self.leaf(sign)]
        return Value(f"({word.join(value.text for value in values)})", sign)

    def converted(self, sign: str, depth: int) -> Value:
        """`u16(a)`."""
        self.use("conversion")
        width = self.rng.choice((8, 16, 32, 64))
        value = self.typed(self.rng.choice("ui"), depth)
        return Value(f"{sign}{width}({value.text})", sign, width)

    def network(self, kind: str) -> str:
        """A number in network order."""
        self.use("network order")
        if self.chance(0.3) and (found := self.place("b")) and found[1] == kind:
            return found[0]
        return f"{kind}({self.typed('u', 1).text})"

    def swapped(self, sign: str, depth: int) -> Value:
        """`htons` and its like."""
        if sign == "i":
            return self.converted(sign, depth)
        self.use("byte order")
        name, width = self.rng.choice((("ntohs", 16), ("ntohl", 32)))
        value = self.typed("u", depth)
        return Value(f"{name}(u{width}({value.text}))", "u", width)

    def walrus(self, sign: str, depth: int) -> Value:
        """`(w := a)`."""
        self.use("walrus")
        value, name = self.typed(sign, depth), self.fresh("w")
        return Value(f"({name} := {value.text})", sign)

    def called(self, sign: str, depth: int) -> Value:
        """A call of a function that gives an integer."""
        fitting = [f for f in self.functions if f.result[:1] == sign]
        if not fitting or self.inside > 1:
            return self.binary(sign, depth)
        function = self.rng.choice(fitting)
        args = [self.name(kind[0]).text for kind in function.kinds]
        if function.takes:
            own = [s for s in self.structs if s.shape.name == function.takes and s.own]
            if not own:
                return self.binary(sign, depth)
            self.use("struct as argument")
            args.insert(0, self.rng.choice(own).text)
        self.use("function call")
        if self.chance(0.3):
            self.use("keyword argument")
            args.append(f"extra={self.name('u').text}")
        return Value(f"{function.name}({', '.join(args)})", sign, bits(function.result))

    def truth(self, sign: str, depth: int) -> Value:
        """A condition as a number."""
        self.use("bool")
        return Value(f"{sign}8(bool({self.test(depth)}))", sign, 8)

    def test(self, depth: int) -> str:
        """A condition."""
        sign, symbol = self.rng.choice("ui"), self.rng.choice(COMPARISONS)
        one = self.typed(sign, depth)
        other = self.rng.choice((self.literal(sign, one.bits), self.typed(sign, depth)))
        third = self.typed(sign, 0)
        if self.chance(0.05) and (found := self.place("b")):
            self.use("network order")
            operator = self.rng.choice(("==", "!="))
            return f"({found[0]} {operator} {found[1]}({self.literal('u', 16).text}))"
        if self.flags and self.chance(0.3):
            self.use("bool variable")
            return (
                f"({self.rng.choice(self.flags)} or {one.text} {symbol} {other.text})"
            )
        form, construct = self.rng.choice(self._forms(symbol, sign))
        self.use(construct)
        text = f"({form.format(one.text, other.text, third.text)})"
        if depth <= 0 or self.chance(0.7):
            return text
        self.use("and, or")
        return f"({text} {self.rng.choice(('and', 'or'))} {self.test(depth - 1)})"

    def _forms(self, symbol: str, sign: str) -> list[tuple[str, str]]:
        compared = "signed comparison" if sign == "i" else "unsigned comparison"
        forms = [("{0} " + symbol + " {1}", compared)] * 4
        forms += [("{2} " + symbol + " {0}", compared)]
        forms += [("{0} < {2} <= {0}", "chained comparison")]
        forms += [
            ("{0} in ({1}, {2})", "in a tuple"),
            ("{0} not in (1, {2})", "not in"),
        ]
        forms += [("{0} & {2}", "bit test"), ("{0} in range(2, 9)", "in range")]
        forms += [("not {0}", "not"), ("{0}", "number as a condition")]
        forms.append(("{0} & 511 in PORTS", "in a constant tuple"))
        if sign == "u":
            forms.append(("{0} & 7 in table", "in a map"))
        return forms
