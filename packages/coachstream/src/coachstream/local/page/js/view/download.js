/** Hands the user a file. */
import { element } from "./dom.js";

/** @param {string} name @param {Blob} content */
export function save(name, content) {
  const href = URL.createObjectURL(content);
  element("a", { href, download: name }).click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
