"""A service router in the cgroup: connect() to a virtual address goes to one of its backends."""

from beewire.bpf import (
    HashMap,
    LruHash,
    PerCpuArray,
    SockAddr,
    Struct,
    array,
    connect4,
    connect6,
    getpeername4,
    htonl,
    htons,
    ntohs,
    random_u32,
    socket_cookie,
    u8,
    u16,
    u32,
    u64,
)

MAPPED = htonl(0xFFFF)
ALLOW = 1
DENY = 0
AFFINITY = 1
DRAINED = 2
ROUTED = 0
REFUSED = 1
STUCK = 2


class Address(Struct):
    words: list[u32] = array(u32, 4)


class ServiceKey(Struct):
    address: Address
    port: u16
    protocol: u8
    scope: u8


class Service(Struct):
    first: u32
    count: u32
    flags: u32
    affinity_id: u32


class Backend(Struct):
    address: Address
    port: u16
    flags: u16


class AffinityKey(Struct):
    client: u64
    service: u32
    padding: u32


class Origin(Struct):
    address: Address
    port: u32


services = HashMap[ServiceKey, Service](max_entries=4096)
backends = HashMap[u32, Backend](max_entries=65536)
affinities = LruHash[AffinityKey, u32](max_entries=65536)
origins = LruHash[u64, Origin](max_entries=65536)
counters = PerCpuArray[u64](max_entries=3)


def live_backend(index: u32) -> Backend | None:
    """The backend at `index`, unless it is drained."""
    if (backend := backends.lookup(index)) is None:
        return None
    if backend.flags & DRAINED != 0:
        return None
    return backend


def choose(service: Service, client: u64) -> Backend | None:
    """The backend that the client had before, or any of the service's."""
    key = AffinityKey(client=client, service=service.affinity_id)
    if (
        service.flags & AFFINITY != 0
        and (before := affinities.lookup(key)) is not None
        and (known := live_backend(before.value)) is not None
    ):
        counters[STUCK] += 1
        return known
    index = service.first + random_u32() % service.count
    if (backend := live_backend(index)) is None:
        return None
    if service.flags & AFFINITY != 0:
        affinities[key] = index
    return backend


def find_service(key: ServiceKey) -> Service | None:
    """The service at the address and port, or for every port of the address."""
    if (exact := services.lookup(key)) is not None:
        return exact
    key.port = 0
    return services.lookup(key)


def remember(cookie: u64, address: Address, port: u32) -> None:
    origins[cookie] = Origin(address=address, port=port)


@connect4
def route4(ctx: SockAddr) -> int:
    key = ServiceKey(port=ntohs(ctx.user_port), protocol=ctx.protocol)
    key.address.words[2] = MAPPED
    key.address.words[3] = ctx.user_ip4
    if (service := find_service(key)) is None:
        return ALLOW
    cookie = socket_cookie(ctx)
    if service.count == 0 or (backend := choose(service, cookie)) is None:
        counters[REFUSED] += 1
        return DENY
    remember(cookie, key.address, ctx.user_port)
    ctx.user_ip4 = backend.address.words[3]
    if backend.port != 0:
        ctx.user_port = htons(backend.port)
    counters[ROUTED] += 1
    return ALLOW


@connect6
def route6(ctx: SockAddr) -> int:
    key = ServiceKey(port=ntohs(ctx.user_port), protocol=ctx.protocol)
    key.address.words[0] = ctx.user_ip6[0]
    key.address.words[1] = ctx.user_ip6[1]
    key.address.words[2] = ctx.user_ip6[2]
    key.address.words[3] = ctx.user_ip6[3]
    if (service := find_service(key)) is None:
        return ALLOW
    cookie = socket_cookie(ctx)
    if service.count == 0 or (backend := choose(service, cookie)) is None:
        counters[REFUSED] += 1
        return DENY
    remember(cookie, key.address, ctx.user_port)
    ctx.user_ip6[0] = backend.address.words[0]
    ctx.user_ip6[1] = backend.address.words[1]
    ctx.user_ip6[2] = backend.address.words[2]
    ctx.user_ip6[3] = backend.address.words[3]
    if backend.port != 0:
        ctx.user_port = htons(backend.port)
    counters[ROUTED] += 1
    return ALLOW


@getpeername4
def original4(ctx: SockAddr) -> int:
    if (origin := origins.lookup(socket_cookie(ctx))) is not None:
        ctx.user_ip4 = origin.address.words[3]
        ctx.user_port = origin.port
    return ALLOW
