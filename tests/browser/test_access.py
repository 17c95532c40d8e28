"""Accessibility: keyboard-only use, phone widths, light and dark, reduced motion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from support.chat_page import AXE, Tab, new_tab
from support.serving import Serving, Silent, create_conversation

if TYPE_CHECKING:
    from playwright.async_api import Browser

BACKGROUND = "() => getComputedStyle(document.getElementById('main')).backgroundColor"
FOCUS = "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
OVERFLOW = """() => ({
  page: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  thread: document.getElementById("scroller").scrollWidth - document.getElementById("scroller").clientWidth,
})"""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, textarea, input")]
  .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest("[inert]"))
  .filter((node) => !node.classList.contains("skip-link"))
  .map((node) => [node.id || node.className, node.getBoundingClientRect()])
  .filter(([, box]) => box.width > 0 && (box.height < 43.9 || box.width < 43.9))
  .map(([name, box]) => `${name}: ${box.width} x ${box.height}`)"""


async def test_everything_can_be_done_with_the_keyboard_alone(tab: Tab, server: Serving) -> None:
    """Skip link, new line, send, the list, rename and delete all work without a pointer."""
    await tab.open(server.ready.coach_id)
    press = tab.page.keyboard.press
    # The message box has the focus; tabbing past the end of the page leads to its beginning.
    for _ in range(4):
        await press("Tab")
        if await tab.evaluate("() => document.activeElement.id") == "skip-link":
            break
    assert await tab.evaluate(FOCUS) == "Skip to the message box"
    await press("Enter")
    await tab.page.keyboard.type("The first line")
    await press("Shift+Enter")
    await tab.page.keyboard.type("and the second")
    await press("Enter")
    await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
    assert (await tab.texts())[0] == "The first line\nand the second"
    assert await tab.evaluate("() => document.activeElement.id") == "message"

    title = "The first line"
    await tab.until("(title) => document.getElementById('title').textContent === title", title)
    await tab.conversation(title).focus()
    await press("ArrowDown")
    assert title not in str(await tab.evaluate(FOCUS))
    await press("Home")
    assert await tab.evaluate(FOCUS) == title
    await press("F2")
    await tab.page.keyboard.type("Another name")
    await press("Escape")
    assert await tab.evaluate(FOCUS) == title
    await press("F2")
    await tab.page.keyboard.type("A better name")
    await press("Enter")
    assert await tab.evaluate(FOCUS) == "A better name"
    await tab.reload()
    await tab.conversation("A better name").focus()

    await press("Delete")
    await tab.button("Keep it").wait_for()
    await press("Escape")
    assert await tab.conversation("A better name").count() == 1
    await tab.conversation("A better name").focus()
    await press("Delete")
    await press("Tab")
    assert await tab.evaluate(FOCUS) == "Delete"
    await press("Enter")
    await tab.conversation("A better name").wait_for(state="detached")
    await tab.page.wait_for_selector(".welcome")


#: Dismisses the question before a deletion and asks for that again, before the browser reports the dismissal.
DELETE_AGAIN_AT_ONCE = """(link) => {
  document.getElementById("delete-dialog").close();
  link.dispatchEvent(new KeyboardEvent("keydown", { key: "Delete", bubbles: true }));
}"""


async def test_a_deletion_that_is_asked_for_again_at_once_asks_again(tab: Tab, server: Serving) -> None:
    """The end of the first question, which the browser reports late, is not the second one's answer."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    link = tab.page.locator(f"#conversations a[data-conversation='{conversation}']")
    await link.focus()
    await tab.page.keyboard.press("Delete")
    await tab.button("Keep it").wait_for()
    await link.evaluate(DELETE_AGAIN_AT_ONCE)
    await tab.page.locator("#delete-dialog [value=delete]").click()
    await link.wait_for(state="detached")


async def test_a_message_that_is_too_long_says_so_before_it_is_sent(tab: Tab, server: Serving) -> None:
    """The limit counts code points, as the server does; a message of exactly that length can be sent."""
    await tab.open(server.ready.coach_id)
    await tab.message_box.fill("\N{RUNNER}" * 32_000)
    assert await tab.send_button.is_enabled()
    await tab.message_box.press_sequentially("!")
    assert await tab.send_button.is_disabled()
    assert "too long to send" in await tab.page.locator("#composer-count").inner_text()
    await tab.message_box.press("Enter")
    assert await tab.texts() == []


async def test_escape_returns_the_focus_to_the_message_box(tab: Tab, server: Serving) -> None:
    """Escape works from anywhere on the page."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.button("Dark colours").focus()
    await tab.page.keyboard.press("Escape")
    assert await tab.evaluate("() => document.activeElement.id") == "message"


