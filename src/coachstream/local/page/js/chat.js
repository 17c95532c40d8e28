/**
 * The state of the page, and everything a person can do to it. Views call its methods and listen to its events:
 *
 * - `opened`: another conversation, or another coach, is on view
 * - `created`: the conversation on view was yet to begin, and now has an id
 * - `conversations`: the list of the coach on view has changed
 * - `thread`: the conversation on view has changed
 * - `notice`: something outside a conversation failed (`detail` is a `Failure`)
 *
 * Each conversation has its own thread and its own stream, so leaving one in mid-reply mixes nothing up.
 *
 * @import {Api} from "./api.js"
 * @import {Coach, Conversation} from "./types.js"
 * @import {OtherTabs} from "./other-tabs.js"
 */
import { Failure } from "./failure.js";
import { replyEvents } from "./reply-stream.js";
import { Thread } from "./thread.js";
import {
  afterEvent,
  awaitTurn,
  beginTurn,
  failTurn,
  isBusy,
  newClientMessageId,
  retryTurn,
  stopTurn,
} from "./turn.js";

const TITLE_CHARACTERS = 48;
/** How often the page looks for a reply that it is not reading itself, and how often it looks at most. */
const LOOK_AGAIN_AFTER_MS = 1500;
const LOOKS = 60;

/**
 * @typedef {object} ConversationList
 * @property {"loading"|"ready"|"failed"} status
 * @property {Failure|null} failure
 * @property {Conversation[]} conversations the latest activity first
 */

export class Chat extends EventTarget {
  #api;
  #tabs;
  /** @type {Map<string, Thread>} */
  #threads = new Map();
  /** @type {Map<string, ConversationList>} by coach */
  #lists = new Map();
  /** What stops the reading of a turn. @type {Map<Thread, AbortController>} */
  #readers = new Map();

  /** @param {Api} api @param {OtherTabs} tabs */
  constructor(api, tabs) {
    super();
    this.#api = api;
    this.#tabs = tabs;
    this.coaches = api.session.coaches;
    /** On view. @type {Thread} */
    this.thread = new Thread(api.session.coachId, null);
    tabs.listen(({ coachId, conversationId }) => {
      void this.#refreshList(coachId);
      if (conversationId !== null && this.thread.conversationId === conversationId) void this.#refresh(this.thread);
    });
  }

  /** @returns {Coach} the coach on view */
  get coach() {
    return (
      this.coaches.find(({ coachId }) => coachId === this.thread.coachId) ?? {
        coachId: this.thread.coachId,
        name: "Coach",
        description: "",
      }
    );
  }

  /** @returns {ConversationList} of the coach on view */
  get list() {
    return this.#list(this.thread.coachId);
  }

  /** The title of what is on view; `null` for a conversation that is yet to begin. */
  get title() {
    const { conversationId } = this.thread;
    return this.list.conversations.find((each) => each.conversationId === conversationId)?.title ?? null;
  }

