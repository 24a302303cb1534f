"""Parts of the node fail, its logs rotate faster than they are read, it is lost: what ends truly, and what is built again."""

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.cluster_scene import SLOW, attempts, succeeds, ticking, wait_for_tick
from tests.support.cluster import BUILDER_IMAGE
from tests.support.cluster_control import ClusterControl, wait_for
from tests.support.fault_site import Site, Stand

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

SETTLED_SECONDS = 90
#: 100 MB in bursts of 2 MB, ten a second.
BURSTS, LINES = 50, 20_000
LINE = re.compile(rb"^(\d{7}) of a flood ", re.MULTILINE)
WORDS = " ".join(["of a flood that no log file can hold"] * 3)[:91]
FLOOD = (
    f"RUN /bin/busybox awk 'BEGIN {{ for (; burst < {BURSTS}; burst++) {{ for (i = 0; i < {LINES}; i++) "
    f'printf "%07d {WORDS}\\n", n++; system("/bin/busybox usleep 100000") }} }}\'; /bin/busybox sleep 1\n'
)
LOST = {"spec": {"taints": [{"key": "ci-portal-tests/lost", "value": "true", "effect": "NoExecute"}]}}
BACK = {"spec": {"taints": None}}


@pytest.fixture(scope="module")
def stand(place: Site, cluster_control: ClusterControl) -> Iterator[Stand]:
    for seconds in (8, 20, 40, 90):
        place.branch(f"ticks-{seconds}", ticking(seconds))
    place.branch("flood", FLOOD)
    with place.portal(build={"builder": "buildah"}) as made:
        made.portal.start_web()
        made.portal.start_watcher()
        yield made


@pytest.mark.parametrize("part", ["kubelet", "containerd"])
def test_a_build_goes_on_while_its_node_has_no(part: str, stand: Stand, control: ClusterControl):
    """One build ends while it is away, the other goes on when it is back."""
    builds = [stand.started(branch) for branch in ("ticks-8", "ticks-20")]
    for _, run_id in builds:
        wait_for_tick(stand, run_id, 10)
    with control.without(part):
        time.sleep(10)
    for event_id, _ in builds:
        succeeds(stand, event_id, SETTLED_SECONDS, gap_is_fine=part == "containerd")


def test_a_log_rotated_at_64_kib_while_20_mb_a_second_are_printed_is_stored_in_order_or_the_gap_is_told(
    stand: Stand, control: ClusterControl
):
    with control.kubelet_with(containerLogMaxSize="64Ki", containerLogMonitorInterval="3s"):
        event_id, run_id = stand.started("flood")
        succeeds(stand, event_id, 180, gap_is_fine=True)
    known, output = stand.portal.output_status(run_id), stand.portal.output(run_id)
    numbers = [int(number) for number in LINE.findall(output)]
    if known["verdict"] == "verified":
        assert numbers == list(range(BURSTS * LINES))
    else:  # no more is wrong than it says
        (told,) = re.findall(r"build: (\d+) (?:of|more)", known["verdict_detail"])
        assert 100 * (BURSTS * LINES - len(set(numbers))) <= int(told) + 200


def running_again(stand: Stand, event_id: int) -> Callable[[], Any]:
    """Whether the second attempt has printed something; for `wait_for`."""
    return lambda: len(found := stand.runs(event_id)) == 2 and b"tick 3 of" in stand.portal.output(found[1]["id"])


def test_a_build_whose_node_is_lost_is_built_once_more_and_never_a_third_time(stand: Stand, control: ClusterControl):
    once, once_run = stand.started("ticks-8")
    twice, twice_run = stand.started("ticks-90")
    wait_for_tick(stand, once_run, 3)
    wait_for_tick(stand, twice_run, 3)
    control.patch_node(LOST)
    for event_id in (once, twice):
        wait_for(lambda event_id=event_id: len(stand.runs(event_id)) == 2, "a second attempt", 60 * SLOW)
        assert stand.runs(event_id)[0]["reason"] == "The node that ran the build was lost."
    control.patch_node(BACK)
    assert stand.portal.ended(once, SETTLED_SECONDS * SLOW)["status"] == "3"
    assert attempts(stand, once) == [("failed", (1, 1)), ("succeeded", (1, 1))]
    wait_for(running_again(stand, twice), "the second attempt to run", 60 * SLOW)
    control.patch_node(LOST)
    event = stand.portal.ended(twice, SETTLED_SECONDS * SLOW)
    assert (event["status"], event["reason"]) == ("4", "The node that ran the build was lost.")
    assert attempts(stand, twice) == [("failed", (1, 1)), ("failed", (1, 1))]


