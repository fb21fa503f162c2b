"""The stable codes of what the compiler refuses; docs/errors has a page for each.

A code is never given a second meaning. The first two digits are its chapter: 10 Python
that programs lack, 11 names, 12 types and integers, 13 None and byte order, 14 data, 15
functions, 16 maps, 17 hooks and the kernel, 18 loops, 19 sizes and instruction sets.
"""


class Reason:
    """Codes by what is wrong."""

    PYTHON = "BW100"  # the file is no Python
    CONSTRUCT = "BW101"  # a part of Python that programs do not have
    NO_EFFECT = "BW102"  # a statement that does nothing
    FLOAT = "BW103"  # numbers that are no integers
    TEXT = "BW104"  # text is put together
    PRINTK = "BW105"  # what printk() cannot print
    SOURCE = "BW106"  # the source of a function cannot be found
    UNPACKING = "BW107"  # names and values that do not match
    WITH = "BW108"  # 'with' around something that it does not hold

    UNDEFINED = "BW110"  # a name that is defined nowhere
    UNASSIGNED = "BW111"  # a variable without a value on some way here
    NAME_TAKEN = "BW112"  # a name that means something else
    CHANGES_KIND = "BW113"  # a variable that would hold another kind of value
    DECLARED = "BW114"  # two declarations, or one too late
    ALIAS = "BW115"  # a second name for what has one owner
    GONE = "BW116"  # what a variable referred to is gone
    GLOBAL = "BW117"  # a global that no module declares
    LEAK = "BW118"  # a reference that is not given back on every way
    BORROWED = "BW119"  # a reference given back that is not the program's

    ANNOTATION = "BW120"  # an annotation that is no type of programs
    DOES_NOT_FIT = "BW121"  # a number that its type cannot hold
    MIXED_SIGNS = "BW122"  # signed and unsigned together
    WRONG_KIND = "BW123"  # a value of another kind than its place
    NEEDS_INTEGER = "BW124"  # something else where an integer is needed
    NO_ARITHMETIC = "BW125"  # what cannot be calculated with
    CONDITION = "BW126"  # what is neither true nor false, or not comparable
    NOT_BOOL = "BW127"  # an integer where a bool is needed
    MEMBERSHIP = "BW128"  # 'in' something that it does not look into
    NOT_CONSTANT = "BW129"  # what has to be known when the program is compiled

    MAYBE_NONE = "BW130"  # a reference that may be None is used
    NEVER_NONE = "BW131"  # a test for None that is always false
    BYTE_ORDER = "BW132"  # network and host order together

    NO_FIELD = "BW140"  # a field that does not exist
    NO_ELEMENTS = "BW141"  # an index into what has no elements
    INDEX = "BW142"  # an index past the end
    VARIABLE_INDEX = "BW143"  # a variable index where only constants are possible
    READ_ONLY = "BW144"  # a field that the kernel does not let programs write
    NOT_ASSIGNABLE = "BW145"  # an assignment to what is no place
    LENGTH = "BW146"  # too many elements, or too few
    ALIGNMENT = "BW147"  # a field that is not aligned where it has to be
    FIELDS = "BW148"  # a struct is made with the wrong fields
    NO_SUCH_CALL = "BW149"  # a method that a value does not have

    ARGUMENTS = "BW150"  # too many arguments, too few, or unknown ones
    WRONG_ARGUMENT = "BW151"  # an argument of the wrong kind
    RESULT = "BW152"  # what a function returns, and what it says it returns
    RECURSION = "BW153"  # a function that calls itself
    SUBPROGRAM = "BW155"  # what a subprogram cannot take, or return
    CALLBACK = "BW156"  # a function that its caller could not call
    TAIL_CALL = "BW157"  # a program that cannot be gone to
    NOT_CALLABLE = "BW154"  # what cannot be called in programs

    MAP_OPERATION = "BW160"  # an operation that this kind of map does not have
    MAP_READ = "BW161"  # table[key] is read
    MAP_VALUE = "BW162"  # a map's operation that is not called
    NOT_ATOMIC = "BW163"  # an update of shared memory that would not be atomic
    LOCKED = "BW164"  # what is not allowed while a lock is held
    OBJECT = "BW165"  # an object of the kernel, used where it cannot be

    SIGNATURE = "BW170"  # a program's parameters that its hook does not pass
    KERNEL_CLASS = "BW171"  # a Kernel class that cannot be read
    HELPER = "BW172"  # a helper that programs of this kind may not call

    RANGE = "BW180"  # a 'for' over something that is no range()
    ENDLESS = "BW181"  # a loop that never ends
    OUTSIDE_LOOP = "BW182"  # break or continue outside of a loop
    UNBOUNDED = "BW183"  # a loop of more rounds than the kernel takes

    CALL_STACK = "BW193"  # functions that together need more than the stack
    STACK = "BW190"  # more than 512 bytes of stack
    TOO_LONG = "BW191"  # a jump that does not reach
    ISA = "BW192"  # an instruction that the instruction set lacks
    TOO_DEEP = "BW195"  # statements or expressions nested too deeply
    LLVM = "BW194"  # what the second back end, LLVM, cannot compile
