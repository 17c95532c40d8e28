/**
 * The conversation on view: its bubbles under the days they were written on, or an invitation to begin.
 *
 * @import {Chat} from "../chat.js"
 * @import {Entry} from "../thread.js"
 */
import { dayName } from "../times.js";
import { avatar } from "./avatar.js";
import { byId, element, icon } from "./dom.js";
import { MessageView } from "./message-view.js";
import { welcome } from "./welcome.js";

export class ThreadView {
  #chat;
  #container = byId("thread", HTMLElement);
  /** @type {Map<string, MessageView>} */
  #messages = new Map();
  /** @type {Map<string, HTMLElement>} */
  #days = new Map();
  #frame = 0;

  /** @param {Chat} chat */
  constructor(chat) {
    this.#chat = chat;
    chat.addEventListener("opened", () => this.#startOver());
    chat.addEventListener("thread", () => this.#showSoon());
  }

  #startOver() {
    this.#messages.clear();
    this.#days.clear();
    this.#container.replaceChildren();
    this.#show();
  }

  /** Many chunks may come within one frame; they are drawn once. A page that is hidden draws no frames. */
  #showSoon() {
    if (this.#chat.thread.turn?.phase !== "streaming" || document.hidden) {
      this.#show();
    } else if (this.#frame === 0) {
      this.#frame = requestAnimationFrame(() => this.#show());
    }
  }

  #show() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { thread } = this.#chat;
    this.#container.dataset.status = thread.isEmpty ? "empty" : thread.status;
    if (thread.status === "loading") this.#showInstead("loading", loading);
    else if (thread.status === "failed") this.#showInstead("failed", () => this.#failed());
    else if (thread.isEmpty) this.#showInstead("empty", () => welcome(this.#chat));
    else this.#showEntries(thread.entries());
  }

  /** @param {string} what @param {() => HTMLElement} build */
  #showInstead(what, build) {
    const shown = this.#container.firstElementChild;
    if (shown instanceof HTMLElement && shown.dataset.instead === what) return;
    this.#messages.clear();
    this.#days.clear();
    const node = build();
    node.dataset.instead = what;
    this.#container.replaceChildren(node);
  }

  /** @param {Entry[]} entries */
  #showEntries(entries) {
    /** @type {HTMLElement[]} */
    const nodes = [];
    const keys = new Set();
    let day = "";
    for (const entry of entries) {
      if (dayName(entry.timestamp) !== day) {
        day = dayName(entry.timestamp);
        nodes.push(this.#dayNode(day));
      }
      const view = this.#messages.get(entry.key) ?? this.#newMessage(entry);
      view.show(entry);
      keys.add(entry.key);
      nodes.push(view.node);
    }
    for (const key of this.#messages.keys()) if (!keys.has(key)) this.#messages.delete(key);
    // Nodes that stay are not touched: moving one would lose its focus and start its entrance again.
    const wanted = new Set(nodes);
    for (const child of [...this.#container.children]) {
      if (!(child instanceof HTMLElement) || !wanted.has(child)) child.remove();
    }
    nodes.forEach((node, index) => {
      const there = this.#container.children[index];
      if (there !== node) this.#container.insertBefore(node, there ?? null);
    });
  }

  /** @param {Entry} entry */
  #newMessage(entry) {
    const { coach, coaches } = this.#chat;
    const speaker =
      entry.role === "user"
        ? { name: "You", sign: null }
        : { name: coach.name, sign: avatar(coach.name, coaches.indexOf(coach)) };
    const view = new MessageView(entry.role, speaker, { retry: () => this.#chat.retry() });
    this.#messages.set(entry.key, view);
    return view;
  }

  /** @param {string} day */
  #dayNode(day) {
    const node = this.#days.get(day) ?? element("h2", { class: "day" }, element("span", {}, day));
    this.#days.set(day, node);
    return node;
  }

  #failed() {
    const { failure } = this.#chat.thread;
    const isGone = failure?.code === "CONVERSATION_NOT_FOUND" || failure?.code === "http_404";
    return element(
      "div",
      { class: "instead" },
      element("p", { class: "problem", role: "alert" }, icon("alert"), element("span", {}, failure?.sentence ?? "")),
      isGone
        ? null
        : element(
            "button",
            { class: "button", type: "button", click: () => void this.#chat.refresh() },
            icon("retry"),
            "Try again",
          ),
    );
  }
}

function loading() {
  const bars = ["user", "assistant", "user", "assistant"].map((role) =>
    element("div", { class: `skeleton skeleton-${role}` }),
  );
  return element(
    "div",
    { class: "instead-loading", role: "status" },
    element("span", { class: "visually-hidden" }, "Loading the conversation\u2026"),
    ...bars,
  );
}
