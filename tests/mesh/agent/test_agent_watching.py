"""The agent looks after pods when the kernel tells that one has changed."""

import asyncio
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beewire.mesh.agent import Directories, Mesh, server
from beewire.mesh.agent.cgroup_news import CgroupNews
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.agent.server import Agent
from beewire.mesh.agent.watching import Watching
from beewire.mesh.lab import Lab
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.place import Place, stopping
from tests.cgroups import remove
from tests.mesh.agent.conftest import PATIENCE_S, eventually, target

pytestmark = pytest.mark.mesh


def is_told(watching: Watching | CgroupNews) -> bool:
    poll = select.poll()
    poll.register(watching.fileno(), select.POLLIN)
    return bool(poll.poll(PATIENCE_S * 1000))


def is_quiet(watching: Watching | CgroupNews) -> bool:
    poll = select.poll()
    poll.register(watching.fileno(), select.POLLIN)
    return not poll.poll(0)


@pytest.fixture
def record(lab: Lab) -> PodRecord:
    return PodRecord(
        id="1",
        name="a",
        netns=str(lab.a.namespace.path),
        netns_inode=lab.a.namespace.path.stat().st_ino,
        state="enrolled",
        cgroup=str(lab.a.cgroup.path),
    )


@pytest.fixture
def watching() -> Iterator[Watching]:
    made = Watching()
    yield made
    made.close()
    made.close()


def test_a_container_that_comes_or_goes_is_told(
    lab: Lab, record: PodRecord, watching: Watching
) -> None:
    watching.keep([record])
    assert is_quiet(watching)

    fresh = Path(lab.a.cgroup.path, "fresh")
    for change in (fresh.mkdir, fresh.rmdir):
        change()
        assert is_told(watching)
        watching.keep([record])
        assert is_quiet(watching)


def test_a_network_that_changes_is_told_once(
    lab: Lab, record: PodRecord, watching: Watching
) -> None:
    watching.keep([record])
    assert watching.has_changed(record)
    watching.keep([record])
    assert not watching.has_changed(record)

    lab.a.app.run(["/sbin/ip", "addr", "add", "10.77.1.77/24", "dev", "eth0"])
    assert is_told(watching)
    watching.keep([record])
    assert is_quiet(watching)

    assert [watching.has_changed(record) for _ in range(2)] == [True, False]


def test_a_pod_that_is_let_go_is_told_no_more(
    lab: Lab, record: PodRecord, watching: Watching
) -> None:
    watching.keep([record])
    watching.has_changed(record)
    watching.keep([])

    Path(lab.a.cgroup.path, "fresh").mkdir()
    lab.a.app.run(["/sbin/ip", "addr", "add", "10.77.1.77/24", "dev", "eth0"])

    assert is_quiet(watching)


def test_without_a_watch_to_give_nothing_is_told() -> None:
    news = CgroupNews()
    news.keep({"/nowhere"})
    assert is_quiet(news)
    news.close()
    news.close()


def test_a_sidecar_that_is_started_anew_is_followed_when_it_is(
    lab: Lab, mesh: Mesh, directories: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom the agent looks by itself."""
    monkeypatch.setattr(server, "USUAL_LOOK_S", 3600.0)

    def change() -> None:
        eventually(directories.socket.exists)
        mesh.up(target(lab.a))
        eventually(lambda: mesh.pods() != [])
        remove(lab.a.proxy.cgroup.path)
        anew = Place(lab.a.namespace, Cgroup(lab.a.cgroup.path / "anew"), 1337)
        anew.cgroup.create()
        sleeper = anew.start(["/bin/sleep", "600"], stdout=subprocess.DEVNULL)
        with stopping(sleeper):
            wanted = str(anew.cgroup.path)
            eventually(lambda: mesh.pods()[0].proxy_cgroup == wanted)

    with_agent(directories, change)


def test_it_ends_where_news_come_in_the_same_moment(directories: Directories) -> None:
    agent = Agent(directories, lambda _: None, judges=False)

    async def end() -> None:
        serving = asyncio.create_task(agent.run())
        while not agent._news._waiters:
            await asyncio.sleep(0.01)
        agent._news.set()
        agent._stop.set()
        done, _ = await asyncio.wait({serving}, timeout=10)
        assert done

    try:
        asyncio.run(end())
    finally:
        agent.close()


def with_agent(directories: Directories, function: Callable[[], None]) -> None:
    """Call `function` in a thread while an agent serves in this one."""
    agent = Agent(directories, lambda _: None, judges=False)

    async def serve() -> None:
        serving = asyncio.create_task(agent.run())
        try:
            await asyncio.to_thread(function)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    try:
        asyncio.run(serve())
    finally:
        agent.close()