  /** Whether a reply is on its way in a conversation. @param {Conversation} conversation */
  isAnswering({ coachId, conversationId }) {
    return isBusy(this.#threads.get(threadKey(coachId, conversationId))?.turn ?? null);
  }

  /**
   * Puts a conversation on view; without an id, one that is yet to begin.
   *
   * @param {string} coachId
   * @param {string|null} conversationId
   */
  async open(coachId, conversationId) {
    const key = threadKey(coachId, conversationId);
    const thread = this.#threads.get(key) ?? new Thread(coachId, conversationId);
    this.#threads.set(key, thread);
    this.thread = thread;
    if (conversationId !== null && thread.messages.length === 0 && !thread.turn) thread.status = "loading";
    this.#emit("opened");
    await Promise.all([
      this.#lists.has(coachId) ? null : this.#refreshList(coachId),
      conversationId === null || this.#readers.has(thread) ? null : this.#refresh(thread),
    ]);
  }

  /** The conversation a person most likely wants to go on with. @param {string} coachId */
  async latestConversation(coachId) {
    if (!this.#lists.has(coachId)) await this.#refreshList(coachId);
    return this.#list(coachId).conversations[0]?.conversationId ?? null;
  }

  /** Looks at the store again: after the page was away, and when something could not be loaded. */
  async refresh() {
    const { thread } = this;
    await Promise.all([
      this.#refreshList(thread.coachId),
      thread.conversationId === null || this.#readers.has(thread) ? null : this.#refresh(thread),
    ]);
  }

  /**
   * Sends a message in the conversation on view.
   * @param {string} text
   * @returns {boolean} false, and nothing happens, while a reply is on its way or when there is no text
   */
  send(text) {
    const { thread } = this;
    if (text.trim() === "" || thread.status !== "ready" || isBusy(thread.turn)) return false;
    thread.leaveTurnBehind();
    thread.turn = beginTurn(text, newClientMessageId());
    void this.#read(thread);
    return true;
  }

  /** Asks again for the reply that did not come, with the same message id: nothing is stored twice. */
  retry() {
    const { thread } = this;
    const { turn } = thread;
    if (!turn || turn.clientMessageId === null) return;
    if (isBusy(turn) && turn.phase !== "awaiting") return;
    this.#readers.get(thread)?.abort();
    thread.turn = retryTurn(turn);
    void this.#read(thread);
  }

  /** Stops reading the reply on view. The server goes on and stores it whole. */
  stop() {
    const { thread } = this;
    if (!thread.turn || !isBusy(thread.turn)) return false;
    thread.turn = stopTurn(thread.turn);
    this.#readers.get(thread)?.abort();
    this.#readers.delete(thread);
    this.#changed(thread);
    return true;
  }

  /** Waits for the stored reply of a turn that this page stopped reading. */
  catchUp() {
    const { thread } = this;
    if (!thread.turn) return;
    thread.turn = awaitTurn(thread.turn);
    this.#changed(thread);
    void this.#lookForReply(thread);
  }

  /** @param {Conversation} conversation @param {string} title */
  async rename(conversation, title) {
    const { coachId, conversationId } = conversation;
    const previous = conversation.title;
    this.#amend(coachId, conversationId, { title });
    try {
      await this.#api.renameConversation(coachId, conversationId, title);
      this.#tabs.tell({ coachId, conversationId: null });
    } catch (error) {
      this.#amend(coachId, conversationId, { title: previous });
      this.#notice(error);
    }
  }

  /** @param {Conversation} conversation @returns {Promise<boolean>} whether it is gone */
  async remove({ coachId, conversationId }) {
    try {
      await this.#api.deleteConversation(coachId, conversationId);
    } catch (error) {
      if (Failure.from(error).code !== "CONVERSATION_NOT_FOUND") {
        this.#notice(error);
        return false;
      }
    }
    const key = threadKey(coachId, conversationId);
    const thread = this.#threads.get(key);
    if (thread) {
      this.#readers.get(thread)?.abort();
      this.#readers.delete(thread);
    }
    this.#threads.delete(key);
    const list = this.#list(coachId);
    list.conversations = list.conversations.filter((each) => each.conversationId !== conversationId);
    this.#emit("conversations");
    this.#tabs.tell({ coachId, conversationId });
    return true;
  }

  /** Runs one attempt of the thread's turn to its end, whatever that is. @param {Thread} thread */
  async #read(thread) {
    const reader = new AbortController();
    const { signal } = reader;
    this.#readers.set(thread, reader);
    this.#changed(thread);
    try {
      await this.#stream(thread, signal);
    } catch (error) {
      // Who aborted has already said what becomes of the turn.
      if (!signal.aborted && thread.turn) thread.turn = failTurn(thread.turn, Failure.from(error));
    }
    if (signal.aborted) return;
    reader.abort();
    this.#readers.delete(thread);
    const turn = thread.turn;
    if (turn?.failure?.code === "TURN_IN_PROGRESS" && turn.mayBeRunning) {
      // Our own earlier attempt is the one in progress: its reply will be in the store.
      thread.turn = awaitTurn(turn);
      void this.#lookForReply(thread);
    }
    this.#changed(thread);
  }

  /** @param {Thread} thread @param {AbortSignal} signal */
  async #stream(thread, signal) {
    const { coachId } = thread;
    const conversationId = thread.conversationId ?? (await this.#create(thread));
    const turn = thread.turn;
    if (signal.aborted || !turn || turn.clientMessageId === null) return;
    this.#amend(coachId, conversationId, { lastActivity: turn.writtenAt });
    const { text, clientMessageId, writtenAt } = turn;
    const request = { coachId, conversationId, text, clientMessageId, writtenAt, signal };
    for await (const event of replyEvents(await this.#api.streamReply(request))) {
      if (signal.aborted || !thread.turn) return;
      thread.turn = afterEvent(thread.turn, event);
      if (event.type === "complete") {
        thread.completeTurn(event.userMessage, event.reply);
        this.#amend(coachId, conversationId, { lastActivity: event.reply.timestamp });
        this.#tabs.tell({ coachId, conversationId });
      } else {
        this.#changed(thread);
      }
    }
  }

  /** The first message makes the conversation, so that none is ever empty. @param {Thread} thread */
  async #create(thread) {
    const { coachId } = thread;
    const conversation = await this.#api.createConversation(coachId, titleFrom(thread.turn?.text ?? ""));
    const { conversationId } = conversation;
    thread.conversationId = conversationId;
    this.#threads.delete(threadKey(coachId, null));
    this.#threads.set(threadKey(coachId, conversationId), thread);
    const list = this.#list(coachId);
    list.conversations = [conversation, ...list.conversations.filter((each) => each.conversationId !== conversationId)];
    if (this.thread === thread) this.#emit("created");
    this.#emit("conversations");
    return conversationId;
  }

  /** @param {Thread} thread */
  async #refresh(thread) {
    if (thread.conversationId === null) return;
    try {
      const { messages } = await this.#api.getConversation(thread.coachId, thread.conversationId);
      if (this.#readers.has(thread)) return; // a stream that began meanwhile knows better
      thread.adoptStored(messages);
      if (thread.turn?.phase === "awaiting") void this.#lookForReply(thread);
    } catch (error) {
      // What is on view stays there; only a thread that shows nothing has to say why.
      if (thread.status !== "ready") {
        thread.status = "failed";
        thread.failure = Failure.from(error);
      }
    }
    this.#changed(thread);
  }

  /** Looks into the store until the reply of an awaited turn is there. @param {Thread} thread */
  async #lookForReply(thread) {
    const { turn, coachId, conversationId } = thread;
    if (!turn || conversationId === null) return;
    const reader = new AbortController();
    this.#readers.get(thread)?.abort();
    this.#readers.set(thread, reader);
    for (let look = 0; look < LOOKS; look += 1) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_AFTER_MS));
      if (reader.signal.aborted) return;
      try {
        const { messages } = await this.#api.getConversation(coachId, conversationId);
        if (reader.signal.aborted) return;
        thread.adoptStored(messages);
      } catch {
        continue; // the next look may have more luck
      }
      if (thread.turn?.phase !== "awaiting") break;
    }
    this.#readers.delete(thread);
    if (thread.turn?.phase === "awaiting") {
      thread.turn = failTurn(thread.turn, Failure.unanswered(thread.turn.clientMessageId !== null));
    }
    this.#changed(thread);
  }

  /** @param {string} coachId */
  async #refreshList(coachId) {
    const list = this.#list(coachId);
    this.#lists.set(coachId, list);
    try {
      list.conversations = await this.#api.listConversations(coachId);
      list.status = "ready";
      list.failure = null;
    } catch (error) {
      if (list.status !== "ready") {
        list.status = "failed";
        list.failure = Failure.from(error);
      }
    }
    sortByActivity(list.conversations);
    this.#emit("conversations");
  }

  /** @param {string} coachId @returns {ConversationList} */
  #list(coachId) {
    return this.#lists.get(coachId) ?? { status: "loading", failure: null, conversations: [] };
  }

  /**
   * @param {string} coachId
   * @param {string} conversationId
   * @param {Partial<Conversation>} changes
   */
  #amend(coachId, conversationId, changes) {
    const conversation = this.#list(coachId).conversations.find((each) => each.conversationId === conversationId);
    if (conversation) Object.assign(conversation, changes);
    sortByActivity(this.#list(coachId).conversations);
    this.#emit("conversations");
  }

  /** @param {Thread} thread */
  #changed(thread) {
    if (thread === this.thread) this.#emit("thread");
    if (thread.turn?.phase !== "streaming") this.#emit("conversations");
  }

  /** @param {unknown} error */
  #notice(error) {
    this.dispatchEvent(new CustomEvent("notice", { detail: Failure.from(error) }));
  }

  /** @param {"opened"|"created"|"conversations"|"thread"} type */
  #emit(type) {
    this.dispatchEvent(new Event(type));
  }
}

/** @param {string} coachId @param {string|null} conversationId */
function threadKey(coachId, conversationId) {
  return JSON.stringify([coachId, conversationId]);
}

/** @param {Conversation[]} conversations */
function sortByActivity(conversations) {
  conversations.sort((a, b) => b.lastActivity.getTime() - a.lastActivity.getTime());
}

/** A conversation is called by the beginning of its first message. @param {string} text */
function titleFrom(text) {
  const line = text.trim().replace(/\s+/g, " ");
  const characters = Array.from(line);
  if (characters.length <= TITLE_CHARACTERS) return line;
  const start = characters.slice(0, TITLE_CHARACTERS).join("");
  const wordEnd = start.lastIndexOf(" ");
  return `${start.slice(0, wordEnd > TITLE_CHARACTERS / 2 ? wordEnd : undefined)}\u2026`;
}
