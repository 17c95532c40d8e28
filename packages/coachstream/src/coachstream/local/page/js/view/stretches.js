/**
 * Puts the messages of a conversation into stretches of a few dozen. A browser skips a stretch that is far from view as
 * a whole; thousands of messages, each skipped by itself, cost more than a frame's time with every change.
 */
import { element } from "./dom.js";

const MOST_MESSAGES = 40;

export class Stretches {
  #container;
  /** The stretch that a message is in. @type {WeakMap<HTMLElement, HTMLElement>} */
  #of = new WeakMap();

  /** @param {HTMLElement} container */
  constructor(container) {
    this.#container = container;
  }

  /**
   * Shows these nodes in this order. Those that stay are not touched: moving one would lose its focus and start its
   * entrance again.
   *
   * @param {readonly HTMLElement[]} first what stands before all stretches
   * @param {readonly HTMLElement[]} nodes messages, and headings, which stay with the message behind them
   */
  show(first, nodes) {
    /** @type {Map<HTMLElement, HTMLElement[]>} */
    const content = new Map();
    /** @type {HTMLElement|null} */
    let current = null;
    /** @type {HTMLElement[]} */
    let headings = [];
    nodes.forEach((node, index) => {
      if (!node.matches(".message")) return void headings.push(node);
      const own = this.#of.get(node);
      // A stretch is one piece: a message that has moved away from its own joins another one.
      if (own && (own === current || !content.has(own))) current = own;
      else if (!current || (isFull(content.get(current)) && this.#nextOf(nodes, index) !== current)) current = newStretch();
      this.#of.set(node, current);
      const members = content.get(current) ?? [];
      members.push(...headings, node);
      content.set(current, members);
      headings = [];
    });
    for (const [stretch, members] of content) {
      stretch.style.setProperty("--messages", String(members.length));
      arrange(stretch, members);
    }
    arrange(this.#container, [...first, ...content.keys()]);
  }

  /** The stretch of the next message that is in one. @param {readonly HTMLElement[]} nodes @param {number} index */
  #nextOf(nodes, index) {
    const next = nodes.slice(index + 1).find((node) => this.#of.has(node));
    return next && this.#of.get(next);
  }
}

/** @param {readonly HTMLElement[]|undefined} members */
function isFull(members) {
  return members !== undefined && members.length >= MOST_MESSAGES;
}

function newStretch() {
  return element("div", { class: "stretch" });
}

/** @param {HTMLElement} parent @param {readonly HTMLElement[]} wanted */
function arrange(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!(child instanceof HTMLElement) || !kept.has(child)) child.remove();
  let there = parent.firstElementChild;
  for (const node of wanted) {
    if (node === there) there = there.nextElementSibling;
    else parent.insertBefore(node, there);
  }
}
