/**
 * Finds conversations by their titles and messages. The service has no search, as DynamoDB has none: conversations are
 * read, the latest first, a few at a time.
 *
 * @import {Api} from "./api.js"
 * @import {Conversation, Message} from "./types.js"
 *
 * @typedef {object} Found
 * @property {Conversation} conversation
 * @property {Message|null} message `null` if the title was found
 * @property {[string, string, string]} excerpt What is before the words, the words, and what is behind them.
 */
import { Failure } from "./failure.js";

/** A search that finds more than these is answered by better words. */
export const MOST_FOUND = 100;
const BEFORE_CHARACTERS = 30;
const AFTER_CHARACTERS = 80;

/** So many conversations are read for a search, the latest first. */
export const MOST_SEARCHED = 200;
/** So many are read at a time, and remembered until they change. */
const AT_A_TIME = 4;
const REMEMBERED = 100;

export class Search {
  #api;
  /** The latest to be read are the last. @type {Map<string, {lastActivity: number, messages: Message[]}>} */
  #read = new Map();

  /** @param {Api} api */
  constructor(api) {
    this.#api = api;
  }

  /**
   * Titles first, as they need no request.
   *
   * @param {readonly Conversation[]} conversations
   * @param {string} words
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Found, void, undefined>}
   */
  async *find(conversations, words, signal) {
    for (const conversation of conversations) {
      const excerpt = excerptOf(conversation.title, words);
      if (excerpt) yield { conversation, message: null, excerpt };
    }
    const searched = conversations.slice(0, MOST_SEARCHED);
    /** @type {Promise<Message[]>[]} */
    const reading = [];
    for (const [index, conversation] of searched.entries()) {
      for (const next of searched.slice(index + reading.length, index + AT_A_TIME)) {
        const messages = this.#messagesOf(next, signal);
        messages.catch(() => {}); // it is awaited when it is its turn
        reading.push(messages);
      }
      const messages = await reading.shift();
      if (signal.aborted) return;
      for (const message of messages?.toReversed() ?? []) {
        const excerpt = excerptOf(message.content, words);
        if (excerpt) yield { conversation, message, excerpt };
      }
    }
  }

  /** @param {Conversation} conversation @param {AbortSignal} signal @returns {Promise<Message[]>} */
  async #messagesOf({ coachId, conversationId, lastActivity }, signal) {
    const known = this.#read.get(conversationId);
    if (known?.lastActivity === lastActivity.getTime()) return known.messages;
    try {
      const { messages } = await this.#api.getConversation(coachId, conversationId, signal);
      this.#read.delete(conversationId);
      this.#read.set(conversationId, { lastActivity: lastActivity.getTime(), messages });
      for (const oldest of [...this.#read.keys()].slice(0, -REMEMBERED)) this.#read.delete(oldest);
      return messages;
    } catch (error) {
      if (Failure.from(error).code === "CONVERSATION_NOT_FOUND") return [];
      throw error;
    }
  }
}

/** @param {string} text @param {string} words @returns {[string, string, string]|null} */
function excerptOf(text, words) {
  const lower = text.toLowerCase();
  // A few letters are longer in lower case; then only the same case is found.
  const at = lower.length === text.length ? lower.indexOf(words.toLowerCase()) : text.indexOf(words);
  if (at < 0) return null;
  const end = at + words.length;
  const start = Math.max(0, at - BEFORE_CHARACTERS);
  const before = `${start > 0 ? "\u2026" : ""}${text.slice(start, at)}`;
  return [before, text.slice(at, end), text.slice(end, end + AFTER_CHARACTERS)];
}
