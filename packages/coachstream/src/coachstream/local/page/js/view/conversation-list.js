/**
 * The conversations with the coach on view, by the time of their last message.
 *
 * Arrow keys, Home and End move through it, F2 renames and Delete deletes (after asking).
 *
 * @import {Chat} from "../chat.js"
 * @import {Conversation} from "../types.js"
 */
import { hashFor } from "../route.js";
import { periodOf } from "../times.js";
import { isOfInputMethod } from "./composition.js";
import { confirmDelete } from "./delete-dialog.js";
import { byId, element, icon } from "./dom.js";

const MAX_TITLE_CHARACTERS = 200;

export class ConversationList {
  #chat;
  #container = byId("conversations", HTMLElement);
  /** Id of the conversation whose title is being edited. @type {string|null} */
  #renaming = null;
  #lastShown = "";
  #onChosen;
  #onRemoved;

  /**
   * @param {Chat} chat
   * @param {{onChosen: () => void, onRemoved: () => void}} options `onRemoved`: the one on view was deleted
   */
  constructor(chat, { onChosen, onRemoved }) {
    this.#chat = chat;
    this.#onChosen = onChosen;
    this.#onRemoved = onRemoved;
    this.#container.addEventListener("keydown", (event) => this.#keyPressed(event));
    chat.addEventListener("opened", () => this.#show());
    chat.addEventListener("created", () => this.#show());
    chat.addEventListener("conversations", () => this.#show());
  }

  #show() {
    if (this.#renaming !== null) return;
    const { list, thread } = this.#chat;
    const rows = list.conversations.map((each) => ({
      conversation: each,
      period: periodOf(each.lastActivity),
      isOpen: each.conversationId === thread.conversationId,
      isReplying: this.#chat.isReplying(each),
    }));
    // Most changes of a conversation do not show here; then the nodes stay, and with them the focus.
    const shown = JSON.stringify([thread.coachId, list.status, rows]);
    if (shown === this.#lastShown) return;
    this.#lastShown = shown;

    const focused = this.#focusedId();
    this.#container.replaceChildren();
    if (rows.length === 0) this.#container.append(this.#nothing());
    let group = element("ul");
    let period = "";
    for (const row of rows) {
      if (row.period !== period) {
        period = row.period;
        const id = `period-${period.toLowerCase().replaceAll(" ", "-")}`;
        group = element("ul", { class: "conversation-list", "aria-labelledby": id });
        this.#container.append(element("h2", { class: "label", id }, period), group);
      }
      group.append(this.#row(row.conversation, row.isOpen, row.isReplying));
    }
    if (focused !== null) this.#link(focused)?.focus();
  }

  #nothing() {
    const { status, failure } = this.#chat.list;
    if (status === "loading") return element("p", { class: "list-note" }, "Loading\u2026");
    if (status === "ready") return element("p", { class: "list-note" }, "Your conversations will be listed here.");
    const retry = element(
      "button",
      { class: "button button-small", type: "button", click: () => void this.#chat.refresh() },
      icon("retry"),
      "Try again",
    );
    return element("div", { class: "list-note" }, element("p", {}, failure?.sentence ?? ""), retry);
  }

  /** @param {Conversation} conversation @param {boolean} isOpen @param {boolean} isReplying */
  #row(conversation, isOpen, isReplying) {
    const { coachId, conversationId, title } = conversation;
    const link = element(
      "a",
      {
        class: "conversation",
        href: hashFor(coachId, conversationId),
        title,
        "aria-current": isOpen ? "page" : null,
        "data-conversation": conversationId,
        click: this.#onChosen,
      },
      element("span", { class: "conversation-title", dir: "auto" }, title),
      isReplying ? element("span", { class: "replying" }, element("span", { class: "visually-hidden" }, " (replying)")) : null,
    );
    return element(
      "li",
      { class: "conversation-row", "data-open": isOpen },
      link,
      element(
        "span",
        { class: "conversation-actions" },
        this.#action("rename", `Rename \u201c${title}\u201d`, () => this.#rename(conversation)),
        this.#action("delete", `Delete \u201c${title}\u201d`, () => void this.#remove(conversation)),
      ),
    );
  }

  /** @param {string} iconName @param {string} label @param {() => void} action */
  #action(iconName, label, action) {
    return element(
      "button",
      { class: "icon-button icon-button-small", type: "button", "aria-label": label, title: label, click: action },
      icon(iconName),
    );
  }

  /** @param {Conversation} conversation */
  #rename(conversation) {
    const link = this.#link(conversation.conversationId);
    const row = link?.closest("li");
    if (!link || !row || this.#renaming !== null) return;
    this.#renaming = conversation.conversationId;
    const input = element("input", {
      class: "rename",
      type: "text",
      dir: "auto",
      "aria-label": "Title of the conversation",
      maxlength: String(MAX_TITLE_CHARACTERS),
    });
    input.value = conversation.title;
    const finish = (/** @type {boolean} */ keep, /** @type {boolean} */ refocus) => {
      if (this.#renaming === null) return;
      this.#renaming = null;
      this.#lastShown = "";
      const title = input.value.trim();
      if (keep && title !== "" && title !== conversation.title) void this.#chat.rename(conversation, title);
      this.#show();
      if (refocus) this.#link(conversation.conversationId)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      if (isOfInputMethod(event)) return;
      event.preventDefault();
      event.stopPropagation();
      finish(event.key === "Enter", true);
    });
    input.addEventListener("blur", () => finish(true, false));
    row.replaceChildren(input);
    input.focus();
    input.select();
  }

  /** @param {Conversation} conversation */
  async #remove(conversation) {
    const { conversationId, title } = conversation;
    const links = this.#links();
    const at = links.findIndex((link) => link.dataset.conversation === conversationId);
    const neighbour = (links[at + 1] ?? links[at - 1])?.dataset.conversation;
    const wasOpen = this.#chat.thread.conversationId === conversationId;
    if (!(await confirmDelete(title)) || !(await this.#chat.remove(conversation))) {
      // The button that was pressed is only there while the mouse is.
      this.#link(conversationId)?.focus();
      return;
    }
    ((neighbour && this.#link(neighbour)) || byId("new-conversation", HTMLAnchorElement)).focus();
    if (wasOpen) this.#onRemoved();
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    const link = event.target;
    if (!(link instanceof HTMLAnchorElement)) return;
    const links = this.#links();
    const at = links.indexOf(link);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    const conversation = this.#chat.list.conversations.find(
      (each) => each.conversationId === link.dataset.conversation,
    );
    if (next !== undefined) links.at(Math.max(0, Math.min(next, links.length - 1)))?.focus();
    else if (event.key === "F2" && conversation) this.#rename(conversation);
    else if (event.key === "Delete" && conversation) void this.#remove(conversation);
    else return;
    event.preventDefault();
  }

  #links() {
    return [...this.#container.querySelectorAll("a")];
  }

  /** @param {string} conversationId */
  #link(conversationId) {
    return this.#links().find((link) => link.dataset.conversation === conversationId);
  }

  #focusedId() {
    const { activeElement } = document;
    if (!activeElement || !this.#container.contains(activeElement)) return null;
    return activeElement.closest("li")?.querySelector("a")?.dataset.conversation ?? null;
  }
}