async def test_the_focused_element_is_visibly_marked(tab: Tab, server: Serving) -> None:
    """Every element that the Tab key reaches has a visible focus ring."""
    await tab.open(server.ready.coach_id)
    reached = set()
    for _ in range(14):
        await tab.page.keyboard.press("Tab")
        name, ring = await tab.evaluate(
            """() => {
              const node = document.activeElement.closest(".composer") ?? document.activeElement;
              return [node.id || node.className, parseFloat(getComputedStyle(node).outlineWidth)];
            }"""
        )
        reached.add(name)
        assert ring > 0 or name == "", name
    assert len(reached) > 4


@pytest.mark.parametrize("width", [320, 360, 390, 820])
async def test_a_narrow_screen_never_scrolls_sideways(browser: Browser, server: Serving, width: int) -> None:
    """This holds for an endless word and the open drawer too; every touch target is large enough."""
    async with new_tab(browser, server.ready.url, size=(width, 780), touch=True) as tab:
        await tab.open(server.ready.coach_id)
        nowhere = {"page": 0, "thread": 0}
        assert await tab.evaluate(OVERFLOW) == nowhere
        await tab.ask("W" * 400 + " and https://example.org/" + "path/" * 60)
        assert await tab.evaluate(OVERFLOW) == nowhere
        assert await tab.evaluate(SMALL_TARGETS) == []
        await tab.button("Conversations").click()
        await tab.until("() => document.getElementById('sidebar').getBoundingClientRect().left === 0")
        assert await tab.evaluate(OVERFLOW) == nowhere
        assert await tab.evaluate(SMALL_TARGETS) == []
        assert await tab.evaluate("() => window.innerWidth") == width


async def test_the_drawer_on_a_phone_traps_the_focus_and_returns_it(
    browser: Browser, server: Serving
) -> None:
    """Nothing behind the open list can be focused; a selection or Escape closes it."""
    async with new_tab(browser, server.ready.url, size=(390, 844), touch=True, motion=True) as tab:
        await tab.open(server.ready.coach_id)
        assert await tab.evaluate("() => document.getElementById('sidebar').inert")
        await tab.button("Conversations").click()
        assert await tab.evaluate("() => document.getElementById('main').inert")
        await tab.page.keyboard.press("Escape")
        assert await tab.evaluate(FOCUS) == "Conversations"
        await tab.button("Conversations").click()
        await tab.page.locator("#conversations a").first.click()
        await tab.until("() => !document.getElementById('main').inert")
        assert await tab.evaluate("() => document.getElementById('sidebar').inert")


async def test_the_message_box_stays_above_an_on_screen_keyboard(browser: Browser, server: Serving) -> None:
    """When the keyboard covers half of the screen, the message box sits directly above it."""
    async with new_tab(browser, server.ready.url, size=(390, 844), touch=True) as tab:
        await tab.open(server.ready.coach_id)
        await tab.page.set_viewport_size({"width": 390, "height": 440})
        await tab.until("() => document.getElementById('composer').getBoundingClientRect().bottom <= 440")


async def test_the_colour_scheme_follows_the_system_until_the_user_chooses(
    browser: Browser, server: Serving
) -> None:
    """The toggle overrides the system setting, and the choice is remembered."""
    async with new_tab(browser, server.ready.url, colours="dark") as tab:
        await tab.open()
        dark = await tab.evaluate(BACKGROUND)
        assert await tab.button("Dark colours").get_attribute("aria-pressed") == "true"
        await tab.page.emulate_media(color_scheme="light")
        light = await tab.evaluate(BACKGROUND)
        assert _brightness(dark) < 60
        assert _brightness(light) > 200
        await tab.button("Dark colours").click()
        assert await tab.evaluate(BACKGROUND) == dark
        await tab.reload()
        assert await tab.evaluate(BACKGROUND) == dark


