/**
 * One bubble: the text, its progress, and the actions after a failure.
 *
 * @import {Entry} from "../thread.js"
 */
import { seconds, timeOfDay } from "../times.js";
import { copyWith } from "./copy-button.js";
import { byId, element, icon } from "./dom.js";
import { editForm } from "./edit-form.js";
import { RichText } from "./rich-text.js";
import { versionControls } from "./version-controls.js";

/** The stop reasons of replies that can go on. */
const CAN_GO_ON = new Set(["stopped", "max_tokens"]);

/** What stands in a reply's place until its first word is there. @type {Record<string, string>} */
const WAITING = {
  sending: "Sending",
  queued: "Waiting for other replies",
  thinking: "Thinking",
  awaiting: "Waiting for the reply",
};
/** What is said of a reply that did not simply end, by its stop reason. @type {Record<string, string>} */
const REMARKS = {
  interrupted: "Interrupted",
  stopped: "Stopped",
  content_filtered: "Ended by the content filter",
  max_tokens: "Cut off at the length limit",
  guardrail_warning: "Flagged by the safety check: treat with caution",
};

/**
 * @typedef {object} Actions
 * @property {() => void} retry
 * @property {(key: string) => void} withdraw
 * @property {(key: string) => void} requeue
 * @property {(id: string) => void} regenerate
 * @property {(id: string) => void} continueReply
 * @property {(id: string, text: string) => void} edit
 * @property {(id: string) => void} showVersions
 * @property {(step: 1|-1) => void} stepVersion
 * @property {() => void} hideVersions
 * @property {() => void} chooseVersion
 */

export class MessageView {
  #text;
  #waiting;
  #foot;
  #actions;
  /** @type {Entry|null} */
  #shown = null;
  #lastFoot = "";

