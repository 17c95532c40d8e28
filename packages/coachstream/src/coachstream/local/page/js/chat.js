/**
 * The state of the page, and everything a person can do to it. Views call its methods and listen to its events:
 *
 * - `opened`: another conversation, or another coach, is on view
 * - `begun`: a conversation was yet to begin, and now has an id, on view or not (`detail` is its `Thread`)
 * - `created`: likewise, on view
 * - `conversations`: the list of the coach on view has changed
 * - `thread`: the conversation on view has changed
 * - `revealed`: a message is to be in view (`detail` is its `viewKey`)
 * - `returned`: a message is not in its conversation after all, on view or not (`detail` is a `Returned`)
 * - `notice`: something outside a conversation failed (`detail` is a `Failure`)
 *
 * Each conversation has its own thread and its own stream, so leaving one in mid-reply mixes nothing up.
 *
 * @import {Api} from "./api.js"
 * @import {Reply} from "./coachstream.js"
 * @import {Coach, Conversation} from "./types.js"
 * @import {OtherTabs} from "./other-tabs.js"
 */
import { join, newClientMessageId, resume, ServiceError, start } from "./coachstream.js";
import { forgetAttempt, recallAttempt, rememberAttempt } from "./attempts.js";
import { Failure } from "./failure.js";
import { forgetMeasured, keepMeasured } from "./measured.js";
import { MessageQueue } from "./message-queue.js";
import { Thread } from "./thread.js";
import { afterEvent, beginAttempt, beginTurn, failTurn, isBusy, mayArrive, retryTurn, stopTurn } from "./turn.js";
import { DEFAULT_TITLE, matchesIn, messageFrom } from "./wire.js";

const TITLE_CHARACTERS = 48;
/** When to look for the title that is written after the first exchange; a model takes a second or two. */
const TITLE_AFTER_MS = [100, 900, 2_000, 5_000];

/**
 * @typedef {object} Reading One attempt to read a turn's reply.
 * @property {AbortController} controller Ends it.
 * @property {Reply|null} reply Once it has been requested.
 *
 * @typedef {{thread: Thread, text: string, clientMessageId: string|null}} Returned
 *
 * @typedef {object} ConversationList
 * @property {"loading"|"ready"|"failed"} status
 * @property {Failure|null} failure
 * @property {Conversation[]} conversations the latest activity first
 */

export class Chat extends EventTarget {
  #api;
  #tabs;
  #queue;
  /** @type {Map<string, Thread>} */
  #threads = new Map();
  /** @type {Map<string, ConversationList>} by coach */
  #lists = new Map();
  /** @type {Map<Thread, Reading>} */
  #readings = new Map();
  /** @type {Map<Thread, Promise<void>>} */
  #loadingOlder = new Map();
  /** Requests and changes so far: one that is older than what is shown is no news. */
  #moments = 0;
  /** The moment of what is shown. @type {WeakMap<Thread|ConversationList, number>} */
  #shownAt = new WeakMap();
  /** What conversations are called until they have a title. @type {Map<string, string>} by id */
  #provisionalTitles = new Map();

