// SPDX-License-Identifier: Apache-2.0
/* The C twin of syscall_classes.py. */
#include "kernel.bpf.h"

enum class {
	OTHER, READ, WRITE, OPEN, CLOSE, STAT, POLL, MEMORY, SIGNAL, PROCESS, NETWORK, TIME,
	DIRECTORY, IDENTITY, SYNCHRONIZE,
};

struct usage {
	__u64 calls[16];
	__u32 last;
	__u32 streak;
	__u32 longest;
	__u32 rare;
};

struct only {
	__u32 tgid;
} only;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct usage);
} usages SEC(".maps");

static __always_inline __u32 class_of(__u64 number)
{
	switch (number) {
	case 0: case 17: case 19: case 295: case 327:
		return READ;
	case 1: case 18: case 20: case 296: case 328: case 40:
		return WRITE;
	case 2: case 85: case 257: case 437:
		return OPEN;
	case 3: case 436:
		return CLOSE;
	case 4: case 5: case 6: case 262: case 332: case 21: case 269: case 439:
		return STAT;
	case 7: case 23: case 232: case 233: case 270: case 271: case 281: case 291: case 213:
		return POLL;
	case 9: case 10: case 11: case 12: case 25: case 26: case 27: case 28: case 149:
	case 150:
		return MEMORY;
	case 13: case 14: case 15: case 62: case 127: case 128: case 129: case 130: case 131:
	case 200: case 234:
		return SIGNAL;
	case 56: case 57: case 58: case 59: case 60: case 61: case 231: case 247: case 322:
	case 435:
		return PROCESS;
	case 41 ... 55: case 288: case 299: case 307:
		return NETWORK;
	case 35: case 96: case 201: case 228: case 229: case 230: case 283: case 286:
		return TIME;
	case 78: case 79: case 80: case 82: case 83: case 84: case 217: case 258: case 263:
	case 264: case 316:
		return DIRECTORY;
	case 102 ... 126: case 39: case 186:
		return IDENTITY;
	case 74: case 75: case 162: case 202: case 306:
		return SYNCHRONIZE;
	default:
		return OTHER;
	}
}

static __always_inline void note(struct usage *usage, __u32 kind)
{
	usage->calls[kind & 15] += 1;
	if (usage->last == kind) {
		usage->streak += 1;
		if (usage->streak > usage->longest)
			usage->longest = usage->streak;
	} else {
		usage->last = kind;
		usage->streak = 1;
	}
	if (kind == OTHER)
		usage->rare += 1;
}

SEC("raw_tracepoint/sys_enter")
int on_syscall(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, kind;
	struct usage *usage, empty = {};

	if (only.tgid != 0 && only.tgid != tgid)
		return 0;
	kind = class_of(ctx->args[1]);
	usage = bpf_map_lookup_elem(&usages, &tgid);
	if (!usage) {
		bpf_map_update_elem(&usages, &tgid, &empty, BPF_ANY);
		usage = bpf_map_lookup_elem(&usages, &tgid);
		if (!usage)
			return 0;
	}
	note(usage, kind);
	return 0;
}

char _license[] SEC("license") = "GPL";
