"""How long the chat page is blocked while a reply streams, by the length of the conversation.

    PYTHONPATH=tests .venv/bin/python bench/page.py [--quick]

A real Chromium shows a conversation of 50, 600 and 2,000 messages: it opens it, loads all of it, follows a
reply that arrives in a chunk each 25 ms, and scrolls through all of it while another one arrives. A task over
50 ms blocks the page by what is above that, as Lighthouse counts it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from support.chat_page import Tab, chromium, new_tab
from support.long_conversation import REPLY, long_conversation, serve_conversation
from support.serving import Silent, create_conversation, silent_server

if TYPE_CHECKING:
    from playwright.async_api import Browser

COUNTS = (50, 600, 2_000)
CHUNK_CHARACTERS = 12
CHUNK_PERIOD_S = 0.025

OBSERVE = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask" });
}"""
TASKS = "() => window.tasks.splice(0)"
#: Scrolls up and down for a number of seconds, and returns the time of each frame in milliseconds.
SCROLL = """async (seconds) => {
  const scroller = document.getElementById("scroller");
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const frames = [];
  const end = performance.now() + seconds * 1000;
  let last = await frame();
  for (let number = 0; performance.now() < end; number += 1) {
    scroller.scrollTop += number % 200 < 100 ? -60 : 60;
    const now = await frame();
    frames.push(now - last);
    last = now;
  }
  return frames;
}"""
IS_WHOLE = """() => {
  const scroller = document.getElementById("scroller");
  scroller.scrollTop = 0;
  return scroller.querySelector(".message") && !scroller.querySelector(".older");
}"""


class Blocked(msgspec.Struct, frozen=True):
    """The tasks over 50 ms of a while."""

    total_ms: float
    longest_ms: float

    @classmethod
    def of(cls, tasks: list[float]) -> Blocked:
        """From their durations in milliseconds."""
        return cls(sum(task - 50 for task in tasks), max(tasks, default=0.0))

    def __str__(self) -> str:
        return f"{self.total_ms:6.0f} ms blocked, longest {self.longest_ms:4.0f} ms"


async def measure(browser: Browser, silent: Silent, count: int, seconds: float) -> None:
    """Print one conversation's figures."""
    ready = silent.server.ready
    conversation = create_conversation(ready)
    async with new_tab(browser, ready.url, motion=True) as tab:
        await tab.page.add_init_script(f"({OBSERVE})()")
        await serve_conversation(tab.page, ready, conversation, long_conversation(count))
        await tab.open(ready.coach_id, conversation)
        await tab.page.wait_for_selector(".message")
        opened = Blocked.of(await tab.evaluate(TASKS))
        await tab.page.wait_for_function(IS_WHOLE, polling=100)
        loaded = Blocked.of(await tab.evaluate(TASKS))
        await tab.button("Jump to latest").click()
        following, _ = await _while_streaming(tab, silent, seconds, "() => []", is_loaded=False)
        scrolling, frames = await _while_streaming(tab, silent, seconds, SCROLL, is_loaded=True)
    rate = len(frames) / (sum(frames) / 1000)
    print(f"{count:5} messages")
    print(f"      opened             {opened}")
    print(f"      loaded to its top  {loaded}")
    print(f"      following a reply  {following}")
    print(f"      scrolling          {scrolling}, {rate:.0f} frames/s, slowest {max(frames):.0f} ms")


async def _while_streaming(
    tab: Tab, silent: Silent, seconds: float, script: str, *, is_loaded: bool
) -> tuple[Blocked, list[float]]:
    text = REPLY.format(number=1) * 100
    count = int(seconds / CHUNK_PERIOD_S)
    chunks = [text[number * CHUNK_CHARACTERS :][:CHUNK_CHARACTERS] for number in range(count)]
    speaking = silent.model.reply_in_steps(*chunks)
    await tab.write("What is next?")
    next(speaking)
    await tab.begins_to_stream()
    if is_loaded:
        await tab.page.wait_for_function(IS_WHOLE, polling=100)
    await tab.evaluate(TASKS)

    async def speak() -> None:
        for _ in speaking:
            await asyncio.sleep(CHUNK_PERIOD_S)

    frames, _ = await asyncio.gather(tab.evaluate(script, seconds), speak())
    blocked = Blocked.of(await tab.evaluate(TASKS))
    await tab.button("Send").wait_for()
    return blocked, frames


async def main() -> None:
    """Measure each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seconds each instead of eight")
    seconds = 2.0 if parser.parse_args().quick else 8.0
    with tempfile.TemporaryDirectory() as folder, silent_server(Path(folder) / "data") as silent:
        async with chromium() as browser:
            for count in COUNTS:
                await measure(browser, silent, count, seconds)


if __name__ == "__main__":
    asyncio.run(main())
