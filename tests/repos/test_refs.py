import subprocess

import pytest

from repos import refs

GOOD_REFS = ["main", "release/1.2", "v1.0.0", "feature/ünïcode", "a.b", "a@b", "x-", "UPPER_lower", "名前"]
BAD_REFS = [
    "",
    " ",
    "a b",
    "a\nb",
    "a\x00b",
    "a\x7fb",
    "-x",
    "--upload-pack=x",
    "/x",
    "x/",
    "a//b",
    "a..b",
    "..",
    ".",
    "a.",
    ".a",
    "a/.b",
    "a.lock",
    "a.lock/b",
    "a~1",
    "a^",
    "a^{}",
    "a:b",
    "a?",
    "a*",
    "a[b",
    "a\\b",
    "@",
    "a@{1}",
]


@pytest.mark.parametrize("check", [refs.check_branch, refs.check_tag])
@pytest.mark.parametrize("name", GOOD_REFS)
def test_it_takes_what_git_takes_as_a_ref(check, name):
    assert subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True).returncode == 0
    check(name)


@pytest.mark.parametrize("check", [refs.check_branch, refs.check_tag])
@pytest.mark.parametrize("name", BAD_REFS)
def test_it_refuses_what_git_refuses_as_a_ref(check, name):
    with pytest.raises(ValueError, match=r"\."):
        check(name)


@pytest.mark.parametrize("name", ["refs/heads/main", "refs/tags/v1"])
def test_it_asks_for_the_short_name(name):
    with pytest.raises(ValueError, match="short name"):
        refs.check_branch(name)


def test_it_refuses_head_as_a_branch():
    with pytest.raises(ValueError, match="leave the branch empty"):
        refs.check_branch("HEAD")


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("Dockerfile", "Dockerfile"),
        ("./docker//api/", "docker/api"),
        (".", "."),
        ("./", "."),
        ("a/..b", "a/..b"),
        ("a b/Dockerfile", "a b/Dockerfile"),
        (".github/x", ".github/x"),
    ],
)
def test_a_path_inside_the_checkout_is_normalised(path, normal):
    assert refs.normal_path(path) == normal


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "-f",
        "--file",
        "a\nb",
        "a\x00",
        "C:/x",
        "a\\b",
        ".git/config",
        "a/.GIT/x",
    ],
)
def test_a_path_out_of_the_checkout_is_refused(path):
    with pytest.raises(ValueError, match=r"path"):
        refs.check_path(path)


@pytest.mark.parametrize(
    "name",
    [
        "app",
        "team/app",
        "registry.example/team/app",
        "registry.example:5000/app",
        "localhost/app",
        "localhost:5000/a/b/c",
        "10.0.0.1:5000/app",
        "a__b/c-d/e.f--g",
        "Registry/app",
    ],
)
def test_it_takes_image_names(name):
    refs.check_image(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "App",
        "app:1",
        "registry.example/app:1",
        "app@sha256:00",
        "/app",
        "app/",
        "a//b",
        "a b",
        "-app",
        "app-",
        "a___b",
        "a..b",
        "registry.example:port/app",
        "registry.example:5000",
        "registry.example/",
        "../app",
        "https://registry.example/app",
        "registry.example/" + "a" * 256,
        "app\n",
    ],
)
def test_it_refuses_what_is_no_image_name(name):
    with pytest.raises(ValueError, match=r"image"):
        refs.check_image(name)


@pytest.mark.parametrize(("tag", "fine"), [("v1.0", True), ("_x", True), ("a" * 128, True), ("a" * 129, False), ("", False)])
@pytest.mark.parametrize("suffix", ["", "/x", "+x"])
def test_an_image_tag_has_the_form_of_oci(tag, fine, suffix):
    if fine and not suffix:
        refs.check_image_tag(tag)
    else:
        with pytest.raises(ValueError, match="tag"):
            refs.check_image_tag(tag + suffix)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_it_refuses_what_is_no_dns_label(name):
    with pytest.raises(ValueError, match="63"):
        refs.check_dns_label(name)


@pytest.mark.parametrize("name", ["", ".", "a.", "A.b", "a..b", "a_b", "../x", "a/b", "a" * 254])
def test_it_refuses_what_is_no_dns_name(name):
    with pytest.raises(ValueError, match="253"):
        refs.check_dns_name(name)


def test_it_takes_dns_names():
    refs.check_dns_label("a" * 63)
    refs.check_dns_name("corp-ca.v2")
