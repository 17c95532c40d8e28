"""Modules of the page, run in a real browser: bytes to events, text to nodes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.chat_page import Tab, new_tab
from support.serving import Serving

if TYPE_CHECKING:
    from playwright.async_api import Browser

FEED = """async (reads) => {
  const { EventStreamDecoder } = await import("/js/coachstream.js");
  const decoder = new EventStreamDecoder();
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const events = reads.flatMap((read) => [...decoder.feed(bytes(read))]).map(({ data, id }) => [data, id]);
  return [events, decoder.lastEventId];
}"""


def link(address: str, text: str | None = None) -> str:
    """The markup of a link in a reply."""
    attributes = f'title="{address}" target="_blank" rel="noopener noreferrer"'
    return f'<a href="{address}" {attributes}>{text or address}</a>'


A_DONE_TASK = '<span class="task-box" role="img" aria-label="Done:" data-done=""></span>'
A_TABLE = (
    '<div class="table" tabindex="0" role="group" aria-label="Table" dir="auto"><table>'
    '<thead><tr><th scope="col" data-align="left">a</th><th scope="col" data-align="right">b</th></tr>'
    '</thead><tbody><tr><td data-align="left">1</td><td data-align="right"><strong>2</strong></td></tr>'
    "</tbody></table></div>"
)
LINKS = " ".join([link("https://a.org/x"), link("https://b.org/", "b"), link("https://c.org/")])

RENDER = """async (text) => {
  const { RichText } = await import("/js/view/rich-text.js");
  const container = document.createElement("div");
  const rich = new RichText(container);
  for (let length = 1; length <= text.length; length += 1) rich.show(text.slice(0, length), { grows: true });
  rich.show(text);
  const whole = document.createElement("div");
  new RichText(whole).show(text);
  return [container.outerHTML, whole.outerHTML];
}"""


class Case(NamedTuple):
    """The bytes of a stream, the events they contain (data, id), and the last event id."""

    name: str
    sent: bytes
    events: list[list[str]]
    last_id: str = ""


CASES = (
    Case("one event", b"data: hello\n\n", [["hello", ""]]),
    Case("several data lines are one text", b"data: a\ndata:b\ndata\n\n", [["a\nb\n", ""]]),
    Case("so do carriage returns", b"data: a\r\rdata: b\r\r", [["a", ""], ["b", ""]]),
    Case("CRLF is one end of a line", b"data: a\r\ndata: b\r\n\r\n", [["a\nb", ""]]),
    Case("comments say nothing", b": keep-alive\n\ndata: a\n: in between\n\n", [["a", ""]]),
    Case("only one space is taken off", b"data:  two\n\n", [[" two", ""]]),
    Case("an id holds for what follows", b"id: 7\ndata: a\n\ndata: b\n\n", [["a", "7"], ["b", "7"]], "7"),
    Case("an id alone is no event", b"id: 7\n\n", [], "7"),
    Case("an id that is cut off names nothing", b"data: a\n\nid: 7\n", [["a", ""]]),
    Case("an id with a NUL is none", b"id: 7\0\ndata: a\n\n", [["a", ""]]),
    Case("an event without data is none", b"event: tick\n\ndata: a\n\n", [["a", ""]]),
    Case("unknown fields are ignored", b"retry: 10\nwhat: ever\ndata: a\n\n", [["a", ""]]),
    Case("an unfinished event is none", b"data: a\n\ndata: b\n", [["a", ""]]),
    Case("a byte order mark is skipped", b"\xef\xbb\xbfdata: a\n\n", [["a", ""]]),
    Case("characters of up to four bytes", "data: é€🏃\n\n".encode(), [["é€🏃", ""]]),
    Case("Unicode separators end no line", "data: a\u2028b\n\n".encode(), [["a\u2028b", ""]]),
)


@pytest.fixture(scope="module")
async def opened(browser: Browser, server: Serving) -> AsyncIterator[Tab]:
    """One tab for all tests, because the modules keep no state."""
    async with new_tab(browser, server.ready.url) as tab:
        await tab.open()
        yield tab


async def _feed(tab: Tab, reads: list[bytes]) -> tuple[list[list[str]], str]:
    encoded = [base64.b64encode(read).decode() for read in reads]
    events, last_id = await tab.evaluate(FEED, encoded)
    return events, last_id


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_stream_means_the_same_however_it_is_cut(opened: Tab, case: Case) -> None:
    """The stream is fed whole, byte by byte, and with the beginning of another event after it."""
    assert await _feed(opened, [case.sent]) == (case.events, case.last_id)
    assert await _feed(opened, [bytes([byte]) for byte in case.sent]) == (case.events, case.last_id)
    if case.sent.endswith((b"\n\n", b"\r\r")):
        assert await _feed(opened, [case.sent + b"data: tail"]) == (case.events, case.last_id)


@settings(max_examples=30)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=6),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=12),
)
async def test_any_text_arrives_unchanged_through_any_cuts(
    opened: Tab, texts: list[str], line_end: str, cuts: list[int]
) -> None:
    """All data is received unchanged and in order."""
    sent = "".join(f"data: {text}{line_end}{line_end}" for text in texts).encode()
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    reads = [sent[start:end] for start, end in pairwise(edges)]
    assert await _feed(opened, reads) == ([[text, ""] for text in texts], "")


async def test_an_event_that_never_ends_is_refused(opened: Tab) -> None:
    """An event that never ends must not fill the page's memory."""
    error = await opened.evaluate(
        """async () => {
          const { EventStreamDecoder } = await import("/js/coachstream.js");
          const decoder = new EventStreamDecoder();
          const kibibyte = new Uint8Array(1024).fill(97);
          try {
            for (let sent = 0; sent <= EventStreamDecoder.MAX_PENDING_CHARACTERS; sent += 1024) {
              for (const event of decoder.feed(kibibyte)) return event;
            }
          } catch (error) { return error.code; }
          return "accepted";
        }"""
    )
    assert error == "UNREADABLE_STREAM"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\ntwo\n\nThree", '<p dir="auto">One<br>two</p><p dir="auto">Three</p>'),
        ("- a\n- b\n- c", '<ul dir="auto"><li>a</li><li>b</li><li>c</li></ul>'),
        ("3. c\n4. d", '<ol start="3" dir="auto"><li>c</li><li>d</li></ol>'),
        ("## Plan\nRun", '<h3 dir="auto">Plan</h3><p dir="auto">Run</p>'),
        ("**Run** *easy* 2 * 3 * 4", '<p dir="auto"><strong>Run</strong> <em>easy</em> 2 * 3 * 4</p>'),
        ("***x***", '<p dir="auto"><em><strong>x</strong></em></p>'),
        ("**open", '<p dir="auto">**open</p>'),
        ("~~no~~ `RPE 8`", '<p dir="auto"><s>no</s> <code>RPE 8</code></p>'),
        ("> Trust\n> it.", '<blockquote dir="auto"><p>Trust<br>it.</p></blockquote>'),
        ("a\n\n---", '<p dir="auto">a</p><hr dir="auto">'),
        ("a\n---", '<p dir="auto">a</p><hr dir="auto">'),
        (
            "- Main\n    - Nested\n- Next",
            '<ul dir="auto"><li>Main<ul><li>Nested</li></ul></li><li>Next</li></ul>',
        ),
        ("- [x] Gym", f'<ul dir="auto"><li class="task">{A_DONE_TASK}Gym</li></ul>'),
        ("|a|b|\n|:-|-:|\n|1|**2**|", A_TABLE),
        ("https://a.org/x [b](https://b.org) <https://c.org/>", f'<p dir="auto">{LINKS}</p>'),
        (
            "<b>x</b> &amp; [a](javascript:b) [c](/d) ![e](data:f)",
            '<p dir="auto">&lt;b&gt;x&lt;/b&gt; &amp; [a](javascript:b) [c](/d) ![e](data:f)</p>',
        ),
        ("![a plan](https://a.org/x.png)", f'<p dir="auto">{link("https://a.org/x.png", "a plan")}</p>'),
    ],
)
async def test_text_becomes_the_same_nodes_at_once_and_letter_by_letter(
    opened: Tab, text: str, html: str
) -> None:
    """GitHub's Markdown is rendered; HTML, images and links to anything but the web stay text."""
    assert await opened.evaluate(RENDER, text) == [f"<div>{html}</div>"] * 2


