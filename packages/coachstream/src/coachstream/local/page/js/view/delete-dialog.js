/** Asks before something is gone for good. */
import { byId } from "./dom.js";

/** @param {string} title @returns {Promise<boolean>} */
export function confirmDelete(title) {
  const dialog = byId("delete-dialog", HTMLDialogElement);
  byId("delete-text", HTMLElement).textContent =
    `\u201c${title}\u201d and all of its messages will be gone for good.`;
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}
