"""A storage for finished output that is full or away: the output is read from the database, and moves once there is room."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

#: 200 KB that no compression makes small.
DENSE = "RUN /bin/busybox head -c 150000 /dev/urandom | /bin/busybox base64\n"
SOON = Fault(0, constants={"runners.watcher.ARCHIVE_SECONDS": 1})


class Disk:
    """A disk of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.mount("size=48k")

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def hide(self) -> None:
        """An empty disk lies over it, as where the real one is not mounted."""
        self.mount("size=4m")

    def show(self) -> None:
        self.unmount()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.unmount()


@pytest.fixture
def stand(place: Site, disk: Disk) -> Iterator[Stand]:
    place.branch("dense", DENSE)
    with place.portal(output={"storage": str(disk.folder)}) as made:
        made.portal.start_web()
        made.portal.start_watcher(SOON)
        yield made


def stays_in_the_database(stand: Stand, run_id: int) -> None:
    said = f"the output of run {run_id} could not be archived"
    until(lambda: said in (stand.portal.folder / "watch.log").read_text(), 30, stand.portal.logs)
    assert not stand.portal.output_status(run_id)["archived"]


def test_output_that_finds_the_storage_full_stays_readable_and_moves_once_there_is_room(stand: Stand, disk: Disk):
    large, large_run = stand.started("dense")
    stand.audit(large)
    stays_in_the_database(stand, large_run)
    small, small_run = stand.started()
    stand.audit(small)
    until(lambda: stand.archived(small), 30, stand.portal.logs, every=0.5)  # it fits
    printed = {run_id: stand.portal.output(run_id) for run_id in (large_run, small_run)}
    disk.remount("size=4m")
    until(lambda: stand.archived(large), 30, stand.portal.logs, every=0.5)
    assert {run_id: stand.portal.output(run_id) for run_id in printed} == printed
    stand.audit(large)
    assert len(disk.files()) == 2


def test_output_that_finds_the_storage_read_only_stays_readable_and_moves_once_it_can(stand: Stand, disk: Disk):
    disk.remount("ro")
    event_id, run_id = stand.started()
    stand.audit(event_id)
    stays_in_the_database(stand, run_id)
    disk.remount("rw")
    until(lambda: stand.archived(event_id), 30, stand.portal.logs, every=0.5)
    stand.audit(event_id)


def test_output_whose_storage_is_away_is_a_503_until_it_is_back(stand: Stand, disk: Disk):
    event_id, run_id = stand.started()
    stand.audit(event_id)
    until(lambda: stand.archived(event_id), 30, stand.portal.logs, every=0.5)
    disk.hide()
    answer = stand.portal.get(f"/job/{run_id}/output/")
    assert (answer.status, answer.json["code"]) == (503, "storage")
    assert stand.portal.output_status(run_id)["verdict"] == "verified"
    disk.show()
    stand.audit(event_id)