@pytest.fixture
def important(stand: Stand) -> Iterator[Callable[[], None]]:
    """Starts a pod of a higher priority that needs the room of a build; all of it goes at the end."""
    admin, space, name = stand.site.shop.space.admin, stand.site.shop.space, "ci-portal-tests-important"
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    admin.request("POST", classes, {"metadata": {"name": name}, "value": 1000})
    container = {"name": "sleep", "image": BUILDER_IMAGE, "command": ["sleep", "300"], "resources": {"requests": {"cpu": "1500m"}}}
    pod = {"priorityClassName": name, "containers": [container], "terminationGracePeriodSeconds": 1}

    yield lambda: space.create("pods", {"metadata": {"name": name}, "spec": pod}) and None
    if space.get("pods", name):
        space.delete("pods", name)
    admin.request("DELETE", f"{classes}/{name}")


def test_a_build_that_made_room_for_a_more_important_pod_is_built_once_more(
    place: Site, stand: Stand, important: Callable[[], None], control: ClusterControl
):
    cpus = int(control.node["status"]["allocatable"]["cpu"])
    requests = {"requests": {"cpu": f"{cpus - 0.8:.1f}"}}  # with 1.5 of another pod that is more than the node has
    with place.portal(build={"builder": "buildah"}, kubernetes={"resources": requests}) as portal:
        portal.portal.start_web()
        portal.portal.start_watcher()
        event_id, run_id = portal.started("ticks-20")
        wait_for_tick(portal, run_id, 3)
        important()
        wait_for(lambda: len(portal.runs(event_id)) == 2, "a second attempt", 60 * SLOW)
        assert portal.runs(event_id)[0]["reason"] == "The build had to make room for a pod of higher priority."
        place.shop.space.delete("pods", "ci-portal-tests-important")
        assert portal.portal.ended(event_id, SETTLED_SECONDS * SLOW)["status"] == "3"
        assert attempts(portal, event_id) == [("failed", (1, 1)), ("succeeded", (1, 1))]


@pytest.fixture
def kept_image(stand: Stand) -> Iterator[None]:
    """A pod that is never evicted uses the builder's image: a node without room on its disk removes all that nobody uses."""
    space, name = stand.site.shop.space, "ci-portal-tests-kept"
    container = {"name": "sleep", "image": BUILDER_IMAGE, "command": ["sleep", "600"]}
    pod = {"priorityClassName": "system-node-critical", "containers": [container], "terminationGracePeriodSeconds": 1}
    space.create("pods", {"metadata": {"name": name}, "spec": pod})
    wait_for(lambda: (space.get("pods", name) or {})["status"]["phase"] == "Running", "a pod that keeps the image", 60 * SLOW)
    yield
    space.delete("pods", name)


def test_a_build_whose_node_has_no_room_on_its_disk_says_so_and_is_built_once_more(
    stand: Stand, kept_image: None, control: ClusterControl
):
    with control.full_disk() as file:
        event_id, run_id = stand.started("ticks-40")
        wait_for_tick(stand, run_id, 3)
        with file.open("wb") as filling:
            os.posix_fallocate(filling.fileno(), 0, 5 << 30)
        wait_for(lambda: len(stand.runs(event_id)) == 2, "a second attempt", 60 * SLOW)
        told = "The node ended the build: The node was low on resource: ephemeral-storage"
        assert stand.runs(event_id)[0]["reason"].startswith(told)
        file.unlink()
        event = stand.portal.ended(event_id, (40 + SETTLED_SECONDS) * SLOW)
    # The second attempt may come to the node before the scheduler knows how it is.
    assert event["status"] == "3" or "Pod was rejected: The node had condition: [DiskPressure]" in event["reason"], event
    assert [found for _, found in attempts(stand, event_id)] == [(1, 1), (1, 1)]
