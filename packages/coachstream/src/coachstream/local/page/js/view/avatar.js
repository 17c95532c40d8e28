/** A coach's sign: an initial on one of a few colours. */
import { element } from "./dom.js";

const COLOURS = 4;

/**
 * @param {string} name
 * @param {number} position of the coach among the person's coaches: no two neighbours look alike
 */
export function avatar(name, position) {
  const initial = Array.from(name.replace(/^coach\s+/i, "").trim())[0] ?? "C";
  const colour = String(((position % COLOURS) + COLOURS) % COLOURS);
  return element("span", { class: "avatar", "data-colour": colour, "aria-hidden": "true" }, initial.toUpperCase());
}
