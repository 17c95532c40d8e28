/**
 * The conversation on view: its bubbles under the days they were written on, or an invitation to begin.
 *
 * @import {Chat} from "../chat.js"
 * @import {Entry} from "../thread.js"
 */
import { hashFor } from "../route.js";
import { dayName } from "../times.js";
import { avatar } from "./avatar.js";
import { byId, element, icon } from "./dom.js";
import { MessageView } from "./message-view.js";
import { Stretches } from "./stretches.js";
import { welcome } from "./welcome.js";

/** How far from the beginning of what is loaded the messages before it are fetched: a few screens. */
const OLDER_AHEAD_PX = 1500;

export class ThreadView {
  #chat;
  #main = byId("main", HTMLElement);
  #container = byId("thread", HTMLElement);
  #stretches = new Stretches(this.#container);
  #scroller;
  #nearBeginning;
  /** @type {Map<string, MessageView>} */
  #messages = new Map();
  /** @type {Map<string, HTMLElement>} */
  #days = new Map();
  #frame = 0;
  /** What is shown, in order. @type {HTMLElement[]} */
  #nodes = [];
  /** Key of the first message that is shown. */
  #firstKey = "";
  /** Comes into view shortly before the beginning of what is loaded. */
  #older = element("div", { class: "older", role: "status" }, "Loading earlier messages\u2026");

  /** @param {Chat} chat */
  constructor(chat) {
    this.#chat = chat;
    const scroller = byId("scroller", HTMLElement);
    this.#nearBeginning = new IntersectionObserver(
      (seen) => {
        if (seen.some(({ isIntersecting }) => isIntersecting)) void chat.loadOlder();
      },
      { root: scroller, rootMargin: `${OLDER_AHEAD_PX}px 0px 0px` },
    );
    this.#scroller = scroller;
    chat.addEventListener("opened", () => this.#startOver());
    chat.addEventListener("thread", () => this.#showSoon());
    chat.addEventListener("revealed", (event) => this.#reveal(/** @type {CustomEvent<string>} */ (event).detail));
  }

  #startOver() {
    this.#messages.clear();
    this.#days.clear();
    this.#nodes = [];
    this.#firstKey = "";
    this.#container.replaceChildren();
    this.#show();
  }

  /** @param {string} key of a message */
  #reveal(key) {
    const node = this.#messages.get(key)?.node;
    if (!node) return;
    node.tabIndex = -1;
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "center" });
    // What has come into view is now as high as it really is.
    requestAnimationFrame(() => node.scrollIntoView({ block: "center" }));
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
    const status = thread.isEmpty ? "empty" : thread.status;
    this.#container.dataset.status = status;
    this.#main.dataset.status = status;
    if (thread.status === "loading") this.#showInstead("loading", loading);
    else if (thread.status === "failed") this.#showInstead("failed", () => this.#failed());
    else if (thread.isEmpty) this.#showInstead("empty", () => welcome(this.#chat));
    else this.#keepingPlace(() => this.#showEntries(thread.entries()));
  }

  /** An observer reports changes; the beginning may be in view before and after one. */
  #watchBeginning() {
    this.#nearBeginning.disconnect();
    this.#nearBeginning.observe(this.#older);
  }

  /** Shows earlier messages above the others without moving these. @param {() => void} show */
  #keepingPlace(show) {
    const first = this.#messages.get(this.#firstKey)?.node;
    const firstKey = this.#chat.thread.messages[0]?.viewKey ?? "";
    if (!first || firstKey === this.#firstKey) {
      this.#firstKey = firstKey;
      if (!first) this.#watchBeginning();
      show();
      return;
    }
    this.#firstKey = firstKey;
    this.#watchBeginning();
    const before = first.getBoundingClientRect().top;
    show();
    // Browsers with scroll anchoring may have done this, but do not at the very top.
    const moved = first.getBoundingClientRect().top - before;
    if (first.isConnected && moved !== 0) this.#scroller.scrollTop += moved;
  }

  /** @param {string} what @param {() => HTMLElement} build */
  #showInstead(what, build) {
    const shown = this.#container.firstElementChild;
    if (shown instanceof HTMLElement && shown.dataset.instead === what) return;
    this.#messages.clear();
    this.#days.clear();
    this.#nodes = [];
    this.#firstKey = "";
    const node = build();
    node.dataset.instead = what;
    this.#container.replaceChildren(node);
  }

  /** @param {Entry[]} entries */
  #showEntries(entries) {
    /** @type {HTMLElement[]} */
    const nodes = [];
    const first = this.#chat.thread.hasOlder ? [this.#older] : [];
    const keys = new Set();
    let day = "";
    for (const entry of entries) {
      const itsDay = dayName(entry.timestamp);
      if (itsDay !== day) {
        day = itsDay;
        nodes.push(this.#dayNode(day));
      }
      const view = this.#messages.get(entry.key) ?? this.#newMessage(entry);
      view.show(entry);
      keys.add(entry.key);
      nodes.push(view.node);
    }
    const all = [...first, ...nodes];
    if (all.length === this.#nodes.length && all.every((node, index) => node === this.#nodes[index])) return;
    this.#nodes = all;
    for (const key of this.#messages.keys()) if (!keys.has(key)) this.#messages.delete(key);
    this.#stretches.show(first, nodes);
  }

  /** @param {Entry} entry */
  #newMessage(entry) {
    const { coach, coaches } = this.#chat;
    const speaker =
      entry.role === "user"
        ? { name: "You", sign: null }
        : { name: coach.name, sign: avatar(coach.name, coaches.indexOf(coach)) };
    const view = new MessageView(entry.role, speaker, {
      retry: () => this.#chat.retry(),
      withdraw: (key) => void this.#chat.withdraw(key),
      requeue: (key) => void this.#chat.requeue(key),
      regenerate: (id) => this.#chat.regenerate(id),
      continueReply: (id) => this.#chat.continueReply(id),
      edit: (id, text) => this.#chat.edit(id, text),
      showVersions: (id) => void this.#chat.showVersions(id),
      stepVersion: (step) => this.#chat.stepVersion(step),
      hideVersions: () => this.#chat.hideVersions(),
      chooseVersion: () => void this.#chat.chooseVersion(),
    });
    // What is loaded is there at once; only what happens now arrives.
    view.node.toggleAttribute("data-arrives", this.#nodes.length > 0 && this.#chat.thread.turn !== null);
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
    const { coach, coaches } = this.#chat;
    const other = coaches.includes(coach) ? coach : coaches[0];
    return element(
      "div",
      { class: "instead" },
      element("p", { class: "problem", role: "alert" }, icon("alert"), element("span", {}, failure?.sentence ?? "")),
      failure?.isGone || coach !== other
        ? element("a", { class: "button", href: hashFor(other.coachId) }, element("span", {}, "Begin with ", element("bdi", {}, other.name)))
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