MARKDOWN = st.text(st.sampled_from("**  ab-#1.\n\r\u2028<>|`~_[]():+"), max_size=40)


@settings(max_examples=100)
@given(text=MARKDOWN)
async def test_any_text_becomes_the_same_nodes_at_once_and_letter_by_letter(opened: Tab, text: str) -> None:
    """Only the last block of a growing text is parsed again, and this must not change the result."""
    grown, whole = await opened.evaluate(RENDER, text)
    assert grown == whole


RENDER_TWO = """async ([first, second]) => {
  const { RichText } = await import("/js/view/rich-text.js");
  const container = document.createElement("div");
  const rich = new RichText(container);
  rich.show(first);
  rich.show(second);
  return container.outerHTML;
}"""


@pytest.mark.parametrize(
    ("first", "second", "html"),
    [
        ("One\n\nTwo", "One", '<p dir="auto">One</p>'),
        ("One\n\nTwo", "", ""),
        ("- a\n- b", "- a\n- c", '<ul dir="auto"><li>a</li><li>c</li></ul>'),
        ("\n", "\n\nOne", '<p dir="auto">One</p>'),
        ("One", "One", '<p dir="auto">One</p>'),
    ],
)
async def test_a_text_that_does_not_grow_is_shown_as_it_is(
    opened: Tab, first: str, second: str, html: str
) -> None:
    """It may be shorter than, different from or equal to the text before."""
    assert await opened.evaluate(RENDER_TWO, [first, second]) == f"<div>{html}</div>"


