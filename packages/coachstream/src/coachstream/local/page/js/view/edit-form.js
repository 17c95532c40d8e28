/** A message box in the place of a message, to change it. */
import { isOfInputMethod } from "./composition.js";
import { element } from "./dom.js";

/** The server's limit is in code points, of which there are never more. */
const MAX_LENGTH = 32_000;

/**
 * @param {string} before
 * @param {(text: string|null) => void} onDone with the new text, or `null` if it stays as it was
 */
export function editForm(before, onDone) {
  const touch = matchMedia("(hover: none) and (pointer: coarse)");
  const box = element("textarea", { class: "edit-box", "aria-label": "Edit your message", dir: "auto", rows: "3", maxlength: String(MAX_LENGTH) });
  box.value = before;
  const send = element("button", { class: "button button-small", type: "submit" }, "Send");
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = box.value;
    if (text.trim() !== "") onDone(text === before ? null : text);
  };
  box.addEventListener("input", () => (send.disabled = box.value.trim() === ""));
  const keydown = (/** @type {KeyboardEvent} */ event) => {
    if (isOfInputMethod(event)) return;
    if (event.key === "Escape") {
      event.preventDefault(); // it would stop a reply
      onDone(null);
    } else if (event.target === box && event.key === "Enter" && !event.shiftKey && (!touch.matches || event.ctrlKey || event.metaKey)) {
      submit(event);
    }
  };
  return element(
    "form",
    { class: "edit-form", submit, keydown },
    box,
    element(
      "div",
      { class: "edit-actions" },
      element("button", { class: "button button-small", type: "button", click: () => onDone(null) }, "Cancel"),
      send,
    ),
  );
}
