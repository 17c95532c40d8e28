from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from coachstream.local.app import LocalApp
from coachstream.local.session import Session, SessionCoach
from coachstream.local.static_files import StaticFiles
from lambda_streaming.emulator.peer import Ends
from support.uvicorn_server import served


async def open_session(origin: str, authorization: str | None) -> Session:
    coach = SessionCoach("c1", authorization or "Mara", "calm")
    return Session("a.b.c", "2026-01-01T00:00:00.000Z", "u1", "Sam", (coach,), "c1", "conv1", origin, origin)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "js").mkdir()
    (folder / "js" / "main.js").write_text("export {};")
    (folder / "notes.py").write_text("secret = 1")
    (folder.parent / "outside.html").write_text("outside")
    return folder


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[httpx.Client]:
    app = LocalApp(
        page=StaticFiles(folder),
        stream=PlainTextResponse("stream"),
        send_message=PlainTextResponse("send-message"),
        conversations=PlainTextResponse("conversations"),
        open_session=open_session,
        may_sign_in=None,
    )
    with served(app) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/users/u/coaches/c/conversations", "conversations"),
        ("/users/u/coaches/c/conversations/", "conversations"),
        ("//users/u//coaches/c/conversations/count", "conversations"),
        ("/users/u/coaches/c/conversations/conv1", "conversations"),
        ("/users/u/coaches/c/conversations/a%2Fb", "conversations"),
        ("/users/u/coaches/c/conversations/conv1/stream", "stream"),
        ("//users/u/coaches/c/conversations/conv1/stream", "stream"),
        ("/users/u/coaches/c/conversations/conv1/send-message", "send-message"),
        ("/users/u/export", "conversations"),
        ("//users/u/data", "conversations"),
        ("/users/u/data/more", "stream"),
        ("/users/u/invalid/path", "stream"),
        ("/users", "stream"),
    ],
)
def test_each_path_under_users_reaches_its_function(http: httpx.Client, path: str, function: str) -> None:
    """Doubled slashes are ignored, as on the real URLs; unknown paths go to the streaming function."""
    assert http.post(str(http.base_url).rstrip("/") + path).text == function


def test_the_page_comes_with_its_type_and_a_strict_policy(http: httpx.Client) -> None:
    """Scripts and styles only from this origin, nothing inline, no frames, and no unvalidated caching."""
    page = http.get("/")
    assert (page.status_code, page.text) == (200, "<!doctype html><title>page</title>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    script = http.get("/js/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    for response in (page, script):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert http.get("/index.html").text == page.text


def test_a_file_that_the_browser_has_is_not_sent_again_until_it_changes(
    http: httpx.Client, folder: Path
) -> None:
    """An edited file appears at the next reload."""
    first = http.get("/js/main.js")
    known = {"if-none-match": first.headers["etag"]}
    not_modified = http.get("/js/main.js", headers=known)
    assert not_modified.status_code == 304
    for name in ("etag", "cache-control", "cross-origin-resource-policy"):
        assert not_modified.headers[name] == first.headers[name]
    (folder / "js" / "main.js").write_text("export { x };")
    assert http.get("/js/main.js", headers=known).text == "export { x };"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/notes.py", "/../outside.html", "/%2e%2e/outside.html", "/js/", "/js/../../outside.html"],
)
def test_nothing_but_the_page_is_served(http: httpx.Client, path: str) -> None:
    """No other file type, no other folder, no directory listing."""
    response = http.get(str(http.base_url).rstrip("/") + path)
    assert (response.status_code, response.text) == (404, "There is no such page.\n")
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_a_page_can_only_be_read(http: httpx.Client) -> None:
    """HEAD is a GET without a body; other methods are refused."""
    head = http.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(http.get("/").content))
    refused = http.post("/")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    refused = http.delete("/local/session")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert refused.json()["code"] == "METHOD_NOT_ALLOWED"


def test_the_session_names_addresses_of_the_origin_that_the_page_was_opened_at(http: httpx.Client) -> None:
    """A page opened as localhost must not be sent to 127.0.0.1, which is another origin."""
    host = f"localhost:{http.base_url.port}"
    session = http.get("/local/session", headers={"host": host})
    assert session.json()["streamUrl"] == session.json()["conversationsUrl"] == f"http://{host}/"
    assert session.json()["coaches"] == [{"coachId": "c1", "name": "Mara", "description": "calm"}]
    assert session.headers["cache-control"] == "no-store"
    assert not [name for name in session.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_a_page_of_another_origin_gets_no_session(http: httpx.Client, site: str) -> None:
    """Another port of localhost is same-site, but still another origin."""
    response = http.get("/local/session", headers={"sec-fetch-site": site})
    assert (response.status_code, response.json()["code"]) == (403, "WRONG_SITE")
    assert http.get("/local/session", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_session_is_opened_with_one_token_or_none(http: httpx.Client) -> None:
    """Of two tokens, a proxy may have checked either one."""
    both = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
    names = [
        http.get("/local/session", headers=sent).json()["coaches"][0]["name"] for sent in (both[:1], both)
    ]
    assert names == ["Bearer a", "Mara"]


def test_the_session_is_opened_only_for_an_admitted_connection(folder: Path) -> None:
    """The check gets both ends of the connection; other users get no token."""
    asked: list[Ends] = []

    async def is_admitted(ends: Ends) -> bool:
        asked.append(ends)
        return len(asked) > 1

    app = LocalApp(
        page=StaticFiles(folder),
        stream=PlainTextResponse("stream"),
        send_message=PlainTextResponse("send-message"),
        conversations=PlainTextResponse("conversations"),
        open_session=open_session,
        may_sign_in=is_admitted,
    )
    with served(app) as url, httpx.Client(base_url=url) as client:
        refused = client.get("/local/session")
        assert (refused.status_code, refused.json()["code"]) == (403, "WRONG_USER")
        assert client.get("/").status_code == 200, "the page is no secret"
        assert client.get("/local/session").json()["token"] == "a.b.c"
        assert asked[0].server == ("127.0.0.1", client.base_url.port)
        assert asked[0].client[0] == "127.0.0.1"
