/**
 * Draws how a reply arrived, from the request to now or to its end: the wait for the service, the wait for the first word,
 * a stroke for each piece of text, and the longest pause under them.
 *
 * @import {Measurement} from "./measurement.js"
 */
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
/** Strokes nearer to each other than this cannot be told apart. */
const NEAREST = 2;

/** @param {Measurement} measurement */
export function picture({ began, started, arrivals, pause, ended }) {
  const end = ended ?? arrivals.at(-1) ?? started ?? began;
  const x = (/** @type {number} */ at) => (end > began ? ((at - began) / (end - began)) * WIDTH : 0);
  // The figures next to it say the same in words.
  const svg = node("svg", { class: "inspect-picture", viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const firstWord = arrivals[0] ?? end;
  const start = started ?? end;
  svg.append(rect("inspect-start", 0, x(start), 4), rect("inspect-thinking", x(start), x(firstWord), 4));
  let drawn = -NEAREST;
  for (const at of arrivals) {
    if (x(at) - drawn < NEAREST) continue;
    drawn = x(at);
    svg.append(rect("inspect-piece", drawn, drawn + 1.5, 0));
  }
  if (pause.ms > 0) svg.append(rect("inspect-pause", x(pause.from), x(pause.from + pause.ms), 20));
  return svg;
}

/** @param {string} name @param {number} from @param {number} to @param {number} y */
function rect(name, from, to, y) {
  const height = y === 20 ? 4 : 18 - y;
  return node("rect", { class: name, x: from.toFixed(1), y: String(y), width: Math.max(0, to - from).toFixed(1), height: String(height) });
}

/** @param {string} name @param {Record<string, string>} attributes */
function node(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
