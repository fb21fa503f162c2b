"""What a guest boots from: busybox, a few modules, and two scripts.

The first script puts the host's file system, read-only, under an overlay in memory, and
makes that the root. The second prepares what programs expect of a machine, runs the
command, and says how it ended.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from beewire.guest import tools
from beewire.guest.cpio import Archive
from beewire.guest.kernels import Kernel
from beewire.guest.modules import Modules
from beewire.guest.share import Share

# Ports of the guest's virtio-serial device, in the order in which QEMU is given them.
CONTROL, OUTPUT, ERRORS, INPUT = 1, 2, 3, 4
PORTS = (CONTROL, OUTPUT, ERRORS, INPUT)
VARIABLE = "BEEWIRE_GUEST"
"""The environment variable that commands in a guest find: the kernel's release."""

UP = "up"
EXIT = "exit"

_APPLETS = ("sh", "mount", "insmod", "mkdir", "switch_root", "cp")
_DRIVERS = ("virtio_pci", "virtio_console", "overlay")
# One place where every Linux has a directory: /run is a file system in memory there.
_HOME = "/run/beewire"

_FIRST = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do insmod $module; done
mount -t {file_system} -o {options} {tag} /lower || echo "beewire: no host file system"
mount -t tmpfs -o size=75% tmpfs /upper
mkdir -p /upper/data /upper/work /upper/root
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay \\
    /upper/root
root=/upper/root
mkdir -p $root/run $root/lib/modules/{release} $root/boot
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p $root{home} $root/run/netns $root/run/lock
cp /guest/* $root{home}/
mount --bind /lower{modules} $root/lib/modules/{release}
for each in proc sys dev; do mount --move /$each $root/$each; done
exec switch_root $root {home}/busybox sh {home}/second
"""

_SECOND = """\
exec 3<>/dev/vport0p{control}
# The other end closes when whoever started this guest is gone, however it went.
{{ cat <&3 >/dev/null; echo o >/proc/sysrq-trigger; }} &
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
ln -sf /lib/modules/{release}/config /boot/config-{release}
hostname bw-guest
ip link set lo up
ulimit -n 65536
for module in {modules}; do {modprobe} $module 2>&1; done
read now rest </proc/uptime
echo "{up} $now" >&3
exec >/dev/console
cd {folder}
# By its path: for mere names busybox runs its own programs.
setsid /usr/bin/env -i {environment} {command} \\
    </dev/{input} >/dev/vport0p{output} 2>/dev/vport0p{errors} 3>&-
echo "{exit} $?" >&3
wait
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What a guest runs: the words, in which folder, with which environment.

    `reads` tells whether there is something for it to read; if not, that is /dev/null.
    `modules` are loaded before it runs, by modprobe.
    """

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    reads: bool = False
    modules: Sequence[str] = ()


def build(kernel: Kernel, share: Share, command: Command) -> bytes:
    """The initramfs that boots `kernel` and runs `command`.

    Raises:
        GuestError: busybox is missing, or a module that is needed to boot.
    """
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "lower", "upper", "modules", "guest"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3)
    busybox = Path(tools.static_busybox()).read_bytes()
    archive.file("bin/busybox", busybox, executable=True)
    for name in _APPLETS:
        archive.link(f"bin/{name}", "busybox")
    modules = Modules(kernel.modules)
    for number, path in enumerate(modules.closure((*_DRIVERS, *share.drivers))):
        archive.file(f"modules/{number:02}.ko", modules.read(path))
    archive.file("init", first_script(kernel, share).encode(), executable=True)
    archive.file("guest/busybox", busybox, executable=True)
    archive.file("guest/second", second_script(kernel, command).encode())
    return archive.to_bytes()


def first_script(kernel: Kernel, share: Share) -> str:
    """What runs in the initramfs, as process 1."""
    return _FIRST.format(
        file_system=share.file_system,
        options=share.options,
        tag=share.tag,
        release=kernel.release,
        modules=shlex.quote(str(kernel.modules.resolve())),
        home=_HOME,
    )


def second_script(kernel: Kernel, command: Command) -> str:
    """What runs on the guest's final root, as process 1."""
    environment = {**command.environment, VARIABLE: kernel.release}
    given = (f"{name}={value}" for name, value in environment.items())
    return _SECOND.format(
        control=CONTROL,
        output=OUTPUT,
        errors=ERRORS,
        input=f"vport0p{INPUT}" if command.reads else "null",
        up=UP,
        exit=EXIT,
        release=kernel.release,
        modules=shlex.join(command.modules),
        modprobe=tools.find("modprobe"),
        folder=shlex.quote(str(command.folder)),
        environment=shlex.join(given),
        command=shlex.join(command.words),
    )
