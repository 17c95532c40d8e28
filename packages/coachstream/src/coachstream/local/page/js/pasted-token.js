/**
 * An ID token that the person pasted, where this machine issues none: for this tab, and until it is closed.
 *
 * Storage may be forbidden; then the token lasts as long as the page.
 */
const KEY = "coachstream.id-token";
/** @type {string|null} */
let token = null;

/** @returns {string|null} */
export function pastedToken() {
  try {
    return sessionStorage.getItem(KEY) ?? token;
  } catch {
    return token;
  }
}

/** @param {string|null} pasted `null` forgets it */
export function keepPastedToken(pasted) {
  token = pasted;
  try {
    if (pasted === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, pasted);
  } catch {
    // It is kept in this page.
  }
}