MILLISECONDS = """async (text) => {
  const { RichText } = await import("/js/view/rich-text.js");
  const times = [];
  for (let run = 0; run < 3; run += 1) {
    const began = performance.now();
    new RichText(document.createElement("div")).show(text);
    times.push(performance.now() - began);
  }
  return Math.min(...times);
}"""

HOSTILE = {
    "bold that never ends": "**a ",
    "italics that never end": "*a ",
    "both": "** a*",
    "marks alone": "*",
    "bold that ends late": "**a b",
    "code that never ends": "`a ``b ```c ",
    "links that never end": "[a](",
    "brackets": "[",
    "quotes in quotes": "> ",
    "cells": "|a",
    "struck out": "~~a ",
    "addresses": "https://a",
}

HALF_OPEN = """async (text) => {
  const { RichText } = await import("/js/view/rich-text.js");
  const container = document.createElement("div");
  const rich = new RichText(container);
  const seen = [];
  for (let length = 1; length <= text.length; length += 1) {
    rich.show(text.slice(0, length), { grows: true });
    seen.push([container.textContent, [...container.querySelectorAll("*")].map((node) => node.tagName)]);
  }
  return seen;
}"""


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("A **bold** word", "*"),
        ("***Very important***: __never__ skip _warm-up_.", "*_"),
        ("Use `RPE 8` here", "`"),
        ("See [the standards](https://example.com/standards) first", "[]()"),
        ("No ~~rest~~ today", "~"),
        ("| Day | Load |\n|-----|:----:|\n| Mon | 100 |\n| Tue | 90 |", "|-:"),
        ("Do:\n- one\n- [x] two\n1. three", "-[]"),
        ("Plan\n\n## Monday\n\n> Rest", "#>"),
        ("Plan\n\n---\n\nNext", "-"),
        ("```\nEMOM 10:\n  5 pull-ups\n```", "`"),
        ("~~~\n| a\n~~~", "-~"),
    ],
)
async def test_what_is_half_there_shows_no_marks(opened: Tab, text: str, marks: str) -> None:
    """Each letter arrives alone, as the worst of models sends it."""
    for shown, _ in await opened.evaluate(HALF_OPEN, text):
        assert not set(marks).intersection(shown.replace("pull-ups", "").replace("warm-up", "")), shown


async def test_a_table_is_a_table_from_its_first_letter_on(opened: Tab) -> None:
    """It never looks like a paragraph first, whatever stands before it."""
    text = "| Day | Load |\n|-----|:----:|\n| Mon | 100 |"
    for before, kinds in (("", set[str]()), ("Your plan:\n", {"P"}), ("Your plan:\n\n", {"P"})):
        seen = await opened.evaluate(HALF_OPEN, before + text)
        for _, tags in seen[len(before) + 2 :]:
            assert "TABLE" in tags
            assert tags.count("P") == len(kinds)


