/* What global functions say of their arguments, beyond C. */
#include "common.h"

#define __arg(what) __attribute__((btf_decl_tag("arg:" what)))

__noinline int use(int *value __arg("nonnull")) { return *value + 1; }

__noinline int with_context(void *ctx __arg("ctx"))
{
	return ctx ? 5 : 0;
}

SEC("tc") int nonnull(void *ctx)
{
	int value = 7;

	return use(&value);
}

SEC("tc") int context(void *ctx) { return with_context(ctx); }
