"""Who loads."""

import os
from typing import NamedTuple

from beewire.bpf.kernel import privilege

_NOBODY = 0xFFFF_FFFF


class Loader(NamedTuple):
    """Who loads: the effective user, and the one who logged in (None: nobody did)."""

    uid: int
    name: str
    login_uid: int | None
    pid: int
    command: str


def loader() -> Loader:
    """This process."""
    found = loader_of(os.geteuid())
    login = privilege.read_text("/proc/self/loginuid")
    number = int(login) if login.isdecimal() else _NOBODY
    return found._replace(login_uid=None if number == _NOBODY else number)


def loader_of(user: int | str) -> Loader:
    """This process, if it were that user's: a uid, or a name.

    Raises:
        KeyError: there is no user of that name.
    """
    import pwd  # noqa: PLC0415 - reads files

    try:
        found = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        uid, name = found.pw_uid, found.pw_name
    except KeyError:
        if isinstance(user, str):
            raise
        uid, name = user, str(user)
    command = privilege.read_text("/proc/self/comm")
    return Loader(uid, name, None, os.getpid(), command)
