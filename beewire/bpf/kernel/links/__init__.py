"""Links: a program attached to a hook, for as long as the Link is open.

One module a kind, imported one by one: `beewire.bpf.kernel` hands their names on.

base            Link
kinds           LinkKind
info            what the kernel knows of one
event           programs that perf events run, by link or by ioctl
tracepoint      static tracepoints
probe           probes, by perf event or tracefs
kprobe          kernel functions: entry, return, an instruction
raw_tracepoint  raw tracepoints, and programs that name their hook by BTF; freplace
perf_event      software and hardware counters, sampled (perf_names: what there is)
iterator        programs that are run by reading
struct_ops      tables of callbacks
cgroup          sockets and packets of the processes in a cgroup
netfilter       hooks of netfilter
netns           socket lookup in a network namespace
xdp             packets of a network interface
tcx             packets of an interface, beside other programs
sockmap         messages on the sockets of a sockmap
"""
