"""Ways past sidecars in words."""

from typing import Any

from beewire.cli.mesh_straight import straight_lines


def way(port: int) -> dict[str, Any]:
    place = {"address": "10.0.0.2", "port": port}
    return {"kind": "splice", "client": "a", "server": "b", **place, "leads_to": place}


def test_ways_that_carry_something_come_first() -> None:
    carried = {"opened": 2, "open": 1, "sent": 1000, "received": 5}
    told = {
        "says_yes": ["splice"],
        "holds": True,
        "refused": [],
        "ways": [way(port) for port in range(1, 9)],
        "traffic": [
            {"kind": "splice", "client": "a", "server": "b", "port": 8, **carried}
        ],
    }

    lines = straight_lines(told, verbose=False)

    assert lines[1].strip() == (
        "splice a -> b port 8 (10.0.0.2:8): 2 connections, 1 open; 1,000 bytes there, 5"
        " back"
    )
    assert lines[-1].strip() == "and 3 more: -v shows them"