  /**
   * @param {"user"|"assistant"} role
   * @param {{name: string, sign: Node|null}} speaker
   * @param {Actions} actions
   */
  constructor(role, { name, sign }, actions) {
    this.#actions = actions;
    // The blocks of a reply have a direction each.
    const body = element("div", { class: "message-text", dir: role === "user" ? "auto" : null });
    this.#text = role === "assistant" ? new RichText(body) : null;
    this.#waiting = element("p", { class: "waiting", hidden: true });
    this.#foot = element("div", { class: "message-foot" });
    this.body = body;
    this.bubble = element(
      "div",
      { class: "bubble" },
      element("span", { class: "visually-hidden" }, `${name}: `),
      body,
      this.#waiting,
    );
    this.node = element(
      "article",
      { class: `message message-${role}` },
      sign,
      element("div", { class: "message-column" }, this.bubble, this.#foot),
    );
  }

  /** @param {Entry} entry */
  show(entry) {
    // Every chunk of the last reply re-renders the conversation; the other messages are unchanged.
    if (this.#shown === entry || (this.#shown && isSame(this.#shown, entry))) return;
    this.#shown = entry;
    const hasText = entry.content !== "";
    this.node.dataset.phase = entry.phase;
    this.node.toggleAttribute("data-incomplete", REMARKS[entry.stopReason ?? ""] !== undefined);
    this.node.setAttribute("aria-busy", String(entry.phase === "streaming"));
    if (this.#text) this.#text.show(entry.content, { grows: entry.phase === "streaming" });
    else if (this.body.textContent !== entry.content) this.body.textContent = entry.content;
    this.body.hidden = !hasText;

    const waiting = WAITING[entry.phase];
    this.#waiting.hidden = waiting === undefined;
    if (waiting !== undefined && this.#waiting.dataset.phase !== entry.phase) {
      this.#waiting.dataset.phase = entry.phase;
      const lanes = element("span", { class: "lanes", "aria-hidden": "true" }, ...[0, 1, 2].map(() => element("i")));
      this.#waiting.replaceChildren(lanes, `${waiting}\u2026`);
    }
    this.bubble.hidden = !hasText && waiting === undefined;
    this.#showFoot(entry);
  }

  /** @param {Entry} entry */
  #showFoot(entry) {
    // The foot holds buttons, and one that has the focus must not be replaced while text streams in.
    const { phase, stopReason, failure, canRetry, isStopping, isReconnecting, timings, notices, matches, model } = entry;
    const controls = [entry.position, entry.isWithdrawing, entry.isLast, entry.versions, entry.version, entry.isChosen, entry.id];
    const stage = [phase, ...controls, stopReason, failure?.sentence, canRetry, isStopping, isReconnecting, notices, matches];
    const foot = JSON.stringify([...stage, timings?.firstWord, model]);
    if (foot === this.#lastFoot) return;
    this.#lastFoot = foot;
    const said = notices.map((notice) => element("p", { class: "notice", role: "status" }, notice));
    const focused = this.#foot.contains(document.activeElement) ? document.activeElement : null;
    const name = focused?.getAttribute("data-action");
    this.#foot.replaceChildren(...said, ...this.#footParts(entry));
    if (focused) this.#focusAgain(name ?? "");
  }

  /** What had the focus was replaced. @param {string} action */
  #focusAgain(action) {
    const button = this.#foot.querySelector(`button[data-action="${action}"]:not(:disabled)`);
    if (button instanceof HTMLElement) return button.focus({ preventScroll: true });
    this.node.tabIndex = -1;
    this.node.focus({ preventScroll: true });
  }

  /** @param {Entry} entry @returns {Node[]} */
  #footParts(entry) {
    const { phase, role, failure, canRetry, isStopping, isReconnecting, stopReason, timings, model, timestamp } = entry;
    switch (phase) {
      case "stored": {
        const time = element("time", { datetime: timestamp.toISOString() }, timeOfDay(timestamp));
        if (role === "user") {
          const edit = entry.isLast && entry.isChosen ? [this.#iconButton("rename", "Edit message", () => this.#edit(entry))] : [];
          return [this.#copyButton(), ...edit, smallPrint(time)];
        }
        const mark = REMARKS[stopReason ?? ""];
        const parts = mark ? [element("span", { class: "incomplete", "data-stop-reason": stopReason ?? "" }, mark)] : [];
        if (timings) parts.push(...timingParts(timings));
        if (entry.matches > 0) parts.push(element("span", {}, drewOn(entry.matches)));
        const print = smallPrint(...parts, model ? element("span", {}, model) : null, time);
        return [print, this.#copyButton(), ...this.#tries(entry), ...versionControls(entry, this.#actions)];
      }
      case "waiting":
        return this.#waitingParts(entry);
      case "sending":
      case "awaiting":
      case "queued":
      case "thinking":
      case "streaming": {
        const parts = timings ? timingParts(timings, { running: true }) : [];
        if (isStopping) parts.push(element("span", {}, "stopping\u2026"));
        if (isReconnecting) parts.push(element("span", { class: "reconnecting", role: "status" }, "reconnecting\u2026"));
        return parts.length > 0 ? [smallPrint(...parts)] : [];
      }
      case "failed":
        return [
          element(
            "p",
            { class: "problem", role: "alert" },
            icon("alert"),
            element("span", {}, failure?.sentence ?? ""),
          ),
          ...(canRetry ? [this.#button("retry", "Try again", this.#actions.retry)] : []),
        ];
      default:
        return [];
    }
  }

  /** @param {Entry} entry @returns {Node[]} */
  #waitingParts({ id, position, isWithdrawing, failure, canRetry }) {
    if (failure !== null) {
      return [
        element("p", { class: "problem", role: "alert" }, icon("alert"), element("span", {}, failure.sentence)),
        ...(canRetry ? [this.#button("retry", "Try again", () => this.#actions.requeue(id))] : []),
        this.#button("close", "Withdraw", () => this.#actions.withdraw(id)),
      ];
    }
    const said = isWithdrawing ? "withdrawing\u2026" : `queued, position ${position}`;
    const withdraw = this.#button("close", "Withdraw", () => this.#actions.withdraw(id));
    withdraw.disabled = isWithdrawing;
    return [smallPrint(element("span", { class: "queued" }, said)), withdraw];
  }

  /** How a reply can be tried again. @param {Entry} entry @returns {Node[]} */
  #tries({ id, isLast, isChosen, stopReason }) {
    if (!isLast || !isChosen) return [];
    const regenerate = this.#iconButton("retry", "Regenerate", () => this.#actions.regenerate(id));
    const goOn = this.#button("continue", "Continue", () => this.#actions.continueReply(id));
    return CAN_GO_ON.has(stopReason ?? "") ? [regenerate, goOn] : [regenerate];
  }

  /** @param {Entry} entry */
  #edit({ id, content }) {
    const form = editForm(content, (text) => {
      form.remove();
      delete this.node.dataset.editing;
      if (text === null) return this.#focusAgain("Edit message");
      this.#actions.edit(id, text);
      byId("message", HTMLTextAreaElement).focus();
    });
    this.node.dataset.editing = "";
    this.bubble.before(form);
    form.querySelector("textarea")?.focus();
  }

  /** @param {string} iconName @param {string} label @param {() => void} click */
  #iconButton(iconName, label, click) {
    const attributes = { class: "icon-button icon-button-small", type: "button", "aria-label": label, title: label };
    return element("button", { ...attributes, "data-action": label, click }, icon(iconName));
  }

  #copyButton() {
    const copy = (/** @type {Event} */ { currentTarget }) => {
      if (currentTarget instanceof Element) void copyWith(currentTarget, this.#shown?.content ?? "");
    };
    const label = "Copy message";
    return element(
      "button",
      {
        class: "icon-button icon-button-small copy-message",
        type: "button",
        "aria-label": label,
        title: label,
        "data-action": label,
        click: copy,
      },
      icon("copy"),
    );
  }

  /** @param {string} iconName @param {string} label @param {() => void} action */
  #button(iconName, label, action) {
    const attributes = { class: "button button-small", type: "button", "data-action": label, click: action };
    return element("button", attributes, icon(iconName), label);
  }
}

/** @param {Entry} one @param {Entry} other */
function isSame(one, other) {
  const keys = /** @type {(keyof Entry)[]} */ (Object.keys(one));
  return keys.every((key) => one[key] === other[key]);
}

/** @param {number} matches */
function drewOn(matches) {
  return `drew on ${matches} earlier ${matches === 1 ? "record" : "records"}`;
}

/** @param {...(Node|null)} parts */
function smallPrint(...parts) {
  return element("p", { class: "small-print" }, ...parts);
}

/**
 * @param {{firstWord: number|null, total: number}|null} timings
 * @param {{running?: boolean}} [options]
 */
function timingParts(timings, { running = false } = {}) {
  if (!timings) return [];
  const parts = [];
  if (timings.firstWord !== null) parts.push(element("span", {}, `first word ${seconds(timings.firstWord)}`));
  if (!running) parts.push(element("span", {}, `total ${seconds(timings.total)}`));
  return parts;
}
