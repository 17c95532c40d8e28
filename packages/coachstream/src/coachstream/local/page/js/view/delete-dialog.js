/** Asks before something is gone for good. */
import { byId, choiceIn, element } from "./dom.js";

/** @param {string} title @returns {Promise<boolean>} */
export async function confirmDelete(title) {
  byId("delete-text", HTMLElement).replaceChildren(
    "\u201c",
    element("bdi", {}, title),
    "\u201d and all of its messages will be gone for good.",
  );
  return (await choiceIn("delete-dialog")) === "delete";
}