async def test_only_the_end_of_a_growing_text_is_drawn_again(opened: Tab) -> None:
    """Earlier blocks keep their nodes, and so do the list, the code and the words at the end."""
    kept = await opened.evaluate("""async () => {
      const { RichText } = await import("/js/view/rich-text.js");
      const container = document.createElement("div");
      const rich = new RichText(container);
      const text = "First\\n\\n- one\\n- two\\n\\n```js\\nlet a;";
      rich.show(text, { grows: true });
      const nodes = [...container.querySelectorAll("*")];
      rich.show(text + "\\nlet b;\\n```\\n\\nLast", { grows: true });
      const now = new Set(container.querySelectorAll("*"));
      return nodes.every((node) => now.has(node));
    }""")
    assert kept


PARSED = """async (text) => {
  const { default: MarkdownIt } = await import("/vendor/markdown-it/markdown-it.esm.min.mjs");
  const { RichText } = await import("/js/view/rich-text.js");
  const { parse } = MarkdownIt.prototype;
  let characters = 0;
  MarkdownIt.prototype.parse = function (source, ...rest) {
    characters += source.length;
    return parse.call(this, source, ...rest);
  };
  try {
    const rich = new RichText(document.createElement("div"));
    for (let end = 0; end < text.length; end += 10) rich.show(text.slice(0, end), { grows: true });
  } finally {
    MarkdownIt.prototype.parse = parse;
  }
  return characters;
}"""


async def test_a_reply_of_twice_the_length_is_twice_the_work(opened: Tab) -> None:
    """What is parsed for a chunk depends on its block, not on the text before."""
    paragraph = "A **paragraph** of about fifty characters, and a bit.\n\n"
    once, twice = [await opened.evaluate(PARSED, paragraph * blocks) for blocks in (100, 200)]
    assert twice < 2.1 * once


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
async def test_no_line_of_a_model_freezes_the_page(opened: Tab, piece: str) -> None:
    """64,000 characters of hostile markup take about as long as harmless markup; once it took minutes."""
    a_unit = await opened.evaluate(MILLISECONDS, "**a** " * (16_000 // 6))
    line = (piece * 64_000)[:64_000]
    assert await opened.evaluate(MILLISECONDS, line) < 100 * max(a_unit, 1)


@pytest.mark.parametrize("line", ["- {}x\u2028x", "# {}x\u2028x", "1. {}x\u2028x"])
async def test_no_marker_with_blanks_freezes_the_page(opened: Tab, line: str) -> None:
    """A line separator after the blanks must not make a regular expression backtrack either."""
    a_unit = await opened.evaluate(MILLISECONDS, "word " * (64_000 // 5))
    assert await opened.evaluate(MILLISECONDS, line.format(" " * 64_000)) < 100 * max(a_unit, 1)


STRETCHES = """async (views) => {
  const { Stretches } = await import("/js/view/stretches.js");
  const container = document.createElement("div");
  const stretches = new Stretches(container);
  const nodes = new Map();
  const nodeOf = (name) => {
    const node = nodes.get(name) ?? document.createElement("div");
    node.className = name.startsWith("day") ? "day" : "message";
    node.textContent = name;
    nodes.set(name, node);
    return node;
  };
  return views.map((view) => {
    stretches.show([], view.map(nodeOf));
    return [...container.children].map((stretch) => [...stretch.children].map((node) => node.textContent));
  });
}"""


async def test_messages_stay_in_their_stretch(opened: Tab) -> None:
    """Earlier ones get one of their own, later ones fill the last; a heading moves with its message."""
    earlier, old = [f"e{number}" for number in range(20)], [f"o{number}" for number in range(38)]
    new = ["n0", "n1", "n2"]
    shown = await opened.evaluate(
        STRETCHES,
        [
            ["day", *old],
            ["day", *earlier, *old],
            ["day", *earlier, *old, *new],
            ["day", *earlier, *old[:2], *new],
        ],
    )
    assert shown == [
        [["day", *old]],
        [["day", *earlier], old],
        [["day", *earlier], [*old, "n0", "n1"], ["n2"]],
        [["day", *earlier], [*old[:2], "n0", "n1"], ["n2"]],
    ]


async def test_a_message_that_moves_changes_its_stretch(opened: Tab) -> None:
    """The order is always the one that is wanted, whatever was shown before."""
    names = [f"m{number}" for number in range(90)]
    shuffled = [*names[45:60], names[0], *names[60:], *names[1:45]]
    for view in await opened.evaluate(STRETCHES, [names, shuffled, names[::-1], names]):
        assert list(chain.from_iterable(view)) in (names, shuffled, names[::-1])
        assert [] not in view
