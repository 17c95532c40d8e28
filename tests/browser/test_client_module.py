"""`coachstream.js` in a real Chromium against a real HTTP server that cuts connections where it hurts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.patience import PATIENCE_S
from support.scripted_stream import (
    KEEP_ALIVE,
    NOTHING_LEFT,
    OPENED,
    RUN,
    START,
    Asked,
    ScriptedResponse,
    ScriptedStream,
    Then,
    chunk,
    complete,
    document,
    event,
    scripted,
    stream,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

#: How long is watched for what must not happen: a browser's own `EventSource` would be back after a second.
WATCHED_MS = 3500

#: Reads a reply to its end and tells all that was seen, each event in a word or two.
HARNESS = """
window.seen = [];
window.tokens = [];
window.controller = new AbortController();
window.read = async ({ call, leaveAt, ...options }) => {
  const coachstream = await import("/coachstream.js");
  window.reply = coachstream[call]({
    conversationUrl: "/conversation",
    token: ({ fresh }) => {
      window.tokens.push(fresh);
      return `token-${window.tokens.length}`;
    },
    signal: window.controller.signal,
    ...options,
    reconnect: {
      silenceMs: 20_000,
      backoffMs: 10,
      maxBackoffMs: 100,
      giveUpAfterMs: 20_000,
      ...options.reconnect,
    },
  });
  try {
    for await (const event of window.reply) {
      if (event.type === "text") window.seen.push(`"${event.text}"`);
      if (event.type === "connection") window.seen.push(event.state);
      if (event.type === "run") window.seen.push("run");
      if (event.type === "complete") window.seen.push(`complete "${event.text}"`);
      if (window.seen.at(-1) === leaveAt) break;
    }
    window.seen.push("end");
  } catch (error) {
    window.seen.push(`${error.name} ${error.code}`);
    window.error = error;
  }
  return window.seen;
};
"""


class Reader:
    """The module in an empty page."""

    def __init__(self, page: Page, server: ScriptedStream) -> None:
        self.page = page
        self.server = server

    async def read(self, call: str, **options: object) -> list[str]:
        """Read a reply to its end; everything that was seen."""
        seen: list[str] = await self.page.evaluate("(what) => window.read(what)", {"call": call, **options})
        return seen

    async def start(self, **options: object) -> list[str]:
        """Send a message and read the reply."""
        return await self.read("start", message="How was my week?", **options)

    async def sees(self, what: str) -> None:
        """Wait for an event."""
        await self.page.wait_for_function("(what) => window.seen.includes(what)", arg=what)

    async def error(self) -> dict[str, Any]:
        """What the reading ended with."""
        fields: dict[str, Any] = await self.page.evaluate(
            """() => {
              const { name, code, message, retryable, status, runId, partialMessage } = window.error;
              return { name, code, message, retryable, status, runId, partialMessage };
            }"""
        )
        return fields


@pytest.fixture(scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """One page for all: every server has an origin of its own, so that nothing stays from another test."""
    context = await browser.new_context()
    await context.add_init_script(HARNESS)
    page = await context.new_page()
    page.set_default_timeout(1_000 * PATIENCE_S)
    yield page
    await context.close()


@asynccontextmanager
async def reading(
    page: Page, *script: ScriptedResponse | Callable[[Asked], ScriptedResponse]
) -> AsyncIterator[Reader]:
    """The module, and a server with this script."""
    async with scripted(*script) as server:
        await page.goto(server.url)
        yield Reader(page, server)
        await page.unroute_all()
        await page.goto("about:blank")  # whatever is still read or waited for ends here


async def test_a_reply_is_read_from_its_message_to_its_end(page: Page) -> None:
    """One request, whose events tell the run, the growing text and the stored reply."""
    whole = stream(START, event(0), chunk("Well ", 0), chunk("done", 5, 1), complete("Well done"))
    async with reading(page, whole) as reader:
        seen = await reader.start(clientMessageId="m1", conversationUrl="/conversation/")
        assert seen == ["connected", "run", '"Well "', '"Well done"', 'complete "Well done"', "end"]
        (asked,) = reader.server.requests
        assert (asked.method, asked.path) == ("POST", "/conversation/stream")
        assert asked.headers["authorization"] == "Bearer token-1"
        assert asked.headers["accept"] == "text/event-stream"
        assert asked.body["userResponse"] == "How was my week?"
        assert asked.body["clientMessageId"] == "m1"
        assert asked.body["messageTimestamp"].endswith("Z")
        zone = await page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
        assert zone
        assert asked.body["userTimezone"] == zone


async def test_a_message_is_named_where_its_writer_does_not(page: Page) -> None:
    """Every message can be sent again, so every message has an id that the service takes."""
    async with reading(page, stream(complete("A")), stream(complete("B"))) as reader:
        await reader.start()
        await reader.start()
        one, other = [asked.body["clientMessageId"] for asked in reader.server.requests]
        assert one != other
        assert len(one) == len(other) == 32
        assert one.isalnum()


async def test_what_came_twice_is_shown_once(page: Page) -> None:
    """The log is replayed from the last committed point; the overlap goes, be it a part or all of a chunk."""
    script = (
        stream(START, event(0), chunk("One ", 0), chunk("two ", 4, 1), chunk("thr", 8)),
        stream(
            START, chunk("two thr", 4), chunk("t", 4), chunk("two three", 4, 2), complete("One two three")
        ),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start()
        assert [word for word in seen if word.startswith('"')] == [
            '"One "',
            '"One two "',
            '"One two thr"',
            '"One two three"',
        ]
        assert seen[-2:] == ['complete "One two three"', "end"]
        assert seen.count("reconnecting") == 1
        assert reader.server.summary() == ["POST", "GET /R after R:1"]


async def test_offsets_count_as_javascript_does(page: Page) -> None:
    """A character outside the basic plane is two units; none is lost or doubled at a cut."""
    script = (
        stream(event(0), chunk("🏃🏃", 0, 1)),
        stream(chunk("🏃", 2), chunk("🏃!", 2), complete("🏃🏃!", 3)),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start()
        assert [word for word in seen if word.startswith('"')] == ['"🏃🏃"', '"🏃🏃!"']


async def test_a_reset_takes_back_what_follows_its_offset(page: Page) -> None:
    """Text that does not hold disappears, and the new text takes its place."""
    script = stream(
        event(0),
        chunk("Sure: do no", 0),
        event(type="reset", offset=6),
        chunk("run", 6),
        event(2, type="reset", offset=0),
        chunk("Rest.", 0),
        complete("Rest."),
    )
    async with reading(page, script) as reader:
        texts = [word for word in await reader.start() if word.startswith('"')]
        assert texts == ['"Sure: do no"', '"Sure: "', '"Sure: run"', '""', '"Rest."']


async def test_a_reconnect_event_is_obeyed_at_once(page: Page) -> None:
    """The reader moves to the next connection without a pause, and without calling it a failure."""
    script = (
        stream(event(0), chunk("One ", 0, 1), event(type="reconnect", after=f"{RUN}:2"), then=Then.HOLD),
        stream(START, chunk("two", 4, 3), complete("One two", 4)),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(reconnect={"backoffMs": 9000, "maxBackoffMs": 9000})
        assert "reconnecting" not in seen
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R after R:2"]
        first, second = reader.server.requests
        assert second.at - first.at < 4


async def test_being_sent_away_again_and_again_is_not_followed_without_a_pause(
    page: Page,
) -> None:
    """A service that only ever says `reconnect` is asked less and less often, and given up."""

    def away(_: Asked) -> ScriptedResponse:
        return stream(START, event(type="reconnect", after=f"{RUN}:5"))

    async with reading(page, *[away] * 50) as reader:
        limits = {"backoffMs": 300, "maxBackoffMs": 300, "giveUpAfterMs": 1000}
        seen = await reader.read("resume", runId=RUN, after=f"{RUN}:5", reconnect=limits)
        assert seen[-1] == "ConnectionLost CONNECTION_LOST"
        assert 3 <= len(reader.server.requests) <= 10


async def test_204_ends_the_reading(page: Page) -> None:
    """Nothing is written, or nothing is left: there is no event, no error and no second request."""
    async with reading(page, NOTHING_LEFT, NOTHING_LEFT) as reader:
        assert await reader.read("join") == ["end"]
        assert await reader.read("resume", runId=RUN, after=f"{RUN}:9") == ["end", "end"]
        assert reader.server.summary() == ["GET", "GET /R after R:9"]


async def test_joining_follows_the_run_that_is_found(page: Page) -> None:
    """The first request names no run; once the run is known, the reader stays with it."""
    script = (
        stream(START, event(0), chunk("One ", 0, 1)),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.read("join")
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["GET", "GET /R after R:1"]


async def test_resuming_goes_on_behind_the_text_that_is_there(page: Page) -> None:
    """An app that kept the text and the place shows only what is new."""
    async with reading(page, stream(START, chunk("One two", 0, 2), complete("One two"))) as reader:
        seen = await reader.read("resume", runId=RUN, after=f"{RUN}:1", text="One ")
        assert seen == ["connected", '"One two"', 'complete "One two"', "end"]


async def test_text_that_is_missing_is_fetched_from_the_beginning(page: Page) -> None:
    """Who kept the place but not the text gets all of it; a service that leaves a gap is not believed."""
    script = (
        stream(START, chunk("two", 4, 2), then=Then.HOLD),
        stream(START, chunk("One ", 0, 1), chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.read("resume", runId=RUN, after=f"{RUN}:1")
        assert [word for word in seen if word.startswith('"')] == ['"One "', '"One two"']
        assert reader.server.summary() == ["GET /R after R:1", "GET /R"]
    async with reading(page, stream(event(0), chunk("two", 4))) as reader:
        assert (await reader.start())[-1] == "UnreadableStream UNREADABLE_STREAM"


async def test_a_message_is_sent_again_until_its_run_is_known(page: Page) -> None:
    """Before the service names the run nothing can be resumed; the same id makes both messages one."""
    script = (
        ScriptedResponse(200, "text/event-stream", [], Then.CUT),
        stream(START, then=Then.CUT),
        stream(START, event(0)[:-1]),  # a block that was cut off names nothing
        stream(START, event(0)),
        stream(START, chunk("Well", 0, 1), complete("Well")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start()
        assert seen[-2:] == ['complete "Well"', "end"]
        assert reader.server.summary() == ["POST", "POST", "POST", "POST", "GET /R after R:0"]
        assert len({str(asked.body) for asked in reader.server.requests[:4]}) == 1


async def test_another_run_begins_with_no_text(page: Page) -> None:
    """A message that is sent again may get a new run: nothing of the old text stays."""
    script = (
        stream(START, chunk("Old", 0)),
        stream(START, event(0, run="run_2"), chunk("New", 0, 1, run="run_2"), complete("New", run="run_2")),
    )
    async with reading(page, *script) as reader:
        texts = [word for word in await reader.start() if word.startswith('"')]
        assert texts == ['"Old"', '""', '"New"']


async def test_pauses_grow_with_every_failure_and_shrink_with_success(page: Page) -> None:
    """Each pause is at most twice the one before, and at least half of what it may be."""
    script = (
        stream(event(0)),
        *[stream(START)] * 4,
        stream(chunk("A", 0, 1)),
        stream(complete("A")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(reconnect={"backoffMs": 200, "maxBackoffMs": 800})
        assert seen[-2:] == ['complete "A"', "end"]
        pauses = [later.at - earlier.at for earlier, later in pairwise(reader.server.requests)]
        for pause, longest in zip(pauses, [0.2, 0.4, 0.8, 0.8, 0.8, 0.2], strict=True):
            assert longest / 2 - 0.005 <= pause <= longest + 0.3, pauses


async def test_the_reading_is_given_up_with_an_error_that_says_so(page: Page) -> None:
    """A server that is gone for the set time is gone; what came until then is kept."""
    async with reading(page, stream(event(0), chunk("One ", 0, 1))) as reader:
        task = asyncio.create_task(
            reader.start(reconnect={"giveUpAfterMs": 1000, "backoffMs": 300, "maxBackoffMs": 300})
        )
        await reader.server.asked(1)
        await page.route("**/conversation/**", lambda route: route.abort())
        assert (await task)[-1] == "ConnectionLost CONNECTION_LOST"
        error = await reader.error()
        assert error["retryable"] is True
        assert error["message"] == "There has been no connection for 1 seconds."
        assert await page.evaluate("() => window.reply.text") == "One "


async def test_a_gateway_that_is_busy_is_asked_again(page: Page) -> None:
    """What a proxy says in the function's place is a failed connection, with its status at the end."""
    bad_gateway = ScriptedResponse(502, "text/html", [b"<h1>Bad gateway</h1>"])
    async with reading(
        page, bad_gateway, document(429, Reason="Concurrency"), stream(complete("A"))
    ) as reader:
        assert (await reader.start())[-2:] == ['complete "A"', "end"]
        assert len({asked.body["clientMessageId"] for asked in reader.server.requests}) == 1
    async with reading(page, *[bad_gateway] * 50) as reader:
        seen = await reader.start(reconnect={"giveUpAfterMs": 300})
        assert seen[-1] == "ConnectionLost CONNECTION_LOST"
        assert (await reader.error())["status"] == 502


