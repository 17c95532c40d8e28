/**
 * Says what failed outside a conversation: a rename, a deletion.
 *
 * @import {Chat} from "../chat.js"
 */
import { byId } from "./dom.js";

const SHOWN_FOR_MS = 8000;

/** @param {Chat} chat */
export function showNotices(chat) {
  const toast = byId("toast", HTMLElement);
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  chat.addEventListener("notice", (event) => {
    const { detail } = /** @type {CustomEvent<import("../failure.js").Failure>} */ (event);
    toast.textContent = detail.sentence;
    toast.hidden = false;
    clearTimeout(timer);
    timer = setTimeout(() => {
      toast.hidden = true;
    }, SHOWN_FOR_MS);
  });
}
