"""Names follow from what they name, fit their place, and stay apart."""

import datetime
from itertools import islice

import pytest

from runners.naming import event_name, image_name, image_tag, job_name, shorten, slug, stamps

MINUTE = datetime.datetime(2021, 11, 25, 15, 17, 42)


def test_an_event_is_named_after_repository_and_minute():
    assert event_name("prometh_exporter", next(stamps(MINUTE))) == "event-prometh-exporter-buildv202111251517"


def test_a_second_event_of_the_minute_has_another_stamp():
    first, second = islice(stamps(MINUTE), 2)
    assert (first, second) == ("buildv202111251517", "buildv202111251517a")


def test_stamps_stay_within_twenty_characters_and_never_repeat():
    many = list(islice(stamps(MINUTE), 3000))
    assert len(set(many)) == 3000
    assert max(map(len, many)) == 20


def test_a_full_minute_goes_on_in_the_next():
    assert "buildv202111251518" in list(islice(stamps(MINUTE), 704))


@pytest.mark.parametrize(
    ("name", "expected"), [("Prometh_Exporter", "prometh-exporter"), ("team/app.web", "team-app-web"), ("__x__", "x")]
)
def test_a_slug_is_lower_case_with_single_hyphens(name, expected):
    assert slug(name) == expected


def test_a_name_without_letters_still_has_a_slug():
    assert slug("仓库") != slug("工具")
    assert slug("仓库").startswith("repo-")


def test_a_long_event_name_is_cut_with_a_hash_and_keeps_its_stamp():
    stamp = next(stamps(MINUTE))
    first, second = event_name("a" * 150, stamp), event_name("a" * 149 + "b", stamp)
    assert first != second
    assert len(first) <= 100
    assert first.endswith(stamp)


def test_a_jobs_name_fits_a_label_and_follows_from_the_run():
    name = job_name("x" * 100, "0123456789abcdef0123456789abcdef")
    assert len(name) <= 63
    assert name.endswith("-01234567")


def test_what_is_short_enough_is_left_alone():
    assert shorten("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("", ("registry.example:5000", "team", "app")),
        ("web", ("registry.example:5000", "", "web")),
        ("group/web", ("registry.example:5000", "group", "web")),
        ("other.example/group/sub/web", ("other.example", "group/sub", "web")),
        ("localhost/web", ("localhost", "", "web")),
        ("host:5000/web", ("host:5000", "", "web")),
    ],
)
def test_an_images_name_is_split_into_registry_path_and_name(image, expected):
    split = image_name(image, "app", "registry.example:5000", "team")
    assert (split.registry, split.repository, split.name) == expected


def test_an_image_of_a_long_repository_name_is_cut_with_a_hash():
    first, second = (image_name("", "a" * 149 + end, "registry.example", "team") for end in "bc")
    assert first != second
    assert len(first.name) <= 100


def test_without_a_registry_an_image_has_only_its_name():
    assert str(image_name("", "My App", "", "")) == "my-app"


@pytest.mark.parametrize(
    ("tag", "expected"), [("v1.2.3", "v1.2.3"), ("release/1.0", "release-1.0"), ("1.0+build", "1.0-build"), ("-x", "_-x")]
)
def test_a_git_tag_becomes_an_image_tag_that_registries_accept(tag, expected):
    assert image_tag(tag) == expected
