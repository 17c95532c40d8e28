"""Popular event stream clients: each reads a run, is cut off, resumes, and then stays quiet.

`docs/how-to/use-eventsource.md` says what each client requires of its user; the programs next to this file do
exactly that.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx
import msgspec
import pytest

from coachstream.conversation.model import ConversationKey, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.run_log import RunState
from coachstream.conversation.runs.settings import RunSettings
from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.identity.ticket_keys import fixed_key
from coachstream.identity.tickets import Tickets
from coachstream.services import Services
from coachstream.storage.sqlite import SqliteStore
from lambda_streaming import to_asgi
from support.chat_page import CHROMIUM, WAIT_MS, chromium
from support.cutting_proxy import CuttingProxy, Passed, cutting_proxy
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.patience import PATIENCE_S
from support.places import CACHE

if TYPE_CHECKING:
    from playwright.async_api import Browser

HERE = Path(__file__).parent
MODULES = CACHE / "event-stream-clients"
PROGRAMS = CACHE / "event-stream-clients-go"

STREAM = "users/sam/coaches/mara/conversations/conv1/stream"
KEY = ConversationKey("sam", "mara", "conv1")
MESSAGE = {"userResponse": "How was my week?", "clientMessageId": "m-1"}
WORDS = ("Zwölf Wiederholungen, ", "stark 💪🏽! ", "Und morgen \u2028 ", "„Pause“.\n")
REPLY = "".join(WORDS)

#: In Chromium: twice the stream's `retry`, which is longer than any client waits before it reconnects.
QUIET_MS = 2_000

Messages = list[str]


class Stage(msgspec.Struct):
    """A run to be read through a proxy that cuts the connection once."""

    proxy: CuttingProxy
    events_url: str
    stored: Callable[[], Awaitable[str]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The browser outlives a single test, and so must its event loop."""
    return "asyncio"


@asynccontextmanager
async def stage_of(services: Services, model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Stage]:
    """The stream function on a real store, with a model that continues once its text is committed."""
    remembered = services.store
    assert isinstance(remembered, RememberedConversations)
    store = SqliteStore(tmp_path / "data.db")
    await store.put_coach("sam", "mara", {"coach_name": "Mara"})
    await store.create_conversation(remembered.conversations[KEY])
    services.store = store
    services.tickets = Tickets(fixed_key(b"k" * 32))
    services.settings = msgspec.structs.replace(services.settings, keep_alive_s=0.1)
    quick = RunSettings(commit_every_s=0.0, renew_every_s=0.05, first_poll_s=0.01, longest_poll_s=0.02)
    services.turn_settings = msgspec.structs.replace(services.turn_settings, runs=quick)
    gates = [asyncio.Event() for _ in WORDS]
    steps = [step for pair in zip(WORDS, gates, strict=True) for step in pair]
    model.script = (*steps, ModelStop(StopReason.END_TURN))

    async def stored() -> str:
        _, reply = await store.load_messages(KEY)
        return reply.content

    async def committed() -> str:
        run_id = (await store.read_queue(KEY)).run_id
        state = None if run_id is None else RunState.of(await store.read_log(KEY, run_id))
        return "" if state is None else state.text

    async def may_go_on(number: int) -> bool:
        # A comment precedes the second word, and the cut the last one, which only the resumed stream carries.
        has_been_read = proxy.has_cut if number == len(WORDS) else proxy.comments > 0
        return has_been_read and await committed() == "".join(WORDS[:number])

    async def open_gates() -> None:
        for number, gate in enumerate(gates, 1):
            while not await may_go_on(number):  # noqa: ASYNC110 (the store has no event)
                await asyncio.sleep(0.01)
            gate.set()

    app = to_asgi(handler_for(lambda: services), timeout_s=PATIENCE_S, drain_timeout_s=5)
    files = {"/client/modules/": MODULES / "node_modules", "/client/page/": HERE / "page"}
    async with serving(app) as port, cutting_proxy(port, files) as proxy:
        opening = asyncio.create_task(open_gates())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/", trust_env=False) as client:
            headers = {"authorization": "Bearer sam", "accept": "application/json"}
            opened = await client.post(STREAM, json=MESSAGE, headers=headers)
        try:
            yield Stage(proxy, urljoin(f"{proxy.url}{STREAM}", opened.json()["eventsUrl"]), stored)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
    await store.aclose()


@pytest.fixture
async def stage(
    services: Services, conversation: ConversationKey, model: ScriptedModel, tmp_path: Path
) -> AsyncIterator[Stage]:
    """See `stage_of`."""
    assert conversation == KEY
    async with stage_of(services, model, tmp_path) as staged:
        yield staged


def text_of(messages: Messages) -> str:
    """The text shown by a reader that follows the contract: overlap is dropped by offset."""
    units = b""
    for event in map(json.loads, messages):
        if event["type"] == "chunk":
            assert 2 * event["offset"] <= len(units), "text is missing"
            units += event["content"].encode("utf-16-le")[len(units) - 2 * event["offset"] :]
    return units.decode("utf-16-le")


