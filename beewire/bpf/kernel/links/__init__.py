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
interface       names of network interfaces
xdp             packets of a network interface (xdp_netlink: the older way)
xdp_chain       ... several programs of an interface, in an order of ours
tcx             packets of an interface, beside other programs (clsact: the older way)
order           ... who comes before whom
lwt             packets of a route
netfilter       hooks of netfilter
netns           socket lookup and packet parsing of a namespace (netns_direct: older)
cgroup          what the processes of a cgroup do (cgroup_direct: the older way)
socket          packets of a socket, and of a SO_REUSEPORT group
sockmap         messages on the sockets of a sockmap
direct          DirectLink: what the kernel has no links for
query           which programs are at a hook
detach          what stayed attached is taken off
"""
