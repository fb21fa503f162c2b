"""What to write instead, where a refusal has nothing more to the point to say."""

from beewire.reasons import Reason

CURES = {
    Reason.DECLARED: "declare it once, where it gets its first value",
    Reason.GONE: "take it again, or do this before it is gone",
    Reason.ANNOTATION: "write a type: u8 .. u64, i8 .. i64, bool, a Struct",
    Reason.MEMBERSHIP: "look into what holds such values: a tuple, a range, flags, a map",
    Reason.NEVER_NONE: "test what lookup(), reserve() and ctx.at() give; compare numbers",
    Reason.NOT_ATOMIC: "do this to an integer of 32 or 64 bits",
    Reason.UNPACKING: "write as many names as there are values",
    Reason.NAME_TAKEN: "use another name",
    Reason.CHANGES_KIND: "use a name of its own for each kind of value",
    Reason.DOES_NOT_FIT: "use a number that fits, or a wider type",
    Reason.WRONG_KIND: "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    Reason.NEEDS_INTEGER: "name the number that is meant: a field, an element, or .value",
    Reason.CONDITION: "compare numbers; texts and arrays by == and != only",
    Reason.NOT_CONSTANT: "write a number, or a constant of the module",
    Reason.NO_FIELD: "use a field that its class declares",
    Reason.NO_ELEMENTS: "name a field: x.field; arrays, texts and slices have elements",
    Reason.INDEX: "stay below the length",
    Reason.NOT_ASSIGNABLE: "assign to a name, a field or an element",
    Reason.LENGTH: "declare it longer, or give it less",
    Reason.FIELDS: "give the fields that its class declares, by name",
    Reason.NO_SUCH_CALL: "use an operation that this kind of value has",
    Reason.ARGUMENTS: "give it the arguments that its definition names",
    Reason.WRONG_ARGUMENT: "give it an argument of that kind",
    Reason.RESULT: "return what the annotation says, or change the annotation",
    Reason.RANGE: "write for i in range(start, stop, step): with a number as the step",
    Reason.MAP_OPERATION: "use an operation that this kind of map has",
}
