/* Sections: of hooks, not to be loaded, of nobody's, and none that libbpf knows. */
#include "common.h"

SEC("?xdp") int optional(void *ctx) { return 2; }
SEC("my/own") int custom(void *ctx) { return 3; }
SEC("xdp") int plain(void *ctx) { return 1; }
SEC("kprobe/do_unlinkat+0x0") int probe(void *ctx) { return 0; }
SEC("uprobe//bin/true:main") int user_probe(void *ctx) { return 0; }
SEC("fentry.s/bpf_fentry_test1") int entry(void *ctx) { return 0; }
SEC("tp_btf/sched_switch") int typed(void *ctx) { return 0; }
SEC("iter/task") int each(void *ctx) { return 0; }
SEC("cgroup/connect4") int connecting(void *ctx) { return 1; }

struct { int number; } note SEC(".bw.note") = { 7 };
