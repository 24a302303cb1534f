"""Images on disk that are too old, too many or broken go; the newest of each name and what is needed stay."""

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runners.backends.local_prune import Expired, expired, remove

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def layout(path: Path, days_old: float) -> Path:
    """A small OCI layout that was written so long ago."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = {"config": blob(b"{}"), "layers": [blob(b"a layer")]}
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_text(json.dumps({"manifests": [blob(json.dumps(manifest).encode())]}))
    written = (NOW - timedelta(days=days_old)).timestamp()
    for place in (path / "index.json", path):
        os.utime(place, (written, written))
    return path


def names(found: list[Expired], root: Path) -> list[tuple[str, str]]:
    return [(str(one.path.relative_to(root)), one.why) for one in found]


def test_those_older_than_the_limit_go_but_never_the_newest_of_their_name(tmp_path: Path):
    for tag, age in (("v1", 40), ("v2", 20), ("v3", 1)):
        layout(tmp_path / "team/app" / tag, age)
    layout(tmp_path / "team/old" / "v1", 400)
    found = expired(tmp_path, 10, 0, NOW)
    assert names(found, tmp_path) == [("team/app/v1", "too old"), ("team/app/v2", "too old")]


def test_only_as_many_of_each_name_are_kept_as_the_limit_says(tmp_path: Path):
    for tag, age in (("v1", 3), ("v2", 2), ("v3", 1)):
        layout(tmp_path / "team/app" / tag, age)
        layout(tmp_path / "team/other" / tag, age)
    found = expired(tmp_path, 0, 2, NOW)
    assert names(found, tmp_path) == [("team/app/v1", "too many"), ("team/other/v1", "too many")]


def test_without_limits_every_whole_image_stays(tmp_path: Path):
    for tag, age in (("v1", 4000), ("v2", 2000)):
        layout(tmp_path / "app" / tag, age)
    assert expired(tmp_path, 0, 0, NOW) == []


def test_what_is_needed_stays(tmp_path: Path):
    needed = layout(tmp_path / "app/v1", 40)
    layout(tmp_path / "app/v2", 1)
    assert expired(tmp_path, 10, 1, NOW, keep=[needed]) == []


@pytest.mark.parametrize("damage", ["blobs/sha256", "index.json"])
def test_a_broken_image_goes_after_an_hour_and_does_not_count_as_the_newest(tmp_path: Path, damage: str):
    layout(tmp_path / "app/v1", 40)
    broken = layout(tmp_path / "app/v2", 1)
    for path in (broken / damage).rglob("*") if damage.endswith("256") else [broken / damage]:
        path.write_bytes(b"")
    written = (NOW - timedelta(minutes=90)).timestamp()
    for place in (broken / "index.json", broken):
        os.utime(place, (written, written))
    assert names(expired(tmp_path, 10, 1, NOW), tmp_path) == [("app/v2", "broken")]
    assert expired(tmp_path, 10, 1, NOW - timedelta(minutes=80)) == []


def test_a_missing_layer_makes_an_image_broken(tmp_path: Path):
    broken = layout(tmp_path / "app/v1", 1)
    (broken / "blobs/sha256" / hashlib.sha256(b"a layer").hexdigest()).unlink()
    assert names(expired(tmp_path, 0, 0, NOW), tmp_path) == [("app/v1", "broken")]


def test_folders_that_are_no_layouts_are_left_alone(tmp_path: Path):
    (tmp_path / "app/notes").mkdir(parents=True)
    (tmp_path / "app/notes/index.json").write_text("")
    assert expired(tmp_path, 1, 1, NOW) == []


def test_no_folder_of_images_is_no_error(tmp_path: Path):
    assert expired(tmp_path / "images", 1, 1, NOW) == []


def test_it_tells_size_and_time(tmp_path: Path):
    layout(tmp_path / "app/v1", 2)
    layout(tmp_path / "app/v2", 1)
    (found,) = expired(tmp_path, 0, 1, NOW)
    sizes = [path.stat().st_size for path in (tmp_path / "app/v1").rglob("*") if path.is_file()]
    assert (found.bytes, found.written_at) == (sum(sizes), NOW - timedelta(days=2))


def test_removing_leaves_the_others_and_no_empty_folder(tmp_path: Path):
    images = tmp_path / "images"
    alone = layout(images / "team/sub/app/v1", 2)
    for path in (alone / "blobs/sha256").iterdir():
        path.unlink()
    layout(images / "team/other/v1", 2)
    (found,) = expired(images, 0, 0, NOW)
    assert remove(found)
    assert not remove(found)
    assert sorted(path.name for path in images.iterdir()) == ["team"]
    assert sorted(path.name for path in (images / "team").iterdir()) == ["other"]


def test_the_folder_of_images_itself_stays(tmp_path: Path):
    layout(tmp_path / "images/app/v1", 2)
    (tmp_path / "images/app/v1/index.json").write_text("{")
    os.utime(tmp_path / "images/app/v1/index.json", (0, 0))
    (found,) = expired(tmp_path / "images", 0, 0, NOW)
    assert remove(found)
    assert list((tmp_path / "images").iterdir()) == []


def test_one_that_was_written_anew_since_it_was_found_stays(tmp_path: Path):
    layout(tmp_path / "app/v1", 2)
    layout(tmp_path / "app/v2", 1)
    (found,) = expired(tmp_path, 0, 1, NOW)
    os.utime(found.path / "index.json")
    assert not remove(found)
    assert found.path.exists()


def test_a_removal_that_was_interrupted_is_finished(tmp_path: Path):
    layout(tmp_path / "app/v2", 1)
    half = tmp_path / "app/.removing-1"
    (half / "blobs").mkdir(parents=True)
    found = expired(tmp_path, 0, 0, NOW)
    assert [remove(one) for one in found] == [True]
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["v2"]
