/** Asks for an ID token, where only the user pool issues them. */
import { keepPastedToken } from "../pasted-token.js";
import { element, icon } from "./dom.js";

/**
 * @param {string} sentence why one is needed
 * @param {() => void} onPasted
 */
export function signInForm(sentence, onPasted) {
  const field = element("textarea", {
    id: "id-token",
    rows: "4",
    required: true,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const pasted = field.value.trim().replace(/^Bearer\s+/i, "");
    if (!pasted) return;
    keepPastedToken(pasted);
    onPasted();
  };
  return element(
    "form",
    { class: "instead sign-in", submit },
    element("p", { class: "problem", role: "alert" }, icon("alert"), element("span", {}, sentence)),
    element("label", { for: "id-token" }, "This server takes ID tokens of its user pool. Paste yours:"),
    field,
    element("button", { class: "button", type: "submit" }, "Sign in"),
  );
}
