"""Which kernel a name means."""

from pathlib import Path

import pytest

from beewire.errors import GuestError, UsageError
from beewire.guest import obtain
from beewire.guest.kernels import CLOUD, FULL, choose

RELEASES = [
    "5.10.0-9-cloud-amd64",
    "5.10.0-46-cloud-amd64",
    "5.10.0-46-amd64",
    "6.1.0-56-cloud-amd64",
    "6.12-cloud-amd64",
    "6.12.99+deb12-cloud-amd64",
    "6.12.117+deb12-cloud-amd64",
    "6.12.117+deb12-rt-amd64",
    "6.12.118+deb13-amd64",
    "7.3.4+deb13-cloud-amd64",
    "7.3.4+deb13-cloud-amd64-unsigned",
    "amd64",
]


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("5.10", "5.10.0-46-cloud-amd64"),
        ("6.1", "6.1.0-56-cloud-amd64"),
        ("6.12", "6.12.117+deb12-cloud-amd64"),
        ("6.12.99", "6.12.99+deb12-cloud-amd64"),
        ("6.12.99+deb12-cloud-amd64", "6.12.99+deb12-cloud-amd64"),
        ("5.10.0-9-cloud-amd64", "5.10.0-9-cloud-amd64"),
        ("newest", "7.3.4+deb13-cloud-amd64"),
    ],
)
def test_a_name_means_the_highest_release_of_its_series(
    name: str, release: str
) -> None:
    assert choose(name, RELEASES, CLOUD) == release


def test_a_full_kernel_is_neither_for_clouds_nor_for_real_time() -> None:
    assert choose("6.12", RELEASES, FULL) == "6.12.118+deb13-amd64"


def test_a_series_that_the_archive_lacks_is_an_error() -> None:
    with pytest.raises(GuestError, match=r"no kernel 5\.15"):
        choose("5.15", RELEASES, CLOUD)


@pytest.mark.parametrize(
    "name", ["", "latest", "6", "6.12.", "v6.12", "6.12\n", "-1.2"]
)
def test_a_name_that_is_no_kernel_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no kernel: say a series"):
        obtain(name)


def test_a_directory_has_to_have_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="no kernel that can be booted"):
        obtain(str(tmp_path))


def test_a_directory_with_a_kernel_is_one(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/modules/6.6.6"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").touch()

    kernel = obtain(str(tmp_path))

    assert (kernel.release, kernel.modules) == ("6.6.6", modules)
