/**
 * One bubble: what was said, how it is coming along, and what to do when it is not.
 *
 * @import {Entry} from "../thread.js"
 */
import { seconds, timeOfDay } from "../times.js";
import { element, icon } from "./dom.js";
import { RichText } from "./rich-text.js";

/** What stands in a reply's place until its first word is there. @type {Record<string, string>} */
const WAITING = { sending: "Sending", thinking: "Thinking", awaiting: "Waiting for the reply" };

/**
 * @typedef {object} Actions
 * @property {() => void} retry
 * @property {() => void} catchUp
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
    const body = element("div", { class: "message-text" });
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
    // A long conversation is shown anew with every chunk of its last reply; all else in it is as it was.
    if (this.#shown && isSame(this.#shown, entry)) return;
    this.#shown = entry;
    const hasText = entry.content !== "";
    this.node.dataset.phase = entry.phase;
    this.node.toggleAttribute("data-interrupted", entry.interrupted);
    this.node.setAttribute("aria-busy", String(entry.phase === "streaming"));
    if (this.#text) this.#text.show(entry.content);
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
    const { phase, interrupted, failure, canRetry, timings, model } = entry;
    const foot = JSON.stringify([phase, interrupted, failure?.sentence, canRetry, timings?.firstWord, model]);
    if (foot === this.#lastFoot) return;
    this.#lastFoot = foot;
    this.#foot.replaceChildren(...this.#footParts(entry));
  }

  /** @param {Entry} entry @returns {Node[]} */
  #footParts({ phase, role, failure, canRetry, interrupted, timings, model, timestamp }) {
    switch (phase) {
      case "stored": {
        const time = element("time", { datetime: timestamp.toISOString() }, timeOfDay(timestamp));
        if (role === "user") return [smallPrint(time)];
        const parts = interrupted ? [element("span", { class: "interrupted" }, "Interrupted")] : [];
        if (timings) parts.push(...timingParts(timings));
        return [smallPrint(...parts, model ? element("span", {}, model) : null, time)];
      }
      case "streaming":
        return [smallPrint(...timingParts(timings, { running: true }))];
      case "awaiting":
        return canRetry ? [this.#button("retry", "Ask again", this.#actions.retry)] : [];
      case "stopped":
        return [
          element("p", { class: "note" }, "You stopped here. Your coach goes on writing, and the reply is saved."),
          this.#button("down", "Show the whole reply", this.#actions.catchUp),
        ];
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

  /** @param {string} iconName @param {string} label @param {() => void} action */
  #button(iconName, label, action) {
    return element("button", { class: "button button-small", type: "button", click: action }, icon(iconName), label);
  }
}

/** @param {Entry} one @param {Entry} other */
function isSame(one, other) {
  const keys = /** @type {(keyof Entry)[]} */ (Object.keys(one));
  return keys.every((key) => one[key] === other[key]);
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
