"""The page's own protocol code, run in the browser that will run it: SSE, endings, text to nodes."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.chat_page import Tab, new_tab
from support.serving import Serving

if TYPE_CHECKING:
    from playwright.async_api import Browser

FEED = """async ([reads, path]) => {
  const { EventStreamDecoder } = await import(path);
  const decoder = new EventStreamDecoder();
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return reads.flatMap((read) => decoder.feed(bytes(read))).map(({ type, data, id }) => [type, data, id]);
}"""

READ_REPLY = """async ([chunks, end]) => {
  const { replyEvents } = await import("/js/reply-stream.js");
  const body = new ReadableStream({
    start(controller) {
      const encoder = new TextEncoder();
      for (const chunk of chunks) controller.enqueue(encoder.encode(chunk));
      if (end === "close") controller.close();
      if (end === "break") controller.error(new TypeError("network error"));
    },
  });
  const seen = [];
  try {
    for await (const event of replyEvents(new Response(body), { silenceMs: 50 })) seen.push(event.type);
    seen.push("end");
  } catch (failure) {
    seen.push(failure.code);
  }
  return seen;
}"""

RENDER = """async (text) => {
  const { RichText } = await import("/js/view/rich-text.js");
  const container = document.createElement("div");
  const rich = new RichText(container);
  for (let length = 1; length <= text.length; length += 1) rich.show(text.slice(0, length));
  const whole = document.createElement("div");
  new RichText(whole).show(text);
  return [container.outerHTML, whole.outerHTML];
}"""


class Case(NamedTuple):
    """Bytes of a stream, and every event that they hold: type, data, last id."""

    name: str
    sent: bytes
    events: list[list[str]]


CASES = (
    Case("one event", b"data: hello\n\n", [["message", "hello", ""]]),
    Case("several data lines are one text", b"data: a\ndata:b\ndata\n\n", [["message", "a\nb\n", ""]]),
    Case("so do carriage returns", b"data: a\r\rdata: b\r\r", [["message", "a", ""], ["message", "b", ""]]),
    Case("CRLF is one end of a line", b"data: a\r\ndata: b\r\n\r\n", [["message", "a\nb", ""]]),
    Case("comments say nothing", b": keep-alive\n\ndata: a\n: in between\n\n", [["message", "a", ""]]),
    Case("only one space is taken off", b"data:  two\n\n", [["message", " two", ""]]),
    Case(
        "types and ids", b"event: t\nid: 7\ndata: a\n\ndata: b\n\n", [["t", "a", "7"], ["message", "b", "7"]]
    ),
    Case("an event without data is none", b"event: tick\n\ndata: a\n\n", [["message", "a", ""]]),
    Case("unknown fields are ignored", b"retry: 10\nwhat: ever\ndata: a\n\n", [["message", "a", ""]]),
    Case("an unfinished event is none", b"data: a\n\ndata: b\n", [["message", "a", ""]]),
    Case("a byte order mark is skipped", b"\xef\xbb\xbfdata: a\n\n", [["message", "a", ""]]),
    Case("characters of up to four bytes", "data: é€🏃\n\n".encode(), [["message", "é€🏃", ""]]),
    Case("Unicode separators end no line", "data: a\u2028b\n\n".encode(), [["message", "a\u2028b", ""]]),
)


@pytest.fixture(scope="module")
async def opened(browser: Browser, server: Serving) -> AsyncIterator[Tab]:
    """One tab for all: modules keep nothing."""
    async with new_tab(browser, server.ready.url) as tab:
        await tab.open()
        yield tab


async def _feed(tab: Tab, reads: list[bytes]) -> list[list[str]]:
    encoded = [base64.b64encode(read).decode() for read in reads]
    events: list[list[str]] = await tab.evaluate(FEED, [encoded, "/js/sse.js"])
    return events


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_stream_means_the_same_however_it_is_cut(opened: Tab, case: Case) -> None:
    """Whole, byte by byte, and with the beginning of another event behind it."""
    assert await _feed(opened, [case.sent]) == case.events
    assert await _feed(opened, [bytes([byte]) for byte in case.sent]) == case.events
    if not case.name.startswith("an unfinished"):
        assert await _feed(opened, [case.sent + b"data: tail"]) == case.events


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=12),
)
async def test_any_text_arrives_unchanged_through_any_cuts(
    opened: Tab, texts: list[str], line_end: str, cuts: list[int]
) -> None:
    """Whatever is sent as data is received, to the letter and in order."""
    sent = "".join(f"data: {text}{line_end}{line_end}" for text in texts).encode()
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    reads = [sent[start:end] for start, end in pairwise(edges)]
    assert await _feed(opened, reads) == [["message", text, ""] for text in texts]


async def test_an_event_that_never_ends_is_refused(opened: Tab) -> None:
    """A stream cannot fill the page's memory."""
    error = await opened.evaluate(
        """async () => {
          const { EventStreamDecoder, MAX_PENDING_CHARACTERS } = await import("/js/sse.js");
          const decoder = new EventStreamDecoder();
          const kibibyte = new Uint8Array(1024).fill(97);
          try {
            for (let sent = 0; sent <= MAX_PENDING_CHARACTERS; sent += 1024) decoder.feed(kibibyte);
          } catch (error) { return error.name; }
          return "accepted";
        }"""
    )
    assert error == "EventTooLarge"


