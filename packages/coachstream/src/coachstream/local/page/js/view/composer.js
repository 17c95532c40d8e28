/**
 * Where a message is written. A draft belongs to its conversation, and survives a reload. So does a message that was
 * sent, until the server is known to have it: what cannot be sent comes back into the box. A message that is sent while
 * the page or its conversation still loads waits in the box until that is done.
 *
 * @import {Chat, Returned} from "../chat.js"
 * @import {Thread} from "../thread.js"
 *
 * @typedef {{clientMessageId: string, text: string}} Unsent
 */
import { recall, remember } from "../remembered.js";
import { isBusy } from "../turn.js";
import { isOfInputMethod } from "./composition.js";
import { byId } from "./dom.js";

/** The server's limit, in code points; see the request contract. */
const MAX_CHARACTERS = 32_000;
const COUNT_FROM = 30_000;

export class Composer {
  #chat;
  #form = byId("composer", HTMLFormElement);
  #input = byId("message", HTMLTextAreaElement);
  #button = byId("send", HTMLButtonElement);
  #queueButton = byId("queue", HTMLButtonElement);
  #count = byId("composer-count", HTMLElement);
  #draftName = "";
  /** The messages that were sent and may not have arrived. @type {Unsent[]} */
  #unsent = [];
  #tooLong = false;
  #lengthText = "";
  /** A keyboard on a screen has no Shift+Enter: its Return has to start a new line. */
  #touch = matchMedia("(hover: none) and (pointer: coarse)");
  /** Whether the text is to be sent once the conversation is loaded. */
  #waits = false;
  /** What was typed before there was a conversation. @type {string|null} */
  #early;
  #onSent;

