/** What a button that copies does, and how it says so: with a tick, and to a screen reader. */
import { copy } from "./clipboard.js";
import { byId } from "./dom.js";

const SAID_FOR_MS = 2_000;

/** @param {Element} button with an icon @param {string} text */
export async function copyWith(button, text) {
  const isCopied = await copy(text);
  byId("announcer", HTMLElement).textContent = isCopied ? "Copied." : "The browser did not allow copying.";
  const use = button.querySelector("use");
  use?.setAttribute("href", isCopied ? "#icon-check" : "#icon-alert");
  setTimeout(() => use?.setAttribute("href", "#icon-copy"), SAID_FOR_MS);
}
