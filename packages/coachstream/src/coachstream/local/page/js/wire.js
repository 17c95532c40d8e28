/**
 * Stored and streamed JSON into the page's own shapes, leniently: a missing field never breaks the page.
 *
 * @import {Conversation, Message} from "./types.js"
 */

import { measuredOf } from "./measured.js";

/** The title of a conversation that has none of its own (`coachstream/conversation/title.py`). */
export const DEFAULT_TITLE = "New Conversation";

/** @param {any} raw @returns {Message} */
export function messageFrom(raw) {
  const metadata = raw?.metadata ?? {};
  const id = String(raw?.id ?? "");
  return {
    id,
    role: raw?.role === "user" ? "user" : "assistant",
    content: typeof raw?.content === "string" ? raw.content : "",
    timestamp: dateFrom(raw?.timestamp),
    model: metadata.model ?? null,
    stopReason: metadata.stopReason ?? null,
    clientMessageId: metadata.clientMessageId ?? null,
    versions: Number(metadata.versions) || 0,
    ...measuredOf(id),
    viewKey: id,
  };
}

/** How much of the semantic search reached the prompt. @param {any} pineconeContext of a `complete` event */
export function matchesIn(pineconeContext) {
  return pineconeContext?.used === true ? Number(pineconeContext.matches) || 0 : 0;
}

/** @param {any} raw @param {string} coachId @returns {Conversation} */
export function conversationFrom(raw, coachId) {
  return {
    coachId: raw?.coachId ?? coachId,
    conversationId: String(raw?.conversationId ?? ""),
    title: raw?.title || DEFAULT_TITLE,
    lastActivity: dateFrom(raw?.metadata?.lastActivity ?? raw?.metadata?.startedAt),
  };
}

/** @param {unknown} text */
function dateFrom(text) {
  const date = new Date(typeof text === "string" ? text : 0);
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}
