/**
 * Searches the conversations with the coach on view; what is found takes the place of their list.
 *
 * @import {Chat} from "../chat.js"
 * @import {Api} from "../api.js"
 * @import {Found} from "../search.js"
 */
import { Failure } from "../failure.js";
import { hashFor } from "../route.js";
import { MOST_FOUND, MOST_SEARCHED, Search } from "../search.js";
import { dayName } from "../times.js";
import { byId, element } from "./dom.js";

/** Typing pauses for this long before a search begins. */
const PAUSE_MS = 200;

export class SearchBox {
  #chat;
  #search;
  #onChosen;
  #input = byId("search", HTMLInputElement);
  #list = byId("conversations", HTMLElement);
  #results = byId("found", HTMLElement);
  #status = byId("found-status", HTMLElement);
  #controller = new AbortController();
  /** What of `#searchable` was searched; empty if nothing was. */
  #searched = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {Chat} chat @param {Api} api @param {{onChosen: () => void}} options */
  constructor(chat, api, { onChosen }) {
    this.#chat = chat;
    this.#search = new Search(api);
    this.#onChosen = onChosen;
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#run(), PAUSE_MS);
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.#input.value === "") return;
      event.preventDefault();
      this.#input.value = "";
      void this.#run();
    });
    for (const event of ["opened", "conversations"]) {
      chat.addEventListener(event, () => {
        if (this.#searched !== "" && this.#searched !== this.#searchable) void this.#run();
      });
    }
    // What was typed while this was being loaded.
    if (this.#input.value !== "") void this.#run();
  }

  /** The conversations that can be searched: those with the coach on view, as soon as they are loaded. */
  get #searchable() {
    return JSON.stringify([this.#chat.thread.coachId, this.#chat.list.status]);
  }

  async #run() {
    this.#controller.abort();
    const { signal } = (this.#controller = new AbortController());
    const words = this.#input.value.trim();
    this.#searched = words === "" ? "" : this.#searchable;
    this.#list.hidden = words !== "";
    this.#results.hidden = words === "";
    this.#results.replaceChildren();
    this.#status.textContent = words === "" ? "" : "Searching\u2026";
    if (words === "") return;
    let count = 0;
    try {
      for await (const found of this.#search.find([...this.#chat.list.conversations], words, signal)) {
        if (signal.aborted) return;
        count += 1;
        this.#results.append(this.#result(found));
        if (count === MOST_FOUND) break;
      }
      const said = count === 0 ? "Nothing found." : count < MOST_FOUND ? `${count} found.` : `The newest ${count} found.`;
      const isPart = count < MOST_FOUND && this.#chat.list.conversations.length > MOST_SEARCHED;
      const where = isPart ? ` Only the messages of the latest ${MOST_SEARCHED} conversations were searched.` : "";
      if (!signal.aborted) this.#status.textContent = said + where;
    } catch (error) {
      if (!signal.aborted) this.#status.textContent = Failure.from(error).sentence;
    }
  }

  /** @param {Found} found */
  #result({ conversation, message, excerpt: [before, words, after] }) {
    const { coachId, conversationId, title } = conversation;
    const where = message === null ? "Conversation" : `${title} \u00b7 ${dayName(message.timestamp)}`;
    const link = element(
      "a",
      {
        class: "found",
        href: hashFor(coachId, conversationId),
        click: (/** @type {MouseEvent} */ event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          this.#onChosen();
          location.hash = hashFor(coachId, conversationId);
          void this.#chat.reveal(coachId, conversationId, message?.id ?? null);
        },
      },
      element("span", { class: "found-where", dir: "auto" }, where),
      element("span", { class: "found-excerpt", dir: "auto" }, before, element("mark", {}, words), after),
    );
    return element("li", {}, link);
  }
}
