"""`coachstream.js` in real browsers, with a real HTTP server that cuts connections at critical points."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.engine_page import EnginePage
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

#: How long to watch for unwanted requests; a browser's own `EventSource` would reconnect after a second.
WATCHED_S = 3.5

#: Reads a reply to its end and returns everything it saw, each event in a word or two.
HARNESS = """() => {
window.seen = [];
window.tokens = [];
window.controller = new AbortController();
// What a test waits for before it lets time pass.
window.readings = 0;
const { read } = ReadableStreamDefaultReader.prototype;
ReadableStreamDefaultReader.prototype.read = async function () {
  const result = await read.call(this);
  window.readings += 1;
  return result;
};
window.failedAt = [];
window.fetchedAt = [];
const { fetch } = window;
window.fetch = (...request) => {
  window.fetchedAt.push(performance.now());
  return fetch(...request);
};
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
      silenceMs: 300_000,
      backoffMs: 10,
      maxBackoffMs: 100,
      giveUpAfterMs: 300_000,
      ...options.reconnect,
    },
  });
  try {
    for await (const event of window.reply) {
      if (event.type === "text") window.seen.push(`"${event.text}"`);
      if (event.type === "connection") window.seen.push(event.state);
      if (event.state === "reconnecting") window.failedAt.push(performance.now());
      if (event.type === "run") window.seen.push("run");
      if (event.type === "queued") window.seen.push(`queued ${event.position}`);
      if (event.type === "contextual") window.seen.push(`${event.stage}: ${event.content}`);
      if (event.type === "guardrail_warning") window.seen.push(`warning: ${event.message}`);
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
}"""

#: Stops the page's clock, so that no machine is too slow for a test. Each timer that becomes due when the
#: test lets time pass runs in a task of its own, as it does in a browser.
STOP_THE_CLOCK = """() => {
  let now = performance.now();
  let aheadOfTimers = 0;
  let wall = Date.now() - now;
  let lastTimer = 0;
  const timers = new Map();
  performance.now = () => now + aheadOfTimers;
  Date.now = () => now + wall;
  // Timers stand still in sleep; whether `performance.now()` does depends on the browser.
  window.sleep = ({ ms, monotonicMovesOn }) => {
    wall += ms;
    if (monotonicMovesOn) aheadOfTimers += ms;
  };
  window.setTimeout = (callback, ms, ...values) => {
    timers.set(++lastTimer, { at: now + ms, run: () => callback(...values) });
    return lastTimer;
  };
  window.clearTimeout = (timer) => timers.delete(timer);
  const anotherTask = () => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  window.passTime = async (ms) => {
    const end = now + ms;
    for (;;) {
      const [next] = [...timers].sort(([, one], [, other]) => one.at - other.at);
      if (next === undefined || next[1].at > end) break;
      timers.delete(next[0]);
      now = next[1].at;
      next[1].run();
      await anotherTask();
    }
    now = end;
  };
}"""


class Reader:
    """The module, loaded in an empty page."""

    def __init__(self, page: EnginePage, server: ScriptedStream) -> None:
        self.page = page
        self.server = server

    async def read(self, call: str, **options: object) -> list[str]:
        """Read a reply to its end and return everything that was seen."""
        seen: list[str] = await self.page.evaluate("(what) => window.read(what)", {"call": call, **options})
        return seen

    async def start(self, **options: object) -> list[str]:
        """Send a message and read the reply."""
        return await self.read("start", message="How was my week?", **options)

    async def sees(self, what: str) -> None:
        """Wait for an event."""
        await self.page.until("(what) => window.seen.includes(what)", what)

    async def sees_again(self, what: str, times: int) -> None:
        """Wait until an event has been seen this many times."""
        await self.page.until(
            "([what, times]) => window.seen.filter((seen) => seen === what).length >= times", [what, times]
        )

    async def has_read(self, parts: int) -> None:
        """Wait until this many parts of a response have been read."""
        await self.page.until("(parts) => window.readings >= parts", parts)

    async def passes(self, ms: int) -> None:
        """Let this much time pass at once, on a page whose clock stands still."""
        await self.page.evaluate("(ms) => window.passTime(ms)", ms)

    async def sleeps(self, ms: int, *, monotonic_moves_on: bool) -> None:
        """Let the device sleep, on such a page; a negative time sets the wall clock back."""
        sleep = {"ms": ms, "monotonicMovesOn": monotonic_moves_on}
        await self.page.evaluate("(sleep) => window.sleep(sleep)", sleep)

    async def error(self) -> dict[str, Any]:
        """The error that ended the read."""
        fields: dict[str, Any] = await self.page.evaluate(
            """() => {
              const { name, code, message, retryable, status, runId } = window.error;
              const { partialMessage, userMessage, quota, retryAfter } = window.error;
              const parts = { partialMessage, userMessage, quota, retryAfter };
              return { name, code, message, retryable, status, runId, ...parts };
            }"""
        )
        return fields


@asynccontextmanager
async def reading(
    page: EnginePage, *script: ScriptedResponse | Callable[[Asked], ScriptedResponse], timeless: bool = False
) -> AsyncIterator[Reader]:
    """A reader with the module loaded, and a server that follows this script.

    A `timeless` page's clock stands still until the test lets time pass. Every server has its own origin, so
    no state leaks between tests that share a page.
    """
    async with scripted(*script) as server:
        await page.open(server.url)
        await page.evaluate(HARNESS)
        if timeless:
            await page.evaluate(STOP_THE_CLOCK)
        yield Reader(page, server)
        await page.open("about:blank")  # ends pending reads and waits


async def test_a_reply_is_read_from_its_message_to_its_end(page: EnginePage) -> None:
    """One request yields the run, the growing text and the stored reply."""
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
        zone = await page.evaluate("() => Intl.DateTimeFormat().resolvedOptions().timeZone")
        assert zone
        assert asked.body["userTimezone"] == zone


async def test_a_guardrail_warning_is_an_event_of_its_own(page: EnginePage) -> None:
    """The text is kept; one without a sentence is skipped."""
    whole = stream(
        START,
        event(0),
        chunk("Well done", 0),
        event(type="guardrail_warning"),
        event(type="guardrail_warning", message="Take care."),
        complete("Well done"),
    )
    async with reading(page, whole) as reader:
        seen = await reader.start()
        assert seen[1:] == ["run", '"Well done"', "warning: Take care.", 'complete "Well done"', "end"]


async def test_a_queued_message_is_announced_until_its_run_begins(page: EnginePage) -> None:
    """Its run is known at once, for a withdrawal, and again when its turn has come."""
    whole = stream(
        START,
        event(0, type="queued", runId=RUN, position=2),
        event(0, type="queued", runId=RUN, position=1),
        event(0, type="run", runId=RUN),
        chunk("Well done", 0),
        complete("Well done"),
    )
    async with reading(page, whole) as reader:
        seen = await reader.start()
        assert seen[1:] == [
            "run",
            "queued 2",
            "queued 1",
            "run",
            '"Well done"',
            'complete "Well done"',
            "end",
        ]


async def test_a_contextual_event_is_not_part_of_the_reply(page: EnginePage) -> None:
    """It has no place in the text and moves no cursor; one without a sentence is skipped."""
    whole = stream(
        START,
        event(0),
        chunk("Well ", 0),
        event(type="contextual", content="Saved", stage="memory_saved"),
        event(type="contextual", stage="odd"),
        chunk("done", 5),
        complete("Well done"),
    )
    async with reading(page, whole) as reader:
        seen = await reader.start()
        assert seen[1:] == [
            "run",
            '"Well "',
            "memory_saved: Saved",
            '"Well done"',
            'complete "Well done"',
            "end",
        ]


async def test_a_message_gets_an_idempotency_key_if_the_caller_gives_none(page: EnginePage) -> None:
    """Every message may be retried, so every message needs a `clientMessageId` that the service accepts."""
    async with reading(page, stream(complete("A")), stream(complete("B"))) as reader:
        await reader.start()
        await reader.start()
        one, other = [asked.body["clientMessageId"] for asked in reader.server.requests]
        assert one != other
        assert len(one) == len(other) == 32
        assert one.isalnum()


async def test_replayed_text_is_shown_once(page: EnginePage) -> None:
    """The log is replayed from the last committed point; overlap is dropped, in whole or partial chunks."""
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


async def test_offsets_count_as_javascript_does(page: EnginePage) -> None:
    """A character outside the basic plane is two UTF-16 units; none is lost or doubled at a cut."""
    script = (
        stream(event(0), chunk("🏃🏃", 0, 1)),
        stream(chunk("🏃", 2), chunk("🏃!", 2), complete("🏃🏃!", 3)),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start()
        assert [word for word in seen if word.startswith('"')] == ['"🏃🏃"', '"🏃🏃!"']


async def test_a_reset_discards_the_text_after_its_offset(page: EnginePage) -> None:
    """Retracted text disappears, and the new text takes its place."""
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


async def test_a_reconnect_event_is_followed_at_once(page: EnginePage) -> None:
    """The reader opens the next connection before any time passes and does not count it as a failure."""
    script = (
        stream(event(0), chunk("One ", 0, 1), event(type="reconnect", after=f"{RUN}:2"), then=Then.HOLD),
        stream(START, chunk("two", 4, 3), complete("One two", 4)),
    )
    async with reading(page, *script, timeless=True) as reader:
        seen = await reader.start()
        assert "reconnecting" not in seen
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R after R:2"]


async def test_repeated_reconnect_events_are_followed_with_backoff(page: EnginePage) -> None:
    """A service that only ever sends `reconnect` is retried with backoff, then given up on."""

    def away(_: Asked) -> ScriptedResponse:
        return stream(START, event(type="reconnect", after=f"{RUN}:5"))

    async with reading(page, *[away] * 50, timeless=True) as reader:
        limits = {"backoffMs": 300, "maxBackoffMs": 300, "giveUpAfterMs": 1000}
        task = asyncio.create_task(reader.read("resume", runId=RUN, after=f"{RUN}:5", reconnect=limits))
        for times in range(1, 5):
            await reader.sees_again("reconnecting", times)
            await reader.passes(300)
        assert (await task)[-1] == "ConnectionLost CONNECTION_LOST"
        assert len(reader.server.requests) == 5


async def test_204_ends_the_reading(page: EnginePage) -> None:
    """No reply is being written, or nothing is left of it: there is no event, no error and no retry."""
    async with reading(page, NOTHING_LEFT, NOTHING_LEFT) as reader:
        assert await reader.read("join") == ["end"]
        assert await reader.read("resume", runId=RUN, after=f"{RUN}:9") == ["end", "end"]
        assert reader.server.summary() == ["GET", "GET /R after R:9"]


async def test_joining_follows_the_run_that_is_found(page: EnginePage) -> None:
    """The first request names no run; once the run is known, the reader keeps following it."""
    script = (
        stream(START, event(0), chunk("One ", 0, 1)),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.read("join")
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["GET", "GET /R after R:1"]


async def test_resuming_continues_after_the_text_already_received(page: EnginePage) -> None:
    """An app that kept the text and the position shows only new text."""
    async with reading(page, stream(START, chunk("One two", 0, 2), complete("One two"))) as reader:
        seen = await reader.read("resume", runId=RUN, after=f"{RUN}:1", text="One ")
        assert seen == ["connected", '"One two"', 'complete "One two"', "end"]


async def test_text_that_is_missing_is_fetched_from_the_beginning(page: EnginePage) -> None:
    """A reader with the position but not the text gets all of it; a gap in the stream is an error."""
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


async def test_a_message_is_sent_again_until_its_run_is_known(page: EnginePage) -> None:
    """Nothing can be resumed before the run is known; the idempotency key deduplicates the retries."""
    script = (
        ScriptedResponse(200, "text/event-stream", [], Then.CUT),
        stream(START, then=Then.CUT),
        stream(START, event(0)[:-1]),  # a truncated block does not count
        stream(START, event(0)),
        stream(START, chunk("Well", 0, 1), complete("Well")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start()
        assert seen[-2:] == ['complete "Well"', "end"]
        assert reader.server.summary() == ["POST", "POST", "POST", "POST", "GET /R after R:0"]
        assert len({str(asked.body) for asked in reader.server.requests[:4]}) == 1


async def test_another_run_begins_with_no_text(page: EnginePage) -> None:
    """A retried message may get a new run, so none of the old text may remain."""
    script = (
        stream(START, chunk("Old", 0)),
        stream(START, event(0, run="run_2"), chunk("New", 0, 1, run="run_2"), complete("New", run="run_2")),
    )
    async with reading(page, *script) as reader:
        texts = [word for word in await reader.start() if word.startswith('"')]
        assert texts == ['"Old"', '""', '"New"']


async def test_pauses_grow_with_every_failure_and_shrink_with_success(page: EnginePage) -> None:
    """The backoff doubles up to its limit, and jitter at most halves each pause."""
    script = (
        stream(event(0)),
        *[stream(START)] * 4,
        stream(chunk("A", 0, 1)),
        stream(complete("A")),
    )
    longest = [200, 400, 800, 800, 800, 200]
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"backoffMs": 200, "maxBackoffMs": 800}))
        for times, ms in enumerate(longest, 1):
            await reader.sees_again("reconnecting", times)
            await reader.passes(ms)
        assert (await task)[-2:] == ['complete "A"', "end"]
        failed_at = await page.evaluate("() => window.failedAt")
        _, *fetched_at = await page.evaluate("() => window.fetchedAt")
        pauses = [fetched - failed for failed, fetched in zip(failed_at, fetched_at, strict=True)]
        assert all(ms / 2 <= pause <= ms for pause, ms in zip(pauses, longest, strict=True)), pauses


async def test_the_reader_gives_up_with_a_typed_error(page: EnginePage) -> None:
    """It gives up on a server that is unreachable for the configured time, and keeps the text so far."""
    script = stream(event(0), chunk("One ", 0, 1), then=Then.GONE)
    async with reading(page, script, timeless=True) as reader:
        task = asyncio.create_task(
            reader.start(reconnect={"giveUpAfterMs": 1000, "backoffMs": 300, "maxBackoffMs": 300})
        )
        await reader.sees("reconnecting")
        while not task.done():
            await reader.passes(300)
        assert (await task)[-1] == "ConnectionLost CONNECTION_LOST"
        error = await reader.error()
        assert error["retryable"] is True
        assert error["message"] == "There has been no connection for 1 seconds."
        assert await page.evaluate("() => window.reply.text") == "One "


async def test_a_gateway_error_is_retried(page: EnginePage) -> None:
    """A proxy's own response counts as a failed connection; the final error has its status."""
    bad_gateway = ScriptedResponse(502, "text/html", [b"<h1>Bad gateway</h1>"])
    async with reading(
        page, bad_gateway, document(429, Reason="Concurrency"), stream(complete("A"))
    ) as reader:
        assert (await reader.start())[-2:] == ['complete "A"', "end"]
        assert len({asked.body["clientMessageId"] for asked in reader.server.requests}) == 1
    async with reading(page, bad_gateway, bad_gateway, timeless=True) as reader:
        limits = {"giveUpAfterMs": 300, "backoffMs": 300, "maxBackoffMs": 300}
        task = asyncio.create_task(reader.start(reconnect=limits))
        await reader.sees("reconnecting")
        await reader.passes(300)
        assert (await task)[-1] == "ConnectionLost CONNECTION_LOST"
        assert (await reader.error())["status"] == 502


async def test_a_silent_connection_is_replaced_unless_keep_alives_arrive(page: EnginePage) -> None:
    """A connection without even a comment is replaced; one that sends keep-alive comments is kept."""
    sent = asyncio.Semaphore(0)
    parts = [event(0), chunk("One ", 0, 1), *[KEEP_ALIVE] * 6]
    script = (
        ScriptedResponse(200, "text/event-stream", parts, Then.HOLD, released=sent),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 1000}))
        for number in range(1, len(parts) + 1):
            sent.release()
            await reader.has_read(number)
            await reader.passes(900)
        assert len(reader.server.requests) == 1
        await reader.passes(100)
        await reader.server.was_left()
        await reader.sees("reconnecting")
        await reader.passes(100)
        assert (await task)[-2:] == ['complete "One two"', "end"]


