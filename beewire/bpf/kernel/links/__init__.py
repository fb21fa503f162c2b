"""Links: a program attached to a hook, for as long as the Link is open.

One module a kind, imported one by one: `beewire.bpf.kernel` hands their names on.

base            Link
tracepoint      static tracepoints, by perf event
raw_tracepoint  raw tracepoints, and programs that name their hook by BTF
cgroup          sockets and packets of the processes in a cgroup
iterator        programs that are run by reading
netfilter       hooks of netfilter
perf_event      software and hardware counters, sampled (perf_names: what there is)
netns           socket lookup in a network namespace
xdp             packets of a network interface
tcx             packets of an interface, beside other programs
sockmap         messages on the sockets of a sockmap
"""
