"""The types of the kernel functions that constructs of the language call.

Loading does without them; object files declare what they take from the kernel.
"""

from beewire.bpf.btf import types as btf
from beewire.bpf.object.spec import Relocation, RelocationKind
from beewire.hints import Iterable

# What is returned, then the parameters: "void", "int", "u64", "*" for void *, a struct's
# name for a pointer to it, "less" and "work" for callbacks.
_SIGNATURES = {
    "bpf_rcu_read_lock": "void",
    "bpf_rcu_read_unlock": "void",
    "bpf_obj_new_impl": "* u64 *",
    "bpf_obj_drop_impl": "void * *",
    "bpf_list_push_front_impl": "int bpf_list_head bpf_list_node * u64",
    "bpf_list_push_back_impl": "int bpf_list_head bpf_list_node * u64",
    "bpf_list_pop_front": "bpf_list_node bpf_list_head",
    "bpf_list_pop_back": "bpf_list_node bpf_list_head",
    "bpf_rbtree_add_impl": "int bpf_rb_root bpf_rb_node less * u64",
    "bpf_rbtree_first": "bpf_rb_node bpf_rb_root",
    "bpf_rbtree_remove": "bpf_rb_node bpf_rb_root bpf_rb_node",
    "bpf_wq_init": "int bpf_wq * u64",
    "bpf_wq_set_callback_impl": "int bpf_wq work u64 *",
    "bpf_wq_start": "int bpf_wq u64",
    "bpf_arena_alloc_pages": "* * * u64 int u64",
    "bpf_arena_free_pages": "void * * u64",
    "bpf_task_release": "void task_struct",
    "bpf_cgroup_release": "void cgroup",
    "bpf_cpumask_release": "void bpf_cpumask",
}
_INT = btf.Int("int", 4, signed=True)
_U64 = btf.Int("unsigned long long", 8)
_CALLBACKS = {"less": "int bpf_rb_node bpf_rb_node", "work": "int * int* *"}


def externs(relocations: Iterable[Relocation]) -> dict[str, btf.Func]:
    """Those that a program refers to, by name."""
    names = {
        relo.symbol
        for relo in relocations
        if relo.kind == RelocationKind.KFUNC and relo.symbol in _SIGNATURES
    }
    return {
        name: btf.Func(name, _proto(_SIGNATURES[name]), btf.Linkage.EXTERN)
        for name in sorted(names)
    }


def _proto(signature: str) -> btf.FuncProto:
    returned, *taken = signature.split()
    params = [btf.Param(f"a{n}", _type(word)) for n, word in enumerate(taken)]
    return btf.FuncProto(_type(returned), tuple(params))


def _type(word: str) -> btf.Type | None:
    if word in _CALLBACKS:
        return btf.Ptr(_proto(_CALLBACKS[word]))
    plain = {
        "void": None,
        "int": _INT,
        "u64": _U64,
        "*": btf.Ptr(None),
        "int*": btf.Ptr(_INT),
    }
    return plain[word] if word in plain else btf.Ptr(btf.Struct(word, 0))