async def test_silence_is_noticed_and_keep_alives_are_no_silence(page: Page) -> None:
    """A connection that says nothing, not even a comment, is replaced; one that sends comments is kept."""
    script = (
        stream(event(0), chunk("One ", 0, 1), *[KEEP_ALIVE] * 6, pause_s=0.4, then=Then.HOLD),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(reconnect={"silenceMs": 1000})
        assert seen[-2:] == ['complete "One two"', "end"]
        first, second = reader.server.requests
        assert second.at - first.at > 8 * 0.4 + 0.6
        await reader.server.was_left()


async def test_an_answer_that_never_begins_is_silence_too(page: Page) -> None:
    """A server that accepts the request and says nothing is asked again."""
    script = (stream(then=Then.HOLD), stream(complete("A")))
    async with reading(page, *script) as reader:
        assert (await reader.start(reconnect={"silenceMs": 500}))[-2:] == ['complete "A"', "end"]


async def test_a_page_that_is_visible_again_replaces_a_silent_connection_only(
    page: Page,
) -> None:
    """Half the time of silence is enough when somebody looks; a connection that speaks is left alone."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=Then.HOLD),
        stream(START, complete("One two")),
    )
    async with reading(page, *script) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 8000}))
        await reader.sees('"One "')
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.page.wait_for_timeout(4500)
        assert len(reader.server.requests) == 1
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.server.asked(2)
        assert (await task)[-2:] == ['complete "One two"', "end"]


@pytest.mark.parametrize("then", [Then.HOLD, Then.CUT], ids=["while it seems open", "in a pause"])
async def test_a_network_that_comes_back_is_used_at_once(page: Page, then: Then) -> None:
    """However long the pause had become; and the old connection is not trusted, whatever it seems to be."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=then),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        task = asyncio.create_task(reader.start(reconnect={"backoffMs": 60_000, "maxBackoffMs": 60_000}))
        await reader.sees('"One "' if then is Then.HOLD else "reconnecting")
        await page.context.set_offline(True)
        await page.context.set_offline(False)
        assert (await task)[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R after R:1"]


async def test_aborting_ends_the_reading_and_not_the_run(page: Page) -> None:
    """The connection is closed, nothing is asked any more, and nobody is told to stop."""
    async with reading(page, stream(event(0), chunk("One ", 0, 1), then=Then.HOLD)) as reader:
        task = asyncio.create_task(reader.start())
        await reader.sees('"One "')
        await reader.page.evaluate("() => window.controller.abort()")
        assert (await task)[-1] == "AbortError 20"
        await reader.server.was_left()
        await reader.page.wait_for_timeout(1000)
        assert reader.server.summary() == ["POST"]


async def test_aborting_ends_a_pause(page: Page) -> None:
    """Somebody who leaves is not kept waiting for the next attempt."""
    async with reading(page, stream(event(0), then=Then.CUT)) as reader:
        task = asyncio.create_task(reader.start(reconnect={"backoffMs": 60_000, "maxBackoffMs": 60_000}))
        await reader.sees("reconnecting")
        await reader.page.evaluate("() => window.controller.abort()")
        assert (await task)[-1] == "AbortError 20"


async def test_leaving_the_loop_closes_the_connection(page: Page) -> None:
    """`break` is enough."""
    async with reading(page, stream(event(0), chunk("One ", 0, 1), then=Then.HOLD)) as reader:
        await reader.start(leaveAt='"One "')
        await reader.server.was_left()


async def test_a_token_that_is_refused_is_replaced_once(page: Page) -> None:
    """401 asks for a fresh token; a second 401 is what the service means."""
    expired = document(401, type="error", code="TOKEN_EXPIRED", message="Too old.", retryable=False)
    async with reading(page, expired, stream(complete("A")), expired, expired) as reader:
        assert (await reader.start())[-2:] == ['complete "A"', "end"]
        assert await reader.page.evaluate("() => window.tokens") == [False, True]
        assert [asked.headers["authorization"] for asked in reader.server.requests] == [
            "Bearer token-1",
            "Bearer token-2",
        ]
        assert (await reader.start())[-1] == "ServiceError TOKEN_EXPIRED"
        error = await reader.error()
        assert (error["message"], error["status"], error["retryable"]) == ("Too old.", 401, False)


async def test_a_token_that_is_refused_in_the_stream_is_replaced_once(page: Page) -> None:
    """A service that has just woken up says so after `start`; a second refusal is the end."""
    refused = stream(START, event(type="error", code="INVALID_TOKEN", message="No.", retryable=False))
    whole = stream(START, event(0), complete("Well"))
    async with reading(page, refused, whole) as reader:
        seen = await reader.start()
        assert seen == ["connected", "reconnecting", "connected", "run", 'complete "Well"', "end"]
        assert await reader.page.evaluate("() => window.tokens") == [False, True]
    async with reading(page, refused, refused) as reader:
        seen = await reader.start()
        assert seen[-1] == "ServiceError INVALID_TOKEN"
        assert await reader.page.evaluate("() => window.tokens") == [False, True]


async def test_an_error_of_the_run_is_its_end(page: Page) -> None:
    """What stands in the log is what happened: it is thrown with all that the service said."""
    partial = {"id": "msg_2", "role": "assistant", "content": "One "}
    failure: dict[str, Any] = {
        "type": "error",
        "code": "TURN_INTERRUPTED",
        "message": "Sorry.",
        "retryable": True,
    }
    script = stream(event(0), chunk("One t", 0, 1), event(2, **failure, partialMessage=partial))
    async with reading(page, script) as reader:
        assert (await reader.start())[-1] == "ServiceError TURN_INTERRUPTED"
        error = await reader.error()
        assert (error["retryable"], error["partialMessage"]) == (True, partial)
        assert len(reader.server.requests) == 1


async def test_an_error_of_the_request_is_not_the_end_of_the_run(page: Page) -> None:
    """A store that cannot be read for a moment is asked again, be the error a status or in the stream."""
    failure: dict[str, Any] = {
        "type": "error",
        "code": "STORAGE_UNAVAILABLE",
        "message": "Sorry.",
        "retryable": True,
    }
    script = (
        stream(event(0), chunk("One ", 0, 1), event(**failure)),
        document(503, **failure),
        ScriptedResponse(503, "text/event-stream", [event(**failure)]),
        stream(START, event(**failure)),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        assert (await reader.start())[-2:] == ['complete "One two"', "end"]


async def test_a_message_that_is_refused_is_not_sent_again(page: Page) -> None:
    """Whether to try again is for the person to say; a run that is in the way is named."""
    busy: dict[str, Any] = {
        "type": "error",
        "code": "TURN_IN_PROGRESS",
        "message": "Wait.",
        "retryable": True,
        "runId": "run_7",
    }
    throttled: dict[str, Any] = {
        "type": "error",
        "code": "MODEL_THROTTLED",
        "message": "Busy.",
        "retryable": True,
    }
    script = (stream(START, event(**busy)), ScriptedResponse(503, "text/event-stream", [event(**throttled)]))
    async with reading(page, *script) as reader:
        assert (await reader.start())[-1] == "ServiceError TURN_IN_PROGRESS"
        assert (await reader.error())["runId"] == "run_7"
        assert (await reader.start())[-1] == "ServiceError MODEL_THROTTLED"
        assert reader.server.summary() == ["POST", "POST"]


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (
            ScriptedResponse(200, "text/html", [b"<h1>Sign in to the Wi-Fi</h1>"]),
            "UnreadableStream UNREADABLE_STREAM",
        ),
        (stream(START, b"data: {nonsense\n\n"), "UnreadableStream UNREADABLE_STREAM"),
        (stream(START, b"data: 7\n\n"), "UnreadableStream UNREADABLE_STREAM"),
        (stream(START, event(type="chunk", offset=0)), "UnreadableStream UNREADABLE_STREAM"),
        (ScriptedResponse(403, "text/html", [b"<h1>Forbidden</h1>"]), "ServiceError HTTP_403"),
        (document(404, code="RUN_NOT_FOUND", message="Gone.", retryable=False), "ServiceError RUN_NOT_FOUND"),
    ],
    ids=["a page", "no JSON", "no object", "no text", "a refusal of a proxy", "a refusal"],
)
async def test_what_cannot_get_better_ends_at_once(page: Page, answer: ScriptedResponse, seen: str) -> None:
    """An answer that makes no sense, or a refusal for good, is not repeated."""
    async with reading(page, answer) as reader:
        assert (await reader.start())[-1] == seen
        assert len(reader.server.requests) == 1


async def test_events_of_the_future_and_chunks_of_the_past_are_read(page: Page) -> None:
    """An event type that is not known is skipped; a chunk without an offset is the next one."""
    script = stream(
        START, event(type="contextual", content="?"), event(type="chunk", content="A"), complete("A", None)
    )
    async with reading(page, script) as reader:
        assert await reader.start() == ["connected", '"A"', 'complete "A"', "end"]


async def test_a_reply_is_stopped_by_its_run(page: Page) -> None:
    """Stopping waits until the run is known, and the reading goes on to the end that the service gives."""
    script = (
        stream(START, event(0), chunk("One ", 0, 1), complete("One ", stopReason="stopped"), pause_s=0.3),
        document(202, runId=RUN, status="stopping"),
        document(200, runId=RUN, status="finished"),
    )
    async with reading(page, *script) as reader:
        task = asyncio.create_task(reader.start())
        await reader.page.wait_for_function("() => window.reply")
        assert await reader.page.evaluate("() => window.reply.stop()") == "stopping"
        assert (await task)[-2:] == ['complete "One "', "end"]
        assert await reader.page.evaluate("() => window.reply.stop()") == "finished"
        assert reader.server.summary() == ["POST", "DELETE /R", "DELETE /R"]
        assert reader.server.requests[1].headers["authorization"].startswith("Bearer ")


async def test_a_stop_that_fails_says_so(page: Page) -> None:
    """Without an answer, without a right, or without a run there is an error of its own kind."""
    script = (
        document(403, code="USER_ID_MISMATCH", message="No.", retryable=False),
        ScriptedResponse(502, "text/html", [b""]),
    )
    stop = """async () => {
      const { stop } = await import("/coachstream.js");
      const what = { conversationUrl: "/conversation", token: () => "T", runId: "run_1" };
      return stop(what).catch(({ name, code }) => `${name} ${code}`);
    }"""
    async with reading(page, *script, NOTHING_LEFT) as reader:
        assert await reader.page.evaluate(stop) == "ServiceError USER_ID_MISMATCH"
        assert await reader.page.evaluate(stop) == "ConnectionLost CONNECTION_LOST"
        await reader.read("join")
        stopped = "() => window.reply.stop().catch(({ name, code }) => `${name} ${code}`)"
        assert await reader.page.evaluate(stopped) == "CoachStreamError RUN_UNKNOWN"


async def test_a_token_that_cannot_be_had_now_is_waited_for(page: Page) -> None:
    """An error of the token's source ends the reading, unless it says that it may pass."""
    token = """(isRetryable) => async () => {
      const { start } = await import("/coachstream.js");
      let asked = 0;
      const token = () => {
        asked += 1;
        if (asked === 1) throw Object.assign(new Error("no network"), { retryable: %s });
        return "T";
      };
      const reply = start({ conversationUrl: "/conversation", message: "?", token });
      try {
        for await (const event of reply);
        return "end";
      } catch (error) {
        return error.message;
      }
    }"""
    async with reading(page, stream(complete("A"))) as reader:
        assert await reader.page.evaluate(f"({token % 'false'})()()") == "no network"
        assert await reader.page.evaluate(f"({token % 'true'})()()") == "end"


async def test_the_browsers_own_event_source_reads_a_reply(page: Page) -> None:
    """The message is sent for an address; the browser comes back after a cut, and not after the end."""
    script = (
        OPENED,
        stream(b"retry: 100\n\n", START, event(0), chunk("One ", 0, 1), then=Then.CUT),
        stream(START, chunk("One t", 0), chunk("wo", 5, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(transport="eventsource")
        assert seen == [
            "run",
            "connected",
            '"One "',
            "reconnecting",
            "connected",
            '"One t"',
            '"One two"',
            'complete "One two"',
            "end",
        ]
        posted, opened, again = reader.server.requests
        assert posted.headers["accept"] == "application/json"
        assert opened.query == again.query == {"ticket": "T"}
        assert "authorization" not in opened.headers
        assert "last-event-id" not in opened.headers
        assert again.headers["last-event-id"] == f"{RUN}:1"
        await reader.page.wait_for_timeout(WATCHED_MS)
        assert len(reader.server.requests) == 3


async def test_an_event_source_that_is_sent_away_goes_on_behind_its_place(page: Page) -> None:
    """A `reconnect` event opens a new one, whose address says where it begins."""
    script = (
        OPENED,
        stream(event(0), chunk("One ", 0, 1), event(type="reconnect", after=f"{RUN}:2"), then=Then.HOLD),
        stream(START, chunk("two", 4, 3), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(transport="eventsource")
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.requests[2].query == {"ticket": "T", "after": f"{RUN}:2"}


async def test_what_an_event_source_cannot_tell_is_fetched(page: Page) -> None:
    """A ticket that has expired closes it for good without a word; the reader goes on with its token."""
    expired = ScriptedResponse(
        401, "text/event-stream", [event(type="error", code="TICKET_EXPIRED", message="?")]
    )
    script = (
        OPENED,
        stream(b"retry: 10\n\n", event(0), chunk("One ", 0, 1), then=Then.CUT),
        expired,
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(transport="eventsource")
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R", "GET /R", "GET /R after R:1"]
        assert reader.server.requests[3].headers["authorization"] == "Bearer token-2"


async def test_an_event_source_whose_server_is_gone_is_given_up(page: Page) -> None:
    """The browser would try for ever; the reader does not."""
    opened = stream(b"retry: 50\n\n", event(0), chunk("One ", 0, 1), then=Then.CUT)
    async with reading(page, OPENED, opened) as reader:
        task = asyncio.create_task(reader.start(transport="eventsource", reconnect={"giveUpAfterMs": 800}))
        await reader.server.asked(2)
        await reader.page.route("**/conversation/**", lambda route: route.abort())
        assert (await task)[-1] == "ConnectionLost CONNECTION_LOST"


async def test_a_fetched_reply_asks_nothing_after_its_end(page: Page) -> None:
    """Neither time, nor a page that is visible again, nor a network that is back begins anything."""
    async with reading(page, stream(complete("A"))) as reader:
        await reader.start()
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.page.evaluate("() => dispatchEvent(new Event('online'))")
        await reader.page.wait_for_timeout(WATCHED_MS)
        assert len(reader.server.requests) == 1


#: A browser that reconnects by itself waits for three seconds, unless it is told otherwise.
SOON = b"retry: 1\n\n"
ALPHABET = st.text(st.sampled_from("ab é€🏃\n\r\u2028"), min_size=1, max_size=5)


@settings(max_examples=15)
@given(
    pieces=st.lists(ALPHABET, min_size=1, max_size=8),
    cuts=st.lists(st.floats(min_value=0, max_value=0.999), max_size=6),
    eventsource=st.booleans(),
)
async def test_any_text_is_shown_once_through_any_cuts(
    page: Page, pieces: list[str], cuts: list[float], *, eventsource: bool
) -> None:
    """Wherever connections are cut, the text only grows, and ends as what was written, to the letter."""
    whole = "".join(pieces)

    def log_after(asked: Asked) -> bytes:
        """What is behind the reader's place, all of it committed."""
        place = asked.headers.get("last-event-id") or asked.query.get("after") or f"{RUN}:-1"
        known = int(place.rpartition(":")[2])
        sent, offset = [START], 0
        for number, piece in enumerate(("", *pieces)):
            if number > known:
                sent.append(chunk(piece, offset, number) if piece else event(number))
            offset += len(piece.encode("utf-16-le")) // 2
        return b"".join([*sent, complete(whole, len(pieces) + 1)])

    def answer(asked: Asked) -> ScriptedResponse:
        if asked.method == "POST" and eventsource:
            return OPENED
        log = log_after(asked)
        return stream(SOON, log[: int(cuts.pop(0) * len(log))], then=Then.CUT) if cuts else stream(SOON, log)

    async with reading(page, *[answer] * 20) as reader:
        options = {"transport": "eventsource"} if eventsource else {}
        seen = await reader.start(**options, reconnect={"backoffMs": 1, "maxBackoffMs": 1})
        texts = [word[1:-1] for word in seen if word.startswith('"')]
        assert seen[-2:] == [f'complete "{whole}"', "end"]
        assert all(later.startswith(earlier) for earlier, later in pairwise([*texts, whole]))
        assert len(set(texts)) == len(texts)
        assert texts[-1] == whole
