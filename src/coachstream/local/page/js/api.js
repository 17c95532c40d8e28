/**
 * The two functions, as this page calls them.
 *
 * Every method raises a `Failure`. A token that has expired is replaced once, silently.
 *
 * @import {Conversation, Message, Session} from "./types.js"
 */
import { Failure } from "./failure.js";
import { keepPastedToken, pastedToken } from "./pasted-token.js";
import { orSilence } from "./watchdog.js";
import { conversationFrom, messageFrom } from "./wire.js";

const SESSION_URL = "/local/session";
/** A token this close to its end may expire on the way. */
const RENEW_BEFORE_MS = 60_000;
/** The functions answer in well under a second; a cold start takes a few. */
const JSON_TIMEOUT_MS = 30_000;
const JSON_TYPE = "application/json";

export class Api {
  /** @type {Session} */
  #session;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /** Signs in. */
  static async connect() {
    return new Api(await fetchSession());
  }

  get session() {
    return this.#session;
  }

  /** @param {string} coachId @returns {Promise<Conversation[]>} */
  async listConversations(coachId) {
    const { conversations } = await this.#json("GET", this.#conversations(coachId));
    if (!Array.isArray(conversations)) throw Failure.unreadable();
    return conversations.map((raw) => conversationFrom(raw, coachId));
  }

  /** @param {string} coachId @param {string} title @returns {Promise<Conversation>} */
  async createConversation(coachId, title) {
    const { conversation } = await this.#json("POST", this.#conversations(coachId), { title });
    return conversationFrom(conversation, coachId);
  }

  /**
   * @param {string} coachId
   * @param {string} conversationId
   * @returns {Promise<{conversation: Conversation, messages: Message[]}>} messages, oldest first
   */
  async getConversation(coachId, conversationId) {
    const { conversation } = await this.#json("GET", this.#conversations(coachId, conversationId));
    if (!Array.isArray(conversation?.messages)) throw Failure.unreadable();
    return {
      conversation: conversationFrom(conversation, coachId),
      messages: conversation.messages.map(messageFrom),
    };
  }

  /** @param {string} coachId @param {string} conversationId @param {string} title */
  async renameConversation(coachId, conversationId, title) {
    await this.#json("PUT", this.#conversations(coachId, conversationId), { title });
  }

  /** @param {string} coachId @param {string} conversationId */
  async deleteConversation(coachId, conversationId) {
    await this.#json("DELETE", this.#conversations(coachId, conversationId));
  }

  /**
   * Asks for a reply and gives the response, whose body is the event stream. An error that comes before the
   * stream is an event stream as well, with one `error` event; any other answer is a `Failure`.
   *
   * @param {object} request
   * @param {string} request.coachId
   * @param {string} request.conversationId
   * @param {string} request.text
   * @param {string} request.clientMessageId makes it safe to ask again
   * @param {Date} request.writtenAt
   * @param {AbortSignal} request.signal
   * @returns {Promise<Response>}
   */
  async streamReply({ coachId, conversationId, text, clientMessageId, writtenAt, signal }) {
    const url = `${this.#session.streamUrl}${this.#path(coachId, conversationId)}/stream`;
    const body = { userResponse: text, messageTimestamp: writtenAt.toISOString(), clientMessageId };
    const asked = this.#send("POST", url, { body, accept: "text/event-stream", signal });
    const response = await orSilence(asked);
    if (isEventStream(response)) return response;
    if (response.ok) throw Failure.unreadable();
    throw Failure.fromResponse(response.status, await jsonOrNull(response));
  }

  /** @param {string} coachId @param {string} [conversationId] */
  #path(coachId, conversationId) {
    const parts = ["users", this.#session.userId, "coaches", coachId, "conversations"];
    if (conversationId !== undefined) parts.push(conversationId);
    return parts.map(encodeURIComponent).join("/");
  }

  /** @param {string} coachId @param {string} [conversationId] */
  #conversations(coachId, conversationId) {
    return this.#session.conversationsUrl + this.#path(coachId, conversationId);
  }

  /** @param {string} method @param {string} url @param {object} [body] @returns {Promise<any>} */
  async #json(method, url, body) {
    const signal = AbortSignal.timeout(JSON_TIMEOUT_MS);
    const response = await this.#send(method, url, { body, accept: JSON_TYPE, signal });
    const answer = await jsonOrNull(response);
    if (!response.ok) throw Failure.fromResponse(response.status, answer);
    if (answer === null) throw Failure.unreadable();
    return answer;
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {{body?: object, accept: string, signal?: AbortSignal}} options
   */
  async #send(method, url, options) {
    if (Date.parse(this.#session.expiresAt) - Date.now() < RENEW_BEFORE_MS) await this.#renew();
    const response = await this.#attempt(method, url, options);
    if (response.status !== 401) return response;
    await response.body?.cancel();
    await this.#renew();
    return this.#attempt(method, url, options);
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {{body?: object, accept: string, signal?: AbortSignal}} options
   */
  async #attempt(method, url, { body, accept, signal }) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.#session.token}`, Accept: accept };
    if (body) headers["Content-Type"] = JSON_TYPE;
    try {
      return await fetch(url, {
        method,
        headers,
        body: body && JSON.stringify(body),
        cache: "no-store",
        signal,
      });
    } catch (error) {
      throw Failure.unreachable(error);
    }
  }

  async #renew() {
    this.#session = await fetchSession();
  }
}

/** @returns {Promise<Session>} */
async function fetchSession() {
  const token = pastedToken();
  /** @type {Record<string, string>} */
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(SESSION_URL, { cache: "no-store", headers });
  } catch (error) {
    throw Failure.unreachable(error);
  }
  const session = await jsonOrNull(response);
  if (response.status === 401) {
    keepPastedToken(null);
    throw Failure.notSignedIn(session);
  }
  if (!response.ok) throw Failure.fromResponse(response.status, session);
  if (!session?.token || !Array.isArray(session.coaches)) throw Failure.unreadable();
  return session;
}

/** @param {Response} response */
async function jsonOrNull(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

/** @param {Response} response */
function isEventStream(response) {
  return (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
}
