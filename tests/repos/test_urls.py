import pytest

from repos import urls
from repos.errors import InvalidUrl
from repos.urls import Parts


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://git.example/team/app.git", Parts("https", "", "git.example", 443, "/team/app.git")),
        ("https://git.example:8443/app", Parts("https", "", "git.example", 8443, "/app")),
        ("https://Git.Example/App.git", Parts("https", "", "git.example", 443, "/App.git")),
        ("HTTPS://git.example/app", Parts("https", "", "git.example", 443, "/app")),
        ("https://192.0.2.7/app", Parts("https", "", "192.0.2.7", 443, "/app")),
        ("https://[2001:DB8::7]:8443/app", Parts("https", "", "2001:db8::7", 8443, "/app")),
        ("https://git.example/~me/a%20b.git", Parts("https", "", "git.example", 443, "/~me/a%20b.git")),
        ("https://me:token@git.example/app", Parts("https", "", "git.example", 443, "/app")),
        ("ssh://git@git.example/team/app.git", Parts("ssh", "git", "git.example", 22, "/team/app.git")),
        ("ssh://git@git.example:2222/app", Parts("ssh", "git", "git.example", 2222, "/app")),
        ("git@git.example:team/app.git", Parts("ssh", "git", "git.example", 22, "team/app.git")),
        ("git@git_host.example:app", Parts("ssh", "git", "git_host.example", 22, "app")),
    ],
)
def test_it_takes_https_and_ssh_urls_apart(url, parts):
    assert urls.parts(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app",
        "/srv/git/app.git",
        "./app.git",
        "../app",
        "~/app",
        "file:///srv/git/app.git",
        "http://git.example/app",
        "git://git.example/app",
        "ftp://git.example/app",
        "ext::sh -c touch% /tmp/x",
        "ext::touch",
        "fd::17/app",
        "https::git.example/app",
        "https::https://git.example/app",
        "foo::bar@git.example:app",
        "git@git.example::app",
        "https://git.example/a::b",
        "ext://git.example/app",
        "git+ssh://git@git.example/app",
        "--upload-pack=touch",
        "-oProxyCommand=touch@git.example:app",
        "ssh://-oProxyCommand=touch/app",
        "ssh://git@-oProxyCommand=touch/app",
        "ssh://-git@git.example/app",
        "git@-oProxyCommand=touch:app",
        "git@git.example:-app",
        "git@git.example:/-app",
        "git@git.example:",
        "git.example:app",
        "a b@git.example:app",
        "git@[::1]:app",
        "https://",
        "https:///app",
        "https://:443/app",
        "https://git.example",
        "https://git.example/",
        "https://git.example//",
        "https://git.example:0/app",
        "https://git.example:65536/app",
        "https://git.example:99999/app",
        "https://git.example:x/app",
        "https://git.example:/app",
        "https://git.example/app?service=x",
        "https://git.example/app#x",
        "https://git.example?/app",
        "https://git.example#/app",
        "https://git.example\\@elsewhere.example/app",
        "https://git.example/a\\b",
        "https://git.example/app\n",
        "https://git.example/app\r\nHost: x",
        "https://git.example/a\tb",
        "https://git.example/a b",
        " https://git.example/app",
        "https://git.example/app\x00",
        "https://git.example/app\x7f",
        "https://git.example/%0aapp",
        "https://git.example/%00",
        "https://git.example/100%",
        "https://git.example/%zz",
        "https://git.example/../app",
        "https://git.example/a/./b",
        "https://git.example/%2e%2e/app",
        "https://git.example/$(touch)",
        "https://git.example/`touch`",
        "https://git.example/a;b",
        "https://git.example/a|b",
        "https://git.example/a'b",
        'https://git.example/a"b',
        "https://git.example/-app",
        "https://münchen.example/app",
        "https://git.example/gruß",
        "https://git..example/app",
        "https://.git.example/app",
        "https://git.example./app",
        "https://git-.example/app",
        "https://git.example%2f@elsewhere/app%",
        "https://%67it.example/app",
        "https://127.1/app",
        "https://0177.0.0.1/app",
        "https://0x7f.0.0.1/app",
        "https://0x7f000001/app",
        "https://2130706433/app",
        "https://127.0.0.1./app",
        "https://127.0.0.01/app",
        "https://256.0.0.1/app",
        "https://1.2.3/app",
        "https://host.0x1/app",
        "https://[::1/app",
        "https://::1/app",
        "https://[::1%25eth0]/app",
        "https://[127.0.0.1]/app",
        "https://[v1.x]/app",
        "https://user:pass%0aword@git.example/app",
        "https://user%00:password@git.example/app",
        "https://user:%ff@git.example/app",
        "ssh://git:password@git.example/app",
        "ssh://git.example/app",
        "https://git.example/" + "a" * 200,
        "https://" + "a" * 64 + ".example/app",
    ],
)
def test_it_refuses_everything_else(url):
    with pytest.raises(InvalidUrl):
        urls.check(url)


def test_it_counts_the_length_without_the_credential():
    url = "https://git.example/" + "a" * 180
    assert len(url) == urls.MAX_LENGTH
    urls.check(url.replace("//", "//user:a-long-password@"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:token@git.example/app", ("https://git.example/app", "me", "token")),
        ("https://token@git.example/app", ("https://git.example/app", "token", "")),
        ("https://:token@git.example/app", ("https://git.example/app", "", "token")),
        ("https://me%40corp:p%3A%2F%20%E5%AF%86@git.example/app", ("https://git.example/app", "me@corp", "p:/ 密")),
        ("https://me:to:ken@git.example/app", ("https://git.example/app", "me", "to:ken")),
        ("https://me:to@ken@git.example/app", ("https://git.example/app", "me", "to@ken")),
        ("https://git.example/a@b:c@d", ("https://git.example/a@b:c@d", "", "")),
        ("https://git.example/app", ("https://git.example/app", "", "")),
        ("http://me:token@git.example/app", ("http://git.example/app", "me", "token")),
        ("https://me:to/ken@git.example/app", ("https://git.example/app", "me", "to/ken")),
        ("https://me:to?k#en@git.example/app", ("https://git.example/app", "me", "to?k#en")),
        ("ssh://git@git.example/app", ("ssh://git@git.example/app", "", "")),
        ("ssh://git:secret@git.example/app", ("ssh://git@git.example/app", "", "secret")),
        ("git@git.example:app", ("git@git.example:app", "", "")),
        ("", ("", "", "")),
    ],
)
def test_it_takes_the_credential_out_of_a_url(url, expected):
    found = urls.split(url)
    assert (found.url, found.username, found.password) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2secret@git.example/a b",
        "https://me:hunter2secret@git.example:x/app",
        "https://me:hunter2secret@git.example/app?x",
        "https://me:hunter2secret/@git.example/app",
        "https://me:hunter2secret@/app",
        "https://me:hunter2secret%0a@git.example/app",
        "https://hunter2secret@git..example/app",
        "ssh://git:hunter2secret@git.example/app",
        "http://me:hunter2secret@git.example/app",
        "https://me:hunter2secret",
    ],
)
def test_no_refusal_repeats_a_credential(url):
    with pytest.raises(InvalidUrl) as refused:
        urls.check(url)
    assert "hunter2secret" not in str(refused.value)


def test_a_split_url_shows_no_credential():
    assert "hunter2secret" not in repr(urls.split("https://me:hunter2secret@git.example/app"))


def test_a_refusal_names_the_field_to_correct():
    with pytest.raises(InvalidUrl) as refused:
        urls.check("file:///etc")
    assert (refused.value.field, refused.value.code) == ("repo", "git_url_invalid")