async def test_reduced_motion_disables_every_animation(browser: Browser, silent: Silent) -> None:
    """Not even the cursor is animated; without the preference, animations run."""
    server = silent.server
    speaking = silent.model.reply_in_steps("As ", "little as I can")
    async with new_tab(browser, server.ready.url, motion=True) as tab:
        await tab.open(server.ready.coach_id)
        assert await tab.evaluate("() => document.getAnimations().length") > 0
        await tab.page.emulate_media(reduced_motion="reduce")
        assert await tab.evaluate("() => document.getAnimations().length") == 0
        await tab.write("Move as little as you can")
        next(speaking)
        await tab.begins_to_stream()
        assert await tab.evaluate("() => document.getAnimations().length") == 0
        list(speaking)


MARKDOWN = """## Your plan

| Day | Session |
|-----|--------:|
| Mon | Squat 5x5, then `RPE 8` work |

```python
print("a line that is far too long for any phone, and so it has to scroll by itself")
```

- Main
    - [x] [Nested](https://example.com/)

> Trust **the** *process*.

---

1. ~~One~~
"""


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (320, 640)], ids=["desktop", "phone"])
async def test_axe_finds_nothing_wrong_with_a_reply(
    browser: Browser, silent: Silent, size: tuple[int, int], colours: Literal["light", "dark"]
) -> None:
    """While it grows, and with everything that Markdown can hold."""
    if not AXE.exists():
        pytest.skip("needs axe-core: tests/browser/vendored/install.sh")
    server = silent.server
    async with new_tab(browser, server.ready.url, size=size, touch=size[0] < 820, colours=colours) as tab:
        await tab.open(server.ready.coach_id)
        assert await tab.violations() == []
        speaking = silent.model.reply_in_steps(MARKDOWN, "The end")
        await tab.write("How was my week?")
        next(speaking)
        await tab.begins_to_stream()
        assert await tab.violations() == []
        list(speaking)
        await tab.page.wait_for_selector(".message-assistant[data-phase=stored]")
        assert await tab.violations() == []


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_all_text_has_enough_contrast(browser: Browser, server: Serving, colours: str) -> None:
    """WCAG 2.2, 1.4.3 requires a ratio of at least 4.5 to 1 between text and background."""
    async with new_tab(browser, server.ready.url, colours="dark" if colours == "dark" else "light") as tab:
        await tab.open(server.ready.coach_id, server.ready.conversation_id)
        await tab.page.wait_for_selector(".message")
        assert await tab.evaluate(LOW_CONTRAST) == []


async def test_a_screen_reader_hears_the_whole_reply_once(tab: Tab, server: Serving) -> None:
    """It announces that the coach is replying, then the complete reply, but not the growing bubble."""
    await tab.open(server.ready.coach_id, create_conversation(server.ready))
    await tab.evaluate(
        """() => {
          window.heard = [];
          const announcer = document.getElementById("announcer");
          new MutationObserver(() => window.heard.push(announcer.textContent))
            .observe(announcer, { childList: true });
        }"""
    )
    reply = await tab.ask("Read this to me")
    heard = await tab.evaluate("() => window.heard")
    assert len(heard) == 2
    assert heard[0].endswith("is replying.")
    assert reply.split("\n")[0].split(" ")[0] in heard[1]
    assert await tab.page.locator("#thread[aria-live], #thread [aria-live]").count() == 0


LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (channels) => channels.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== "");
    if (!hasText || !node.checkVisibility() || node.closest("symbol")) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(node).color)), luminance(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def _brightness(colour: str) -> int:
    """The brightest channel of `rgb(r, g, b)`."""
    return max(int(channel) for channel in colour.removeprefix("rgb(").removesuffix(")").split(","))