async def test_a_response_that_never_begins_counts_as_silence(page: EnginePage) -> None:
    """A request to a server that accepts it but sends nothing is retried."""
    script = (stream(then=Then.HOLD), stream(complete("A")))
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 500}))
        await reader.server.asked(1)
        await reader.passes(500)
        await reader.sees("reconnecting")
        await reader.passes(100)
        assert (await task)[-2:] == ['complete "A"', "end"]


async def test_a_page_that_becomes_visible_replaces_only_a_silent_connection(page: EnginePage) -> None:
    """Half the silence timeout is enough once the user looks; an active connection is left alone."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=Then.HOLD),
        stream(START, complete("One two")),
    )
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 8000}))
        await reader.sees('"One "')
        await reader.passes(4000)
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.passes(1)
        assert len(reader.server.requests) == 1
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.server.was_left()
        assert (await task)[-2:] == ['complete "One two"', "end"]


MONOTONIC = pytest.mark.parametrize(
    "moves_on", [False, True], ids=["monotonic clock stands still", "monotonic clock moves on"]
)


@MONOTONIC
async def test_a_connection_is_replaced_after_a_sleep(page: EnginePage, *, moves_on: bool) -> None:
    """Nothing else says that it is dead: no event of the page, and no timer, which stand still in sleep."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=Then.HOLD),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 45_000}))
        await reader.sees('"One "')
        await reader.sleeps(60_000, monotonic_moves_on=moves_on)
        await reader.passes(5_000)
        await reader.server.was_left()
        assert (await task)[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R after R:1"]


async def test_a_clock_that_is_set_back_hides_no_silence(page: EnginePage) -> None:
    """The timeout is as long as ever: it is neither prolonged by the time that is repeated, nor cut short."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=Then.HOLD),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={"silenceMs": 45_000}))
        await reader.sees('"One "')
        await reader.sleeps(-3_600_000, monotonic_moves_on=False)
        await reader.passes(44_000)
        assert len(reader.server.requests) == 1
        await reader.passes(1_000)
        await reader.sees("reconnecting")
        await reader.passes(100)
        assert (await task)[-2:] == ['complete "One two"', "end"]


async def test_the_time_asleep_is_no_time_without_a_connection(page: EnginePage) -> None:
    """A reader who sleeps in a pause does not give up at the first failure after it."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=Then.CUT),
        stream(then=Then.CUT),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    pauses = {"giveUpAfterMs": 60_000, "backoffMs": 10_000}
    async with reading(page, *script, timeless=True) as reader:
        task = asyncio.create_task(reader.start(reconnect={**pauses, "maxBackoffMs": 10_000}))
        await reader.sees("reconnecting")
        await reader.sleeps(3_600_000, monotonic_moves_on=True)
        await reader.passes(10_000)
        await reader.sees_again("reconnecting", 2)
        await reader.passes(10_000)
        assert (await task)[-2:] == ['complete "One two"', "end"]


@pytest.mark.parametrize("then", [Then.HOLD, Then.CUT], ids=["while it seems open", "in a pause"])
async def test_the_reader_reconnects_as_soon_as_the_network_is_back(page: EnginePage, then: Then) -> None:
    """It cuts any backoff short, and never trusts the old connection, even if that still looks open."""
    script = (
        stream(event(0), chunk("One ", 0, 1), then=then),
        stream(START, chunk("two", 4, 2), complete("One two")),
    )
    async with reading(page, *script) as reader:
        task = asyncio.create_task(reader.start(reconnect={"backoffMs": 60_000, "maxBackoffMs": 60_000}))
        await reader.sees('"One "' if then is Then.HOLD else "reconnecting")
        await page.network_returns()
        assert (await task)[-2:] == ['complete "One two"', "end"]
        assert reader.server.summary() == ["POST", "GET /R after R:1"]


async def test_aborting_ends_the_reading_and_not_the_run(page: EnginePage) -> None:
    """The connection is closed, there are no more requests, and the run is not stopped."""
    async with reading(page, stream(event(0), chunk("One ", 0, 1), then=Then.HOLD)) as reader:
        task = asyncio.create_task(reader.start())
        await reader.sees('"One "')
        await reader.page.evaluate("() => window.controller.abort()")
        assert (await task)[-1] == "AbortError 20"
        await reader.server.was_left()
        await asyncio.sleep(1)
        assert reader.server.summary() == ["POST"]


async def test_aborting_ends_a_pause(page: EnginePage) -> None:
    """The caller does not have to wait for the next attempt."""
    async with reading(page, stream(event(0), then=Then.CUT)) as reader:
        task = asyncio.create_task(reader.start(reconnect={"backoffMs": 60_000, "maxBackoffMs": 60_000}))
        await reader.sees("reconnecting")
        await reader.page.evaluate("() => window.controller.abort()")
        assert (await task)[-1] == "AbortError 20"


async def test_leaving_the_loop_closes_the_connection(page: EnginePage) -> None:
    """A `break` is enough."""
    async with reading(page, stream(event(0), chunk("One ", 0, 1), then=Then.HOLD)) as reader:
        await reader.start(leaveAt='"One "')
        await reader.server.was_left()


async def test_a_token_that_is_refused_is_replaced_once(page: EnginePage) -> None:
    """A 401 causes one retry with a fresh token; a second 401 is final."""
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


async def test_a_token_that_is_refused_in_the_stream_is_replaced_once(page: EnginePage) -> None:
    """After a cold start the service can reject the token only after `start`; a second refusal is final."""
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


async def test_an_error_in_the_log_ends_the_run(page: EnginePage) -> None:
    """An error recorded in the log is final: it is thrown with every field that the service sent."""
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


async def test_an_error_of_a_request_does_not_end_the_run(page: EnginePage) -> None:
    """A temporarily unreadable store is retried, whether the error is a status or an event in the stream."""
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


async def test_a_refused_message_is_not_retried(page: EnginePage) -> None:
    """The user decides whether to retry; the error has the run that blocks it, or the quota."""
    busy: dict[str, Any] = {
        "type": "error",
        "code": "TURN_IN_PROGRESS",
        "message": "Wait.",
        "retryable": True,
        "runId": "run_7",
        "userMessage": {"id": "msg_2_user", "role": "user", "content": "Hi", "timestamp": "2026-03-01"},
    }
    throttled: dict[str, Any] = {
        "type": "error",
        "code": "MODEL_THROTTLED",
        "message": "Busy.",
        "retryable": True,
    }
    quota: dict[str, Any] = {"quota": "turns-per-minute", "limit": 10, "remaining": 0, "resetsIn": 45}
    used_up: dict[str, Any] = {
        "type": "error",
        "code": "QUOTA_EXCEEDED",
        "message": "Enough.",
        "retryable": True,
        "quota": quota,
        "retryAfter": 45,
    }
    script = (
        stream(START, event(**busy)),
        ScriptedResponse(503, "text/event-stream", [event(**throttled)]),
        stream(START, event(**used_up)),
    )
    async with reading(page, *script) as reader:
        assert (await reader.start())[-1] == "ServiceError TURN_IN_PROGRESS"
        assert (await reader.error())["runId"] == "run_7"
        assert (await reader.error())["userMessage"]["id"] == "msg_2_user"
        assert (await reader.start())[-1] == "ServiceError MODEL_THROTTLED"
        assert (await reader.error())["quota"] is None
        assert (await reader.start())[-1] == "ServiceError QUOTA_EXCEEDED"
        error = await reader.error()
        assert (error["quota"], error["retryAfter"]) == (quota, 45)
        assert reader.server.summary() == ["POST", "POST", "POST"]


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
async def test_a_permanent_error_is_not_retried(
    page: EnginePage, answer: ScriptedResponse, seen: str
) -> None:
    """A malformed response or a permanent refusal ends the read at once."""
    async with reading(page, answer) as reader:
        assert (await reader.start())[-1] == seen
        assert len(reader.server.requests) == 1


async def test_unknown_events_and_chunks_without_an_offset_are_read(page: EnginePage) -> None:
    """An unknown event type is skipped; a chunk without an offset is appended."""
    script = stream(
        START, event(type="tool", content="?"), event(type="chunk", content="A"), complete("A", None)
    )
    async with reading(page, script) as reader:
        assert await reader.start() == ["connected", '"A"', 'complete "A"', "end"]


async def test_a_reply_is_stopped_by_its_run(page: EnginePage) -> None:
    """Stopping waits until the run is known; the read continues until the service ends the stream."""
    script = (
        stream(START, event(0), chunk("One ", 0, 1), complete("One ", stopReason="stopped"), pause_s=0.3),
        document(202, runId=RUN, status="stopping"),
        document(200, runId=RUN, status="finished"),
    )
    async with reading(page, *script) as reader:
        task = asyncio.create_task(reader.start())
        await reader.page.until("() => window.reply")
        assert await reader.page.evaluate("() => window.reply.stop()") == "stopping"
        assert (await task)[-2:] == ['complete "One "', "end"]
        assert await reader.page.evaluate("() => window.reply.stop()") == "finished"
        assert reader.server.summary() == ["POST", "DELETE /R", "DELETE /R"]
        assert reader.server.requests[1].headers["authorization"].startswith("Bearer ")


async def test_a_failed_stop_is_a_typed_error(page: EnginePage) -> None:
    """A lost response, a missing permission and a missing run each have their own error."""
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


async def test_a_retryable_error_of_the_token_source_is_retried(page: EnginePage) -> None:
    """Any other error of the token source ends the read."""
    token = """async () => {
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
        assert await reader.page.evaluate(token % "false") == "no network"
        assert await reader.page.evaluate(token % "true") == "end"


async def test_the_browsers_own_event_source_reads_a_reply(page: EnginePage) -> None:
    """The POST returns an address; the browser reconnects after a cut, but not after the end."""
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
        await asyncio.sleep(WATCHED_S)
        assert len(reader.server.requests) == 3


async def test_an_event_source_continues_at_its_position_after_a_reconnect_event(page: EnginePage) -> None:
    """A `reconnect` event opens a new `EventSource` whose address contains the position."""
    script = (
        OPENED,
        stream(event(0), chunk("One ", 0, 1), event(type="reconnect", after=f"{RUN}:2"), then=Then.HOLD),
        stream(START, chunk("two", 4, 3), complete("One two")),
    )
    async with reading(page, *script) as reader:
        seen = await reader.start(transport="eventsource")
        assert seen[-2:] == ['complete "One two"', "end"]
        assert reader.server.requests[2].query == {"ticket": "T", "after": f"{RUN}:2"}


async def test_an_event_source_that_is_refused_falls_back_to_fetch(page: EnginePage) -> None:
    """An expired ticket closes the `EventSource` without any detail, so the reader goes on with its token."""
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


async def test_an_event_source_whose_server_is_gone_is_given_up(page: EnginePage) -> None:
    """The browser would retry forever; the reader does not."""
    opened = stream(b"retry: 50\n\n", event(0), chunk("One ", 0, 1), then=Then.GONE)
    async with reading(page, OPENED, opened) as reader:
        seen = await reader.start(transport="eventsource", reconnect={"giveUpAfterMs": 800})
        assert seen[-1] == "ConnectionLost CONNECTION_LOST"


async def test_a_fetched_reply_asks_nothing_after_its_end(page: EnginePage) -> None:
    """Neither time, nor the page becoming visible, nor the network coming back causes a request."""
    async with reading(page, stream(complete("A"))) as reader:
        await reader.start()
        await reader.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await reader.page.evaluate("() => dispatchEvent(new Event('online'))")
        await asyncio.sleep(WATCHED_S)
        assert len(reader.server.requests) == 1


#: A browser waits three seconds before it reconnects, unless the server sets another delay.
SOON = b"retry: 1\n\n"
ALPHABET = st.text(st.sampled_from("ab é€🏃\n\r\u2028"), min_size=1, max_size=5)


@settings(max_examples=15)
@given(
    pieces=st.lists(ALPHABET, min_size=1, max_size=8),
    cuts=st.lists(st.floats(min_value=0, max_value=0.999), max_size=6),
    eventsource=st.booleans(),
)
async def test_any_text_is_shown_once_through_any_cuts(
    page: EnginePage, pieces: list[str], cuts: list[float], *, eventsource: bool
) -> None:
    """Wherever connections are cut, the text only grows, and ends exactly as written."""
    whole = "".join(pieces)

    def log_after(asked: Asked) -> bytes:
        """The committed log after the reader's position."""
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
