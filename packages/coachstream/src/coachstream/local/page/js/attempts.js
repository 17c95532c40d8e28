/**
 * Remembers a try at the last exchange of a conversation until it ends, so that a page that is reloaded reads on: the same
 * request joins the run that it began.
 *
 * @import {Thread} from "./thread.js"
 * @import {Attempt, Turn} from "./turn.js"
 *
 * @typedef {Pick<Attempt, "kind"|"replyId"> & {clientMessageId: string, text: string}} Remembered
 */
import { recall, remember } from "./remembered.js";

/** Longer than any reply takes. The service forgets runs after a while, and would then begin another one. */
const FRESH_MS = 900_000;

/** @param {Thread} thread @param {Turn} turn */
export function rememberAttempt(thread, { attempt, clientMessageId, text }) {
  if (attempt === null) return;
  const { kind, replyId } = attempt;
  remember(nameOf(thread), JSON.stringify({ kind, replyId, clientMessageId, text, at: Date.now() }));
}

/** @param {Thread} thread */
export function forgetAttempt(thread) {
  remember(nameOf(thread), null);
}

/** @param {Thread} thread @returns {Remembered|null} */
export function recallAttempt(thread) {
  try {
    const { at, ...attempt } = JSON.parse(recall(nameOf(thread)) ?? "null") ?? {};
    return Math.abs(Date.now() - at) < FRESH_MS ? attempt : null;
  } catch {
    return null;
  }
}

/** @param {Thread} thread */
function nameOf({ coachId, conversationId }) {
  return `attempt.${JSON.stringify([coachId, conversationId])}`;
}
