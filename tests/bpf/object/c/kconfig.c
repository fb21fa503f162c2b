/* The kernel's configuration. */
#include "common.h"

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern enum libbpf_tristate CONFIG_BPF_SYSCALL __kconfig;
extern bool CONFIG_BPF __kconfig;
extern char CONFIG_NET __kconfig;
extern int CONFIG_HZ __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[32] __kconfig __weak;
extern __u64 CONFIG_BW_IS_MISSING __kconfig __weak;

SEC("syscall") int version(void *ctx) { return LINUX_KERNEL_VERSION >> 16; }
SEC("syscall") int options(void *ctx)
{
	return CONFIG_BPF_SYSCALL * 1000 + CONFIG_BPF * 100 + (CONFIG_NET == 'y') * 10 +
	       CONFIG_BW_IS_MISSING;
}
SEC("syscall") int hertz(void *ctx) { return CONFIG_HZ; }
SEC("syscall") int letter(void *ctx) { return CONFIG_DEFAULT_HOSTNAME[1]; }
SEC("syscall") int cookie(void *ctx) { return LINUX_HAS_BPF_COOKIE; }
