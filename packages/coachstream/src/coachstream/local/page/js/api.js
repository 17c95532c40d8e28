/**
 * The two functions, as this page calls them.
 *
 * Every method raises a `Failure`. A token that has expired is replaced once, silently.
 *
 * @import {ConversationOptions} from "./coachstream.js"
 * @import {Conversation, Message, Session} from "./types.js"
 */
import { Failure } from "./failure.js";
import { keepPastedToken, pastedToken } from "./pasted-token.js";
import { conversationFrom, messageFrom } from "./wire.js";

const SESSION_URL = "/local/session";
/** A token this close to its end may expire on the way. */
const RENEW_BEFORE_MS = 60_000;
/** The functions respond in well under a second; a cold start takes a few. */
const JSON_TIMEOUT_MS = 30_000;
/** The end of a conversation, which fills a tall screen; and what comes above it at once as the reader scrolls up. */
const FIRST_PAGE = 40;
const NEXT_PAGE = 20;
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

  /** @param {string} coachId @param {string|null} title @returns {Promise<Conversation>} */
  async createConversation(coachId, title) {
    const { conversation } = await this.#json("POST", this.#conversations(coachId), { title });
    return conversationFrom(conversation, coachId);
  }

  /**
   * The newest messages of a conversation, oldest first.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {{before?: string}} [options] the id of a message: the newest ones before it
   * @returns {Promise<{messages: Message[], hasMore: boolean}>} `hasMore`: there are earlier ones
   */
  async getMessages(coachId, conversationId, { before } = {}) {
    const query = new URLSearchParams({ limit: String(before === undefined ? FIRST_PAGE : NEXT_PAGE) });
    if (before !== undefined) query.set("before", before);
    const { conversation, hasMore } = await this.#json("GET", `${this.#conversations(coachId, conversationId)}?${query}`);
    if (!Array.isArray(conversation?.messages)) throw Failure.unreadable();
    // A service that knows no pages sends them all.
    return { messages: conversation.messages.map(messageFrom), hasMore: hasMore === true };
  }

  /**
   * A whole conversation, as it is stored.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @returns {Promise<{raw: object, messages: Message[]}>} messages, oldest first
   */
  async getConversation(coachId, conversationId) {
    const { conversation } = await this.#json("GET", this.#conversations(coachId, conversationId));
    if (!Array.isArray(conversation?.messages)) throw Failure.unreadable();
    return { raw: conversation, messages: conversation.messages.map(messageFrom) };
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
   * What `coachstream.js` has to know to read a conversation's replies.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @returns {ConversationOptions}
   */
  replies(coachId, conversationId) {
    return {
      conversationUrl: this.#session.streamUrl + this.#path(coachId, conversationId),
      token: (need) => this.#token(need),
    };
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
    const response = await this.#send(method, url, body);
    const decoded = await jsonOrNull(response);
    if (!response.ok) throw Failure.fromResponse(response.status, decoded);
    if (decoded === null) throw Failure.unreadable();
    return decoded;
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {object|undefined} body
   * @param {{fresh: boolean}} [need] of the token
   * @returns {Promise<Response>}
   */
  async #send(method, url, body, need = { fresh: false }) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${await this.#token(need)}`, Accept: JSON_TYPE };
    if (body) headers["Content-Type"] = JSON_TYPE;
    const signal = AbortSignal.timeout(JSON_TIMEOUT_MS);
    let response;
    try {
      response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal });
    } catch (error) {
      throw Failure.unreachable(error);
    }
    if (response.status !== 401 || need.fresh) return response;
    await response.body?.cancel();
    return this.#send(method, url, body, { fresh: true });
  }

  /** @param {{fresh: boolean}} need @returns {Promise<string>} */
  async #token({ fresh }) {
    const isEnding = Date.parse(this.#session.expiresAt) - Date.now() < RENEW_BEFORE_MS;
    if (fresh || isEnding) this.#session = await fetchSession();
    return this.#session.token;
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
