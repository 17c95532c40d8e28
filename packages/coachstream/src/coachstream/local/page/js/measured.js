/**
 * What only this page knows of a reply: how long it took, and what the service said that it did and used. The store does
 * not keep it, so the browser does, for the newest replies.
 *
 * @import {Measured} from "./types.js"
 */
import { recall, remember } from "./remembered.js";

const NAME = "measured";
const KEPT = 300;
/** @type {Readonly<Measured>} */
const NOTHING = Object.freeze({ timings: null, notices: Object.freeze([]), matches: 0 });
/** @type {Map<string, Measured>|null} */
let known = null;

/** @param {string} id of the reply @returns {Measured} */
export function measuredOf(id) {
  return { ...NOTHING, ...all().get(id) };
}

/** @param {string} id of the reply @param {Measured} measured */
export function keepMeasured(id, measured) {
  const entries = all();
  entries.set(id, measured);
  for (const oldest of [...entries.keys()].slice(0, -KEPT)) entries.delete(oldest);
  remember(NAME, JSON.stringify([...entries]));
}

/** Forgets them all. */
export function forgetMeasured() {
  known = null;
  remember(NAME, null);
}

function all() {
  if (known === null) {
    try {
      known = new Map(JSON.parse(recall(NAME) ?? "[]"));
    } catch {
      known = new Map();
    }
  }
  return known;
}