async def check(stage: Stage, messages: Messages, cursor_of: Callable[[Passed], str | None]) -> None:
    """The text equals the stored reply, no message was empty, and the reader resumed with its cursor."""
    assert "" not in messages
    assert text_of(messages) == await stage.stored() == REPLY
    last = json.loads(messages[-1])
    assert (last["type"], last["aiMessage"]["content"]) == ("complete", REPLY)
    assert stage.proxy.has_cut
    first, resumed, *more = stage.proxy.of_streams
    assert (first.status, resumed.status) == (200, 200)
    assert cursor_of(first) is None
    run_id = json.loads(messages[0]).get("runId") or json.loads(messages[1])["runId"]
    # The position does not matter: some clients discard buffered data when a connection breaks.
    assert (cursor_of(resumed) or "").rpartition(":")[0] == run_id
    # After the end, a reconnecting client gets one 204.
    assert [passed.status for passed in more] in ([], [204])


async def run(*command: str | Path) -> Messages:
    """Run a reader until it exits without reconnecting; return the data of each message."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, problems = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, problems.decode()
    return output.decode().removesuffix("\n").split("\n")


def header(passed: Passed) -> str | None:
    """The cursor from the standard header."""
    return passed.headers.get("last-event-id")


def node() -> str:
    """Node, with the clients installed."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs node")
    if not (MODULES / "installed.json").exists():
        pytest.skip(f"needs {HERE.name}/node/install.sh to have been run")
    return found


@pytest.mark.parametrize("client", ["eventsource", "launchdarkly-eventsource"])
async def test_a_client_for_node_reads_a_run_that_is_cut_and_ends_by_itself(
    stage: Stage, client: str
) -> None:
    """It needs only the URL; it closes at the 204, after which Node exits."""
    messages = await run(node(), HERE / "node" / f"{client}.mjs", MODULES, stage.events_url)
    await check(stage, messages, header)
    assert stage.proxy.of_streams[-1].status == 204


@pytest.mark.parametrize("client", ["httpx_sse", "sseclient"])
async def test_a_reader_for_python_reads_a_run_that_is_cut_and_ends_at_204(stage: Stage, client: str) -> None:
    """Both read a single response; the loop around it, the cursor and the 204 are up to the user."""
    pytest.importorskip(client)
    messages = await run(sys.executable, HERE / "python" / f"{client}_reader.py", stage.events_url)
    await check(stage, messages, header)
    assert stage.proxy.of_streams[-1].status == 204


@pytest.mark.parametrize("client", ["r3labs", "tmaxmax"])
async def test_a_client_for_go_reads_a_run_that_is_cut_and_returns(stage: Stage, client: str) -> None:
    """One is closed at `complete`; the other ends by itself at the 204."""
    if not (PROGRAMS / "made-of").exists():
        pytest.skip(f"needs {HERE.name}/go/install.sh to have been run")
    messages = await run(PROGRAMS / client, stage.events_url)
    await check(stage, messages, header)


IN_CHROMIUM: Mapping[str, Callable[[Passed], str | None]] = {
    "native": header,
    "sse": header,
    "event-source-polyfill": lambda passed: passed.query.get("lastEventId"),
    "fetch-event-source": header,
}
READ = """async ({ client, request }) => {
  const { read } = await import(`/client/page/${client}.js`);
  window.messages = [];
  window.isQuiet = false;
  read(request, (data) => window.messages.push(data)).then(() => (window.isQuiet = true));
}"""


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all clients; each gets its own context."""
    node()
    pytest.importorskip("playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    async with chromium() as running:
        yield running


@pytest.mark.browser
@pytest.mark.parametrize("client", IN_CHROMIUM)
async def test_a_client_for_browsers_reads_a_run_that_is_cut_and_stays_quiet(
    browser: Browser, stage: Stage, client: str
) -> None:
    """In a real Chromium, a closed client sends no request, even after its reconnection time."""
    request: dict[str, Any] = {"url": stage.events_url}
    if client == "fetch-event-source":
        headers = {"Authorization": "Bearer sam", "Content-Type": "application/json"}
        body = json.dumps(MESSAGE)
        request = {"url": f"{stage.proxy.url}{STREAM}", "method": "POST", "headers": headers, "body": body}
    page = await browser.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(f"{stage.proxy.url}client/page/blank.html")
    await page.evaluate(READ, {"client": client, "request": request})
    await page.wait_for_function("() => window.isQuiet")
    messages = await page.evaluate("() => window.messages")
    await page.evaluate("(ms) => new Promise((resolve) => setTimeout(resolve, ms))", QUIET_MS)
    await page.close()
    await check(stage, messages, IN_CHROMIUM[client])
    if client == "native":
        assert stage.proxy.of_streams[-1].status == 204