  /** @param {Api} api @param {OtherTabs} tabs */
  constructor(api, tabs) {
    super();
    this.#api = api;
    this.#tabs = tabs;
    this.coaches = api.session.coaches;
    this.#queue = new MessageQueue(api, {
      onChanged: (thread) => {
        this.#changed(thread);
        this.#next(thread);
      },
      onStored: (thread) => {
        this.#changesNow(thread);
        tabs.tell({ coachId: thread.coachId, conversationId: thread.conversationId });
      },
      onWithdrawn: (thread, { text, clientMessageId }) => this.#return(thread, text, clientMessageId),
      onFailed: (error) => this.#notice(error),
    });
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

  /** Whether the person has this coach. @param {string} coachId */
  isKnown(coachId) {
    return this.coaches.some((each) => each.coachId === coachId);
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
  isReplying({ coachId, conversationId }) {
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
    if (!this.isKnown(coachId)) {
      thread.status = "failed";
      thread.failure = Failure.unknownCoach();
      this.#emit("opened");
      return;
    }
    if (conversationId !== null && thread.messages.length === 0 && !thread.turn) thread.status = "loading";
    this.#emit("opened");
    await Promise.all([
      this.#lists.has(coachId) ? null : this.#refreshList(coachId),
      conversationId === null || this.#readings.has(thread) ? null : this.#refresh(thread),
    ]);
  }

  /** The conversation that the user most likely wants to continue. @param {string} coachId */
  async latestConversation(coachId) {
    if (!this.#lists.has(coachId)) await this.#refreshList(coachId);
    return this.#list(coachId).conversations[0]?.conversationId ?? null;
  }

  /** Looks at the store again: after the page was away, and when something could not be loaded. */
  async refresh() {
    const { thread } = this;
    if (!this.isKnown(thread.coachId)) return;
    await Promise.all([
      this.#refreshList(thread.coachId),
      thread.conversationId === null || this.#readings.has(thread) ? null : this.#refresh(thread),
    ]);
  }

  /** Fetches the messages before those of the conversation on view, if there are any. */
  async loadOlder() {
    const { thread } = this;
    let loading = this.#loadingOlder.get(thread);
    if (!loading) {
      loading = this.#loadOlder(thread).finally(() => this.#loadingOlder.delete(thread));
      this.#loadingOlder.set(thread, loading);
    }
    await loading;
  }

  /** @param {Thread} thread */
  async #loadOlder(thread) {
    const { coachId, conversationId } = thread;
    const before = thread.messages[0]?.id;
    if (conversationId === null || !before || !thread.hasOlder) return;
    try {
      const { messages, hasMore } = await this.#api.getMessages(coachId, conversationId, { before });
      // Meanwhile the thread may have been loaded again from its end.
      if (thread.messages[0]?.id === before) thread.prependStored(messages, hasMore);
    } catch (error) {
      this.#notice(error);
    }
    this.#changed(thread);
  }

  /**
   * Puts a conversation on view, and a message of it in the middle, however long ago it was written.
   *
   * @param {string} coachId
   * @param {string} conversationId
   * @param {string|null} messageId
   */
  async reveal(coachId, conversationId, messageId) {
    if (this.thread.conversationId !== conversationId) await this.open(coachId, conversationId);
    const { thread } = this;
    if (thread.conversationId !== conversationId) return; // another one was chosen meanwhile
    const find = () => thread.messages.find(({ id }) => id === messageId);
    for (let loaded = -1; this.thread === thread && messageId !== null && !find() && thread.messages.length !== loaded; ) {
      loaded = thread.messages.length;
      await this.loadOlder();
    }
    const message = find();
    if (message && this.thread === thread) this.dispatchEvent(new CustomEvent("revealed", { detail: message.viewKey }));
  }

  /**
   * Sends a message in the conversation on view. During a reply, it is answered afterwards.
   * @param {string} text
   * @returns {string|null} its idempotency key; `null`, and nothing happens, when there is no text
   */
  send(text) {
    const { thread } = this;
    if (text.trim() === "" || thread.status !== "ready") return null;
    if (isBusy(thread.turn) || thread.queue.length > 0) {
      const queued = this.#queue.add(thread, text);
      this.#changed(thread);
      return queued;
    }
    const clientMessageId = newClientMessageId();
    thread.versions = null;
    thread.leaveTurnBehind();
    thread.forgetOlder();
    thread.turn = beginTurn(text, clientMessageId);
    void this.#ask(thread);
    return clientMessageId;
  }

  /** Takes back a message that waits, and its text to the message box. @param {string} key */
  async withdraw(key) {
    await this.#queue.withdraw(this.thread, key);
  }

  /** Sends a message again that was not taken into the queue. @param {string} key */
  async requeue(key) {
    await this.#queue.retry(this.thread, key);
  }

  /** Asks again for the reply that did not come, with the same message id: nothing is stored twice. */
  retry() {
    const { thread } = this;
    const { turn } = thread;
    if (!turn || turn.clientMessageId === null || isBusy(turn)) return;
    thread.turn = retryTurn(turn);
    void this.#ask(thread);
  }

  /** Asks for another reply to the last message. @param {string} replyId of the one there is */
  regenerate(replyId) {
    this.#tryAgain("regenerate", (exchange) => exchange.reply.id === replyId);
  }

  /** Goes on with a reply that was cut off. @param {string} replyId */
  continueReply(replyId) {
    this.#tryAgain("continue", (exchange) => exchange.reply.id === replyId);
  }

  /** Puts another text in the place of the last message, and asks for its reply. @param {string} id @param {string} text */
  edit(id, text) {
    if (text.trim() === "" || this.#tryAgain("replaces", ({ question }) => question.id === id, text)) return;
    this.#notice(Failure.notTheLast());
    this.#return(this.thread, text, null);
  }

  /**
   * @param {import("./turn.js").Attempt["kind"]} kind
   * @param {(exchange: NonNullable<Thread["lastExchange"]>) => boolean} isMeant
   * @param {string} [text]
   * @returns {boolean} whether the exchange that is meant is the last one
   */
  #tryAgain(kind, isMeant, text) {
    const { thread } = this;
    const { lastExchange } = thread;
    if (!lastExchange || !isMeant(lastExchange)) return false;
    thread.versions = null;
    thread.turn = beginAttempt(kind, lastExchange, newClientMessageId(), text ?? lastExchange.question.content);
    void this.#attempt(thread, thread.turn);
    return true;
  }

  /** Looks at the versions of an exchange. @param {string} replyId of the one that is chosen */
  async showVersions(replyId) {
    const { thread } = this;
    try {
      const versions = await this.#api.getVersions(thread.coachId, thread.conversationId ?? "", replyId);
      const index = versions.findIndex(({ isChosen }) => isChosen);
      if (index >= 0) thread.versions = { replyId, versions, index };
    } catch (error) {
      this.#notice(error);
    }
    this.#changed(thread);
  }

  /** Looks at the version after the one on view, or before it. @param {1|-1} step */
  stepVersion(step) {
    const { versions } = this.thread;
    if (!versions?.versions[versions.index + step]) return;
    this.thread.versions = { ...versions, index: versions.index + step };
    this.#changed(this.thread);
  }

  /** Looks at what is chosen again. */
  hideVersions() {
    this.thread.versions = null;
    this.#changed(this.thread);
  }

  /** Puts the version on view in the place of the last exchange. */
  async chooseVersion() {
    const { thread } = this;
    const { coachId, conversationId, versions } = thread;
    const reply = versions?.versions[versions.index].reply;
    if (!versions || !reply || conversationId === null) return;
    try {
      const after = await this.#api.chooseVersion(coachId, conversationId, versions.replyId, reply.id);
      const chosen = after.find(({ isChosen }) => isChosen);
      if (chosen?.reply && thread.lastExchange?.reply.id === versions.replyId) {
        thread.replaceLast(chosen.question, chosen.reply);
        this.#changesNow(thread);
      }
      this.#tabs.tell({ coachId, conversationId });
    } catch (error) {
      // The conversation may have gone on elsewhere, or the version be chosen nevertheless.
      thread.versions = null;
      void this.#refresh(thread);
      this.#notice(error);
    }
    this.#changed(thread);
  }

  /**
   * Stops the reply on view, even one requested by another client. Its text so far is kept and becomes the reply.
   * @returns {boolean} false, and nothing happens, when none is on its way
   */
  stop() {
    const { thread } = this;
    const reading = this.#readings.get(thread);
    if (!thread.turn || !isBusy(thread.turn) || !reading) return false;
    if (thread.turn.isStopping) return true;
    thread.turn = stopTurn(thread.turn, true);
    if (isUnsent(thread, reading)) this.#abort(thread, Failure.stoppedUnsent());
    else if (reading.reply) void this.#stop(thread, reading.reply);
    this.#changed(thread);
    return true;
  }

  /** @param {Conversation} conversation @param {string} title */
  async rename(conversation, title) {
    const { coachId, conversationId } = conversation;
    const previous = conversation.title;
    this.#provisionalTitles.delete(conversationId);
    this.#amend(coachId, conversationId, { title });
    try {
      await this.#api.renameConversation(coachId, conversationId, title);
      // The list may have been loaded again before the service had the new title.
      this.#changesNow(this.#list(coachId));
      this.#amend(coachId, conversationId, { title });
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
    if (thread) this.#abort(thread);
    this.#threads.delete(key);
    this.#provisionalTitles.delete(conversationId);
    const list = this.#list(coachId);
    this.#changesNow(list);
    list.conversations = list.conversations.filter((each) => each.conversationId !== conversationId);
    this.#emit("conversations");
    this.#tabs.tell({ coachId, conversationId });
    return true;
  }

  /** Forgets everything that was on this page: the user has deleted it. The page then begins again. */
  async startOver() {
    const { coachId } = this.thread;
    for (const thread of [...this.#readings.keys()]) this.#abort(thread);
    this.#threads.clear();
    this.#lists.clear();
    this.#provisionalTitles.clear();
    forgetMeasured();
    for (const coach of this.coaches) this.#tabs.tell({ coachId: coach.coachId, conversationId: null });
    await this.open(coachId, null);
  }

  /** Sends the message of the thread's turn, and reads the reply. @param {Thread} thread */
  async #ask(thread) {
    const { coachId } = thread;
    await this.#read(thread, async (signal) => {
      const conversationId = thread.conversationId ?? (await this.#create(thread));
      const { turn } = thread;
      if (!turn || turn.clientMessageId === null) return null;
      if (turn.isStopping) throw Failure.stoppedUnsent();
      this.#amend(coachId, conversationId, { lastActivity: turn.writtenAt });
      const { text: message, clientMessageId, writtenAt } = turn;
      const replies = this.#api.replies(coachId, conversationId);
      return start({ ...replies, message, clientMessageId, writtenAt, policy: "enqueue", signal });
    });
    this.#tabs.tell({ coachId, conversationId: thread.conversationId });
  }

  /** Reads what comes of another try. @param {Thread} thread @param {import("./turn.js").Turn} turn */
  async #attempt(thread, turn) {
    const { coachId, conversationId } = thread;
    const { attempt, clientMessageId, text: message, writtenAt } = turn;
    if (conversationId === null || attempt === null || clientMessageId === null) return;
    const { kind, questionId, replyId } = attempt;
    const what = kind === "replaces" ? { replaces: questionId, message } : { [kind]: replyId };
    rememberAttempt(thread, turn);
    await this.#read(thread, async (signal) =>
      start({ ...this.#api.replies(coachId, conversationId), ...what, clientMessageId, writtenAt, signal }),
    );
    forgetAttempt(thread);
    this.#tabs.tell({ coachId, conversationId });
  }

  /** Reads on what a page has begun that was reloaded, or another tab. @param {Thread} thread */
  #resumeAttempt(thread) {
    const { lastExchange } = thread;
    const known = recallAttempt(thread);
    if (known === null || !lastExchange || this.#readings.has(thread)) return;
    if (lastExchange.reply.id !== known.replyId) return void forgetAttempt(thread);
    thread.turn = beginAttempt(known.kind, lastExchange, known.clientMessageId, known.text);
    void this.#attempt(thread, thread.turn);
  }

  /** The exchange is as it was. @param {Thread} thread @param {import("./turn.js").Turn} turn @param {unknown} error */
  #giveUpAttempt(thread, { attempt, isStopping, text, reply }, error) {
    thread.turn = null;
    if (!isStopping) this.#notice(Failure.from(error, { midReply: reply !== "" }));
    if (attempt?.kind === "replaces") this.#return(thread, text, null);
  }

  /** Reads the reply that another client has requested, if it is being written. @param {Thread} thread */
  async #watch(thread) {
    const { coachId, conversationId } = thread;
    if (conversationId === null) return;
    await this.#read(thread, async (signal) => join({ ...this.#api.replies(coachId, conversationId), signal }));
  }

  /** @param {Thread} thread @param {import("./turn.js").Turn} turn */
  #forgetWithdrawn(thread, turn) {
    thread.turn = null;
    // Elsewhere, the person has the text where it was withdrawn.
    if (turn.isStopping) this.#return(thread, turn.text, turn.clientMessageId);
  }

  /** Begins the turn of the next message that waits, if it is its turn. @param {Thread} thread */
  #next(thread) {
    const { coachId, conversationId, turn, queue } = thread;
    if (queue.length === 0 || this.#readings.has(thread) || isBusy(turn) || this.#queue.isSending(thread)) return;
    // Without a connection the next one would fail, too; and what was refused for now would be overtaken.
    if (turn !== null && (mayArrive(turn) || !(turn.failure?.cause instanceof ServiceError))) return;
    if (queue[0].isWithdrawing || queue[0].failure !== null) return;
    const runId = thread.takeQueued();
    if (runId === null || conversationId === null) void this.#ask(thread);
    else void this.#read(thread, async (signal) => resume({ ...this.#api.replies(coachId, conversationId), runId, signal }));
  }

  /**
   * Reads the reply of the thread's turn to its end, whatever that is.
   *
   * @param {Thread} thread
   * @param {(signal: AbortSignal) => Promise<Reply|null>} request
   */
  async #read(thread, request) {
    this.#abort(thread);
    const controller = new AbortController();
    const { signal } = controller;
    /** @type {Reading} */
    const reading = { controller, reply: null };
    this.#readings.set(thread, reading);
    this.#changed(thread);
    try {
      reading.reply = await request(signal);
      signal.throwIfAborted();
      if (reading.reply) await this.#show(thread, reading, reading.reply);
      // A reply that is no longer read may still be stored.
      if (isBusy(thread.turn)) await this.#load(thread, signal);
      if (thread.turn && isBusy(thread.turn)) throw Failure.unanswered(thread.turn.clientMessageId !== null);
    } catch (error) {
      // The code that aborted it has already updated the turn.
      if (signal.aborted) return;
      const { turn } = thread;
      // A repeated failure is not news; a different reason is.
      if (turn && isWithdrawn(error)) this.#forgetWithdrawn(thread, turn);
      else if (turn?.attempt) this.#giveUpAttempt(thread, turn, error);
      else if (turn && isBusy(turn)) thread.turn = failTurn(turn, Failure.from(error, { midReply: turn.reply !== "" }));
    }
    this.#readings.delete(thread);
    this.#changed(thread);
    this.#next(thread);
    // Another device may have said something since this page last looked.
    if (thread.turn === null) void this.#refresh(thread);
  }

  /** @param {Thread} thread @param {Reading} reading @param {Reply} reply */
  async #show(thread, reading, reply) {
    const { coachId } = thread;
    const conversationId = thread.conversationId ?? "";
    for await (const event of reply) {
      if (!thread.turn) return;
      thread.turn = afterEvent(thread.turn, event);
      if (event.type === "complete") {
        const { timings, notices } = thread.turn;
        const id = String(event.aiMessage?.id ?? "");
        keepMeasured(id, { timings, notices, matches: matchesIn(event.pineconeContext) });
        const stored = messageFrom(event.aiMessage);
        thread.completeTurn(messageFrom(event.userMessage), stored);
        this.#changesNow(thread);
        this.#amend(coachId, conversationId, { lastActivity: stored.timestamp });
        void this.#awaitTitle(coachId, conversationId);
        return;
      }
      if (thread.turn.isStopping && isUnsent(thread, reading)) throw Failure.stoppedUnsent();
      // The message is stored now, and its reply can be watched from other tabs.
      if (event.type === "run" && thread.turn.sentAt !== null) this.#tabs.tell({ coachId, conversationId });
      if (event.type === "run") void this.#queue.send(thread);
      this.#changed(thread);
    }
  }

  /** @param {Thread} thread @param {Reply} reply */
  async #stop(thread, reply) {
    try {
      await reply.stop();
    } catch (error) {
      // A reply that is over needs no stop.
      if (this.#readings.get(thread)?.reply !== reply || !thread.turn) return;
      thread.turn = stopTurn(thread.turn, false);
      this.#changed(thread);
      this.#notice(error);
    }
  }

  /**
   * Ends the reading of a thread, if there is one, and its turn with it where it is said why.
   *
   * @param {Thread} thread
   * @param {Failure} [failure]
   */
  #abort(thread, failure) {
    const reading = this.#readings.get(thread);
    this.#readings.delete(thread);
    if (failure && thread.turn) thread.turn = failTurn(thread.turn, failure);
    reading?.controller.abort(new DOMException("The reply is no longer read.", "AbortError"));
  }

  /** The first message makes the conversation, so that none is ever empty. @param {Thread} thread */
  async #create(thread) {
    const { coachId } = thread;
    const title = titleFrom(thread.turn?.text ?? "");
    const conversation = await this.#api.createConversation(coachId, this.#api.session.getsTitles ? null : title);
    const { conversationId } = conversation;
    this.#provisionalTitles.set(conversationId, title);
    this.#nameProvisionally(conversation);
    thread.conversationId = conversationId;
    this.#threads.delete(threadKey(coachId, null));
    this.#threads.set(threadKey(coachId, conversationId), thread);
    const list = this.#list(coachId);
    this.#changesNow(list);
    list.conversations = [conversation, ...list.conversations.filter((each) => each.conversationId !== conversationId)];
    this.dispatchEvent(new CustomEvent("begun", { detail: thread }));
    if (this.thread === thread) this.#emit("created");
    this.#emit("conversations");
    return conversationId;
  }

  /** @param {Conversation} conversation as it is stored */
  #nameProvisionally(conversation) {
    const { conversationId, title } = conversation;
    if (title !== DEFAULT_TITLE) this.#provisionalTitles.delete(conversationId);
    else conversation.title = this.#provisionalTitles.get(conversationId) ?? title;
  }

  /** Looks for the title of a conversation that has none yet. @param {string} coachId @param {string} conversationId */
  async #awaitTitle(coachId, conversationId) {
    for (const delay of TITLE_AFTER_MS) {
      if (!this.#provisionalTitles.has(conversationId)) return;
      await new Promise((resolve) => setTimeout(resolve, delay));
      await this.#refreshList(coachId);
    }
  }

  /** Shows what is stored, and what is being written. @param {Thread} thread */
  async #refresh(thread) {
    if (thread.conversationId === null) return;
    try {
      await this.#load(thread);
    } catch (error) {
      const failure = Failure.from(error);
      const isGone = failure.isGone && !this.#readings.has(thread);
      if (isGone) thread.clear();
      // Otherwise content on view stays; only an empty thread shows the failure.
      if (isGone || thread.status !== "ready") {
        thread.status = "failed";
        thread.failure = failure;
      }
    }
    this.#changed(thread);
    if (thread.endsWithTurn && !this.#readings.has(thread)) void this.#watch(thread);
    this.#resumeAttempt(thread);
    this.#next(thread);
  }

  /** @param {Thread} thread @param {AbortSignal} [signal] of the reading that wants to know */
  async #load(thread, signal) {
    const asked = ++this.#moments;
    const { messages, hasMore, queued } = await this.#api.getMessages(thread.coachId, thread.conversationId ?? "");
    // A reading that began meanwhile has newer data, apart from what waits behind it.
    const isReading = signal ? signal.aborted : this.#readings.has(thread);
    if (!this.#isNews(thread, asked)) return;
    if (isReading) thread.adoptQueue(messages, queued);
    else thread.adoptStored(messages, hasMore, queued);
  }

  /** Whether what was requested then is newer than what is shown, which it then replaces. @param {Thread|ConversationList} shown @param {number} asked */
  #isNews(shown, asked) {
    if (asked < (this.#shownAt.get(shown) ?? 0)) return false;
    this.#shownAt.set(shown, asked);
    return true;
  }

  /** The page knows more than all requests until now. @param {Thread|ConversationList} shown */
  #changesNow(shown) {
    this.#shownAt.set(shown, ++this.#moments);
  }

  /** @param {string} coachId */
  async #refreshList(coachId) {
    const list = this.#list(coachId);
    this.#lists.set(coachId, list);
    const asked = ++this.#moments;
    try {
      const conversations = await this.#api.listConversations(coachId);
      if (!this.#isNews(list, asked)) {
        // It may lack what changed here meanwhile, and the list on view what changed elsewhere.
        await this.#refreshList(coachId);
        return;
      }
      conversations.forEach((each) => this.#nameProvisionally(each));
      list.conversations = conversations;
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

  /** @param {Thread} thread @param {string} text @param {string|null} clientMessageId */
  #return(thread, text, clientMessageId) {
    this.dispatchEvent(new CustomEvent("returned", { detail: { thread, text, clientMessageId } }));
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

/**
 * Whether there is no connection, and has been no sign that the message has arrived.
 *
 * @param {Thread} thread
 * @param {Reading} reading
 */
function isUnsent({ turn }, { reply }) {
  return turn !== null && turn.sentAt !== null && turn.isReconnecting && reply !== null && reply.runId === null;
}

/** Whether a message was taken back. @param {unknown} error */
function isWithdrawn(error) {
  return error instanceof ServiceError && error.code === "MESSAGE_WITHDRAWN";
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
