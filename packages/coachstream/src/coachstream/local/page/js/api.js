/**
 * The two functions, as this page calls them.
 *
 * Every method raises a `Failure`. A token that has expired is replaced once, silently.
 *
 * @import {ConversationOptions, Version as RawVersion} from "./coachstream.js"
 * @import {Conversation, Message, Session, Version} from "./types.js"
 */
import { chooseVersion, versions } from "./coachstream.js";
import { Failure } from "./failure.js";
import { keepPastedToken, pastedToken } from "./pasted-token.js";
import { conversationFrom, messageFrom } from "./wire.js";

const SESSION_URL = "/local/session";
/** A token this close to its end may expire on the way. */
const RENEW_BEFORE_MS = 60_000;
/** The functions respond in well under a second; a cold start takes a few. */
const JSON_TIMEOUT_MS = 30_000;
/** A deletion takes as long as its function may run; on Lambda, that is at most this. */
const DELETION_TIMEOUT_MS = 900_000;
/** The end of a conversation, which fills a tall screen; and what comes above it at once as the reader scrolls up. */
const FIRST_PAGE = 40;
const NEXT_PAGE = 20;
const JSON_TYPE = "application/json";

/**
 * @typedef {object} StoredPage
 * @property {Message[]} messages
 * @property {boolean} hasMore There are earlier ones.
 * @property {ReadonlyMap<string, string>} queued The runs of those that are not answered yet, by id, in order.
 *
 * @typedef {object} RequestOptions
 * @property {object} [body]
 * @property {AbortSignal} [signal]
 * @property {number|null} [timeoutMs] `null` for none
 */

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
    const { conversation } = await this.#json("POST", this.#conversations(coachId), { body: { title } });
    return conversationFrom(conversation, coachId);
  }

  /**
   * The newest messages of a conversation, oldest first.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {{before?: string}} [options] the id of a message: the newest ones before it
   * @returns {Promise<StoredPage>}
   */
  async getMessages(coachId, conversationId, { before } = {}) {
    const query = new URLSearchParams({ limit: String(before === undefined ? FIRST_PAGE : NEXT_PAGE) });
    if (before !== undefined) query.set("before", before);
    const { conversation, hasMore, queued } = await this.#json("GET", `${this.#conversations(coachId, conversationId)}?${query}`);
    if (!Array.isArray(conversation?.messages)) throw Failure.unreadable();
    // A service that knows no pages sends them all.
    const runs = new Map((Array.isArray(queued) ? queued : []).map(({ messageId, runId }) => [messageId, String(runId)]));
    return { messages: conversation.messages.map(messageFrom), hasMore: hasMore === true, queued: runs };
  }

  /**
   * A whole conversation, as it is stored.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {AbortSignal} [signal]
   * @returns {Promise<{raw: object, messages: Message[]}>} messages, oldest first
   */
  async getConversation(coachId, conversationId, signal) {
    const { conversation } = await this.#json("GET", this.#conversations(coachId, conversationId), { signal });
    if (!Array.isArray(conversation?.messages)) throw Failure.unreadable();
    return { raw: conversation, messages: conversation.messages.map(messageFrom) };
  }

  /** @param {string} coachId @param {string} conversationId @param {string} title */
  async renameConversation(coachId, conversationId, title) {
    await this.#json("PUT", this.#conversations(coachId, conversationId), { body: { title } });
  }

  /** @param {string} coachId @param {string} conversationId */
  async deleteConversation(coachId, conversationId) {
    await this.#json("DELETE", this.#conversations(coachId, conversationId));
  }

  /**
   * The versions of an exchange, oldest first.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {string} messageId of a message in it
   */
  async getVersions(coachId, conversationId, messageId) {
    return versionsFrom(versions({ ...this.#exchanges(coachId, conversationId), messageId }));
  }

  /**
   * Makes another version of the last exchange the chosen one.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {string} messageId the reply of the one that is chosen now
   * @param {string} versionId the reply of the other one
   */
  async chooseVersion(coachId, conversationId, messageId, versionId) {
    return versionsFrom(chooseVersion({ ...this.#exchanges(coachId, conversationId), messageId, versionId }));
  }

  /**
   * Everything that is stored about the user, as JSON lines (`docs/how-to/export-and-delete-a-users-data.md`).
   *
   * @param {string|null} after the cursor of a page; `null` for the beginning
   * @param {AbortSignal} signal
   * @returns {Promise<Response>} whose body is still to be read
   */
  async openExport(after, signal) {
    const query = after === null ? "" : `?${new URLSearchParams({ after })}`;
    const response = await this.#send("GET", `${this.#user("export")}${query}`, { signal, timeoutMs: null });
    if (!response.ok) throw Failure.fromResponse(response.status, await jsonOrNull(response));
    return response;
  }

  /** Deletes as much of it as there is time for. @returns {Promise<any>} the report, as the service sends it */
  async deleteUserData() {
    return this.#json("DELETE", this.#user("data"), { timeoutMs: DELETION_TIMEOUT_MS });
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

  /** @param {string} coachId @param {string} conversationId @returns {ConversationOptions} */
  #exchanges(coachId, conversationId) {
    const conversationUrl = this.#conversations(coachId, conversationId);
    return { conversationUrl, token: (need) => this.#token(need) };
  }

  /** @param {"export"|"data"} resource */
  #user(resource) {
    return `${this.#session.conversationsUrl}users/${encodeURIComponent(this.#session.userId)}/${resource}`;
  }

  /** @param {string} method @param {string} url @param {RequestOptions} [options] @returns {Promise<any>} */
  async #json(method, url, options) {
    const response = await this.#send(method, url, options);
    const decoded = await jsonOrNull(response);
    if (!response.ok) throw Failure.fromResponse(response.status, decoded);
    if (decoded === null) throw Failure.unreadable();
    return decoded;
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {RequestOptions} [options]
   * @param {{fresh: boolean}} [need] of the token
   * @returns {Promise<Response>}
   */
  async #send(method, url, options = {}, need = { fresh: false }) {
    const { body, timeoutMs = JSON_TIMEOUT_MS } = options;
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${await this.#token(need)}`, Accept: JSON_TYPE };
    if (body) headers["Content-Type"] = JSON_TYPE;
    const signal = anyOf(options.signal, timeoutMs === null ? undefined : AbortSignal.timeout(timeoutMs));
    let response;
    try {
      response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal });
    } catch (error) {
      throw Failure.unreachable(error);
    }
    if (response.status !== 401 || need.fresh) return response;
    await response.body?.cancel();
    return this.#send(method, url, options, { fresh: true });
  }

  /** @param {{fresh: boolean}} need @returns {Promise<string>} */
  async #token({ fresh }) {
    const isEnding = Date.parse(this.#session.expiresAt) - Date.now() < RENEW_BEFORE_MS;
    if (fresh || isEnding) this.#session = await fetchSession();
    return this.#session.token;
  }
}

/**
 * A browser that cannot combine two (Safari before 17.4) finishes a request that is no longer needed.
 *
 * @param {AbortSignal} [signal]
 * @param {AbortSignal} [timeout]
 */
function anyOf(signal, timeout) {
  if (signal && timeout) return "any" in AbortSignal ? AbortSignal.any([signal, timeout]) : timeout;
  return signal ?? timeout;
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

/** @param {Promise<RawVersion[]>} response @returns {Promise<Version[]>} */
async function versionsFrom(response) {
  try {
    return (await response).map(({ userMessage, aiMessage, isChosen }) => ({
      question: messageFrom(userMessage),
      reply: aiMessage ? messageFrom(aiMessage) : null,
      isChosen,
    }));
  } catch (error) {
    throw Failure.from(error);
  }
}

/** @param {Response} response */
async function jsonOrNull(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}