def _frame(event: dict[str, object]) -> str:
    return f"data: {json.dumps(event)}\n\n"


START = _frame({"type": "start", "status": "initialized"})
CHUNK = _frame({"type": "chunk", "content": "Well "})
COMPLETE = _frame({"type": "complete", "userMessage": {"id": "1"}, "aiMessage": {"id": "2"}})
ERROR = _frame({"type": "error", "code": "MODEL_THROTTLED", "message": "Busy.", "retryable": True})
NEWS = _frame({"type": "contextual", "content": "Looking at your week"})

ENDINGS: tuple[tuple[str, list[str], str, list[str]], ...] = (
    ("complete", [START, CHUNK, COMPLETE], "close", ["start", "chunk", "complete", "end"]),
    ("complete, and never closed", [START, CHUNK, COMPLETE], "open", ["start", "chunk", "complete", "end"]),
    ("nothing is read after complete", [START, COMPLETE, CHUNK], "close", ["start", "complete", "end"]),
    ("an error event", [START, CHUNK, ERROR], "close", ["start", "chunk", "MODEL_THROTTLED"]),
    ("no terminal event", [START, CHUNK], "close", ["start", "chunk", "cut_off"]),
    ("nothing at all", [], "close", ["cut_off"]),
    ("a broken connection", [], "break", ["connection_lost"]),
    ("silence", [START, CHUNK], "open", ["start", "chunk", "silent"]),
    ("an event type of the future", [START, NEWS, COMPLETE], "close", ["start", "complete", "end"]),
    ("nonsense", [START, "data: {nonsense\n\n"], "close", ["start", "unreadable"]),
)


@pytest.mark.parametrize(("name", "sent", "end", "seen"), ENDINGS, ids=[ending[0] for ending in ENDINGS])
async def test_every_way_a_stream_can_end_has_a_name(
    opened: Tab, name: str, sent: list[str], end: str, seen: list[str]
) -> None:
    """A reader always learns how it ended; a frame that is not complete is never mistaken for one."""
    assert await opened.evaluate(READ_REPLY, [sent, end]) == seen, name


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nThree", "<p>One<br>two</p><p>Three</p>"),
        ("- a\n- b\n\n- c", "<ul><li>a</li><li>b</li><li>c</li></ul>"),
        ("Do:\n3. c\n4. d", '<p>Do:</p><ol start="3"><li>c</li><li>d</li></ol>'),
        ("## Plan\nRun", "<h3>Plan</h3><p>Run</p>"),
        ("**Run** *easy* 2 * 3 * 4", "<p><strong>Run</strong> <em>easy</em> 2 * 3 * 4</p>"),
        ("**open", "<p>**open</p>"),
        ("<b>x</b> &amp; [a](javascript:b)", "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp; [a](javascript:b)</p>"),
    ],
)
async def test_text_becomes_the_same_nodes_at_once_and_letter_by_letter(
    opened: Tab, text: str, html: str
) -> None:
    """Paragraphs, lists, headings and emphasis; everything else stays what it is."""
    assert await opened.evaluate(RENDER, text) == [f"<div>{html}</div>"] * 2
