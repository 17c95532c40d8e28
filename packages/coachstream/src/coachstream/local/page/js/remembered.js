/**
 * What the browser remembers between visits: small texts under our own prefix.
 *
 * Storage may be forbidden or full; then things are forgotten, and nothing breaks.
 */
const PREFIX = "coachstream.";

/** @param {string} name @returns {string|null} */
export function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Forgets everything but what these names stand for. @param {readonly string[]} names */
export function forgetAllBut(names) {
  try {
    const kept = new Set(names.map((name) => PREFIX + name));
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX) && !kept.has(key)) localStorage.removeItem(key);
    }
  } catch {
    // Nothing was remembered, then.
  }
}

/** @param {string} name @param {string|null} value `null` forgets it */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // Nothing to do: it only lasts as long as the page.
  }
}
