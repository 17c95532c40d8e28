/**
 * The address of what is on view, in the part of the URL that never reaches the server:
 * `#/c/<coachId>/<conversationId>`, `#/c/<coachId>` for a conversation that is yet to begin.
 *
 * @typedef {object} Route
 * @property {string} coachId
 * @property {string|null} conversationId
 */

/** @param {string} hash @returns {Route|null} `null` when it names nothing */
export function parseRoute(hash) {
  const match = /^#\/c\/([^/]+)(?:\/([^/]+))?\/?$/.exec(hash);
  if (!match) return null;
  try {
    const [coachId, conversationId] = match.slice(1).map((part) => part && decodeURIComponent(part));
    return coachId ? { coachId, conversationId: conversationId || null } : null;
  } catch {
    return null; // a percent sign that encodes nothing
  }
}

/** @param {string} coachId @param {string|null} [conversationId] */
export function hashFor(coachId, conversationId = null) {
  const parts = conversationId === null ? [coachId] : [coachId, conversationId];
  return `#/c/${parts.map(encodeURIComponent).join("/")}`;
}