  /** @param {Chat} chat @param {{userId: string, onSent: () => void}} options */
  constructor(chat, { userId, onSent }) {
    this.#chat = chat;
    this.#onSent = onSent;
    this.userId = userId;
    this.#early = this.#input.value || takeEarly();
    this.#waits = "waits" in this.#form.dataset;
    this.#form.dataset.live = "";
    this.#form.addEventListener("submit", (event) => this.#submitted(event));
    const hint = () => this.#input.setAttribute("enterkeyhint", this.#touch.matches ? "enter" : "send");
    this.#touch.addEventListener("change", hint);
    hint();
    this.#input.addEventListener("keydown", (event) => this.#keyPressed(event));
    this.#input.addEventListener("input", () => {
      this.#waits = false;
      if (this.#early === null) remember(this.#draftName, this.#input.value || null);
      else this.#early = this.#input.value;
      this.#show();
    });
    this.#queueButton.addEventListener("click", () => {
      this.#send();
      this.focus();
    });
    chat.addEventListener("returned", (event) => this.#returned(/** @type {CustomEvent<Returned>} */ (event).detail));
    chat.addEventListener("opened", () => this.#opened());
    chat.addEventListener("begun", (event) => this.#begun(/** @type {CustomEvent<Thread>} */ (event).detail));
    chat.addEventListener("thread", () => {
      this.#settleUnsent();
      this.#showState();
      this.#sendWaiting();
    });
  }

  focus() {
    this.#input.focus();
  }

  /** What was written before a conversation had an id is its own, on view or not. @param {Thread} thread */
  #begun(thread) {
    const before = this.#nameOfDraft({ coachId: thread.coachId, conversationId: null });
    const now = this.#nameOfDraft(thread);
    for (const [from, to] of [[before, now], [nameOfUnsent(before), nameOfUnsent(now)]]) {
      remember(to, recall(from));
      remember(from, null);
    }
    if (this.#chat.thread === thread) this.#draftName = now;
  }

  #opened() {
    this.#draftName = this.#nameOfDraft(this.#chat.thread);
    const draft = recall(this.#draftName) ?? "";
    this.#input.value = draft;
    if (this.#early) {
      this.#input.value = draft === "" ? this.#early : `${draft}\n\n${this.#early}`;
      remember(this.#draftName, this.#input.value);
    }
    // Nobody has seen yet what an earlier draft would add to the message.
    this.#waits &&= this.#early !== null && draft === "";
    this.#early = null;
    this.#unsent = recallUnsent(this.#draftName);
    this.#settleUnsent();
    this.#show();
    this.#sendWaiting();
  }

  /** Gives back what cannot be sent, and forgets what has arrived. */
  #settleUnsent() {
    if (this.#unsent.length === 0 || this.#chat.thread.status !== "ready") return;
    const outcomes = this.#unsent.map((unsent) => this.#outcomeOf(unsent));
    if (outcomes.every((outcome) => outcome === "unknown")) return;
    const unsent = this.#unsent;
    this.#rememberUnsent(unsent.filter((_, index) => outcomes[index] === "unknown"));
    const lost = unsent.filter((_, index) => outcomes[index] === "lost");
    // Each is put before what is in the box.
    for (const { text } of lost.reverse()) this.#giveBack(text);
  }

  /** @param {Unsent} unsent @returns {"unknown"|"arrived"|"lost"} */
  #outcomeOf({ clientMessageId }) {
    const { turn, queue, messages } = this.#chat.thread;
    if (turn !== null && turn.clientMessageId === clientMessageId) {
      if (turn.isStored) return "arrived";
      return turn.phase === "failed" && turn.failure?.retryable === false ? "lost" : "unknown";
    }
    const waiting = queue.find(({ key }) => key === clientMessageId);
    if (waiting) return waiting.runId === null ? "unknown" : "arrived";
    const message = messages.find((each) => each.clientMessageId === clientMessageId);
    if (!message) return "lost";
    // The page keeps one that was given up on view until it next looks at the store.
    return message.id === "" ? "unknown" : "arrived";
  }

  /** Puts a text into its conversation's draft, on view or not; it does not come back a second time. @param {Returned} returned */
  #returned({ thread, text, clientMessageId }) {
    const isOther = (/** @type {Unsent} */ unsent) => unsent.clientMessageId !== clientMessageId;
    if (thread === this.#chat.thread) {
      this.#rememberUnsent(this.#unsent.filter(isOther));
      this.#giveBack(text);
      this.focus();
    } else {
      const name = this.#nameOfDraft(thread);
      rememberUnsent(name, recallUnsent(name).filter(isOther));
      remember(name, withText(recall(name) ?? "", text));
    }
  }

  /** @param {string} text */
  #giveBack(text) {
    this.#input.value = withText(this.#input.value, text);
    remember(this.#draftName, this.#input.value);
    this.#show();
  }

  /** @param {Unsent[]} unsent */
  #rememberUnsent(unsent) {
    this.#unsent = unsent;
    rememberUnsent(this.#draftName, unsent);
  }

  /** @param {{coachId: string, conversationId: string|null}} thread */
  #nameOfDraft({ coachId, conversationId }) {
    return `draft.${JSON.stringify([this.userId, coachId, conversationId])}`;
  }

  /** @param {SubmitEvent} event */
  #submitted(event) {
    event.preventDefault();
    if (isBusy(this.#chat.thread.turn)) {
      this.#chat.stop();
      this.focus();
    } else {
      this.#send();
    }
  }

  /** Sends what was to be sent as soon as possible, if that is now. */
  #sendWaiting() {
    if (!this.#waits || this.#isLoading) return;
    this.#waits = false;
    if (this.#chat.thread.status === "ready") this.#send();
    else this.#showState();
  }

  get #isLoading() {
    return this.#early !== null || this.#chat.thread.status === "loading";
  }

  #send() {
    const text = this.#input.value;
    if (this.#isLoading && text.trim() !== "") {
      this.#waits = true;
      this.#showState();
      return;
    }
    const clientMessageId = this.#tooLong ? null : this.#chat.send(text);
    if (clientMessageId === null) return;
    this.#rememberUnsent([...this.#unsent, { clientMessageId, text }]);
    this.#input.value = "";
    remember(this.#draftName, null);
    this.#show();
    this.#onSent();
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    if (event.key !== "Enter" || event.shiftKey || isOfInputMethod(event)) return;
    if (this.#touch.matches && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#send();
  }

  #length() {
    return Array.from(this.#input.value).length;
  }

  /** What depends on the text. */
  #show() {
    this.#input.placeholder = `Message ${this.#chat.coach.name}`;
    const length = this.#length();
    this.#tooLong = length > MAX_CHARACTERS;
    this.#input.setAttribute("aria-invalid", String(this.#tooLong));
    const count = `${length.toLocaleString()} of ${MAX_CHARACTERS.toLocaleString()} characters`;
    this.#lengthText = length < COUNT_FROM ? "" : this.#tooLong ? `${count}: too long to send` : count;
    this.#showState();
    // Measured last: the buttons next to it take their width from it.
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
  }

  /** What depends on the conversation; with each chunk of a reply, so it measures nothing. */
  #showState() {
    const { thread } = this.#chat;
    const busy = isBusy(thread.turn);
    const isStopping = busy && thread.turn?.isStopping === true;
    const nothingToSend = this.#tooLong || this.#input.value.trim() === "";
    this.#form.dataset.busy = String(busy);
    const label = isStopping ? "Stopping" : busy ? "Stop" : this.#waits ? "Waiting to send" : "Send";
    this.#button.setAttribute("aria-label", label);
    this.#button.querySelector("use")?.setAttribute("href", busy ? "#icon-stop" : "#icon-send");
    const said = this.#waits ? "Will be sent once the conversation is loaded" : this.#lengthText;
    if (this.#count.textContent !== said) this.#count.textContent = said;
    const canSend = thread.status !== "failed" && !nothingToSend && !this.#waits;
    this.#button.disabled = busy ? isStopping : !canSend;
    this.#queueButton.hidden = !busy || !canSend;
  }
}

/** A draft with a text in front of it. @param {string} draft @param {string} text */
function withText(draft, text) {
  return draft.trim() === "" || draft === text ? text : `${text}\n\n${draft}`;
}

/** @param {string} draftName */
function nameOfUnsent(draftName) {
  return `unsent.${draftName}`;
}

/** What was typed in a page that could not start. */
function takeEarly() {
  try {
    const early = sessionStorage.getItem("coachstream.early") ?? "";
    sessionStorage.removeItem("coachstream.early");
    return early;
  } catch {
    return "";
  }
}

/** @param {string} draftName @param {Unsent[]} unsent */
function rememberUnsent(draftName, unsent) {
  remember(nameOfUnsent(draftName), unsent.length === 0 ? null : JSON.stringify(unsent));
}

/** @param {string} draftName @returns {Unsent[]} */
function recallUnsent(draftName) {
  try {
    const remembered = JSON.parse(recall(nameOfUnsent(draftName)) ?? "[]");
    const isUnsent = (/** @type {any} */ each) => typeof each?.clientMessageId === "string" && typeof each.text === "string";
    return Array.isArray(remembered) ? remembered.filter(isUnsent) : [];
  } catch {
    return [];
  }
}
