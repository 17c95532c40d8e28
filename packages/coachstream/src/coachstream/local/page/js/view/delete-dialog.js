/** Asks before something is gone for good. */
import { byId, element } from "./dom.js";

/** @param {string} title @returns {Promise<boolean>} */
export function confirmDelete(title) {
  const dialog = byId("delete-dialog", HTMLDialogElement);
  byId("delete-text", HTMLElement).replaceChildren(
    "\u201c",
    element("bdi", {}, title),
    "\u201d and all of its messages will be gone for good.",
  );
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}
