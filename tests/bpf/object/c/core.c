/* One of every question that CO-RE asks, and what makes them hard. */
#include "common.h"

#define RELOC __attribute__((preserve_access_index))

struct bw_inner { int a; long b; } RELOC;
struct bw_outer {
	int first;
	struct { union { short deep; int deeper; }; };
	struct bw_inner inner[3];
	unsigned int flag : 3;
	int sign : 9;
	void *pointer;
	unsigned char narrow;
	char tail[];
} RELOC;
struct bw_outer___flavour { int first; int renamed; } RELOC;
struct bw_outer___no { int not_there; char first[4]; } RELOC;
struct bw_missing { int x; } RELOC;
struct bw_wanted { struct bw_inner *p; int count; };
struct bw_wanted___other { int *p; int count; int more; };
union bw_union { int a; char b; } RELOC;
typedef struct { int x; } bw_typedef;
enum bw_enum { BW_ZERO, BW_ONE, BW_BIG = 0x7fffffff };
enum bw_enum___old { BW_ONE___old = 1, BW_NEVER = 9 };

__u64 out[48];

SEC("syscall") int ask(void *ctx)
{
	struct bw_outer *o = 0;
	struct bw_outer___flavour *f = 0;
	struct bw_outer___no *n = 0;
	struct bw_missing *m = 0;
	int i = 0;

	out[0] = (__u64)__builtin_preserve_access_index(&o->deep);
	out[1] = (__u64)__builtin_preserve_access_index(&o->inner[2].b);
	out[2] = (__u64)__builtin_preserve_access_index(&o->tail[5]);
	out[3] = bpf_core_field_size(o->inner);
	out[4] = bpf_core_field_size(o->narrow);
	out[5] = bpf_core_field_exists(o->deeper);
	out[6] = bpf_core_field_exists(f->renamed);
	out[7] = bpf_core_field_exists(n->not_there);
	out[8] = bpf_core_field_exists(n->first);
	out[9] = bpf_core_field_exists(m->x);
	out[10] = __builtin_preserve_field_info(o->sign, BPF_FIELD_SIGNED);
	out[11] = __builtin_preserve_field_info(o->flag, BPF_FIELD_SIGNED);
	out[12] = __builtin_preserve_field_info(o->sign, BPF_FIELD_LSHIFT_U64);
	out[13] = __builtin_preserve_field_info(o->sign, BPF_FIELD_RSHIFT_U64);
	out[14] = __builtin_preserve_field_info(o->sign, BPF_FIELD_BYTE_OFFSET);
	out[15] = __builtin_preserve_field_info(o->sign, BPF_FIELD_BYTE_SIZE);
	out[16] = __builtin_preserve_field_info(o->flag, BPF_FIELD_LSHIFT_U64);
	out[17] = __builtin_preserve_field_info(o->flag, BPF_FIELD_RSHIFT_U64);
	out[18] = bpf_core_type_exists(struct bw_outer___flavour);
	out[19] = bpf_core_type_exists(struct bw_missing);
	out[20] = bpf_core_type_size(struct bw_outer);
	out[21] = bpf_core_type_size(union bw_union);
	out[22] = bpf_core_type_exists(bw_typedef);
	out[23] = bpf_core_type_size(bw_typedef);
	out[24] = bpf_core_type_id_kernel(struct bw_outer) != 0;
	out[25] = bpf_core_type_id_kernel(struct bw_missing);
	out[26] = bpf_core_enum_value_exists(enum bw_enum, BW_ONE);
	out[27] = bpf_core_enum_value(enum bw_enum, BW_BIG);
	out[28] = bpf_core_enum_value_exists(enum bw_enum___old, BW_NEVER);
	out[29] = bpf_core_enum_value_exists(enum bw_enum___old, BW_ONE___old);
#if __clang_major__ >= 15
	out[30] = __builtin_preserve_type_info(*(struct bw_wanted *)0, 2);
	out[31] = __builtin_preserve_type_info(*(struct bw_wanted___other *)0, 2);
	out[32] = __builtin_preserve_type_info(*(enum bw_enum *)0, 2);
#endif
	out[33] = bpf_core_type_id_local(struct bw_inner) != 0;
	return 0;
}
