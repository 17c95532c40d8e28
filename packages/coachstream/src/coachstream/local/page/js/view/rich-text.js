/**
 * Shows a text in Markdown that may grow. Its blocks are parsed by a library; their nodes are made here, from a fixed
 * set of elements and attributes. No HTML is written or read on the way, so there is none to sanitize.
 *
 * @import {Token} from "../../vendor/markdown-it/markdown-it.esm.min.mjs"
 *
 * @typedef {object} Block
 * @property {string} source
 * @property {number} start Where it begins in the text.
 * @property {boolean} grows Whether more of it may come, so that what is half there is shown as if it were whole.
 * @property {Token[]} tokens What it is made of, until it is shown.
 */
import { copyWith } from "./copy-button.js";
import { element, icon } from "./dom.js";
import { parse, webAddress } from "./markdown.js";

const LINE_END = /\r\n|\r|\n/g;
/** The blocks at the end of a text that may look different when it grows: its last line may yet join the one before. */
const UNSETTLED = 2;
/** What may hold the last words of a text in a block of its own. */
const HOLDERS = new Set(["UL", "OL", "LI", "BLOCKQUOTE", "DIV", "TABLE", "THEAD", "TBODY", "TR", "PRE"]);
const BLOCKS = new Set([...HOLDERS, "P", "H3", "H4", "TD", "TH", "CODE"]);
/** Elements that stand for what markdown-it calls by the same name. */
const SAME_NAME = new Set(["p", "ul", "li", "blockquote", "thead", "tbody", "tr", "strong", "em", "s"]);
const TASK = /^\[([ xX])\] /;

/** Shows a text that grows; what has not changed keeps its nodes, and with them the reader's selection. */
export class RichText {
  #text = "";
  /** What is shown. @type {Block[]} */
  #blocks = [];
  /** The block with the last words, while more are to come. @type {Element|null} */
  #end = null;

  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    container.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest(".copy-code") : null;
      if (button) void copyWith(button, button.closest(".code")?.querySelector("code")?.textContent ?? "");
    });
  }

  /** @param {string} text @param {{grows?: boolean}} [options] whether more is to come */
  show(text, { grows = false } = {}) {
    const settled = text.startsWith(this.#text) ? Math.max(0, this.#blocks.length - UNSETTLED) : 0;
    const from = settled === 0 ? 0 : this.#blocks[settled].start;
    const parsed = blocksOf(text.slice(from), { grows });
    let same = 0;
    while (same < parsed.length && isSame(parsed[same], this.#blocks[settled + same])) same += 1;
    this.#end?.removeAttribute("data-end");
    const { children } = this.container;
    while (children.length > settled + parsed.length) this.container.lastElementChild?.remove();
    parsed.slice(same).forEach(({ tokens }, index) => {
      const node = nodeOf(tokens);
      const shown = children[settled + same + index];
      if (shown) patch(shown, node);
      else this.container.append(node);
    });
    this.#blocks.splice(settled, Infinity, ...parsed.map((block) => ({ ...block, tokens: [], start: from + block.start })));
    this.#text = text;
    this.#end = grows ? lastBlockOf(this.container) : null;
    this.#end?.setAttribute("data-end", "");
  }
}

/** @param {string} text @param {{grows: boolean}} options @returns {Block[]} */
function blocksOf(text, options) {
  const { tokens, lines } = parse(text, options);
  const starts = [0];
  for (const { index, 0: end } of lines.matchAll(LINE_END)) starts.push(index + end.length);
  /** @type {Block[]} */
  const blocks = [];
  for (const token of tokens) {
    if (token.level === 0 && token.nesting >= 0 && token.map) {
      const [first, next] = token.map;
      const start = starts[first];
      blocks.push({ source: lines.slice(start, starts[next]), start, grows: false, tokens: [] });
    }
    blocks.at(-1)?.tokens.push(token);
  }
  const last = blocks.at(-1);
  if (last) last.grows = options.grows;
  return blocks;
}

/** @param {Block} one @param {Block|undefined} other */
function isSame({ source, grows }, other) {
  return source === other?.source && grows === other.grows;
}

/** The node of one block. @param {Token[]} tokens */
function nodeOf(tokens) {
  const root = element("div");
  build(root, tokens);
  const node = /** @type {Element} */ (root.firstElementChild);
  // Each block has a direction of its own, which everything in it follows.
  node.setAttribute("dir", node.matches(".code") ? "ltr" : "auto");
  return node;
}

/** @param {Element} root @param {readonly Token[]} tokens of blocks, or of what stands in one */
function build(root, tokens) {
  const open = [root];
  for (const token of tokens) {
    const parent = open[open.length - 1];
    if (token.hidden) continue;
    if (token.nesting === -1) {
      open.pop();
    } else if (token.nesting === 1) {
      const node = elementOf(token);
      parent.append(token.tag === "table" ? scrolled(node) : node);
      open.push(node);
    } else if (token.type === "inline") {
      build(parent, withTask(parent, token.children ?? []));
    } else {
      parent.append(leafOf(token));
    }
  }
}

/** @param {Token} token that holds others */
function elementOf(token) {
  const { tag } = token;
  if (SAME_NAME.has(tag)) return element(/** @type {"p"} */ (tag));
  switch (tag) {
    case "ol":
      return element("ol", { start: token.attrGet("start") });
    case "a":
      return link(token.attrGet("href") ?? "");
    case "table":
      return element("table");
    case "th":
    case "td": {
      const align = /(left|right|center)/.exec(token.attrGet("style") ?? "")?.[0];
      return element(tag, { scope: tag === "th" ? "col" : null, "data-align": align });
    }
    default:
      // The page and the days have the first two levels, and models begin with any of the first three.
      return element(/^h[1-3]$/.test(tag) ? "h3" : /^h[4-6]$/.test(tag) ? "h4" : "span");
  }
}

/** @param {Token} token that holds no others @returns {Node} */
function leafOf(token) {
  switch (token.type) {
    case "softbreak":
    case "hardbreak":
      return element("br");
    case "hr":
      return element("hr");
    case "code_inline":
      return element("code", {}, token.content);
    case "fence":
    case "code_block":
      return code(token.content, token.info.trim().split(/\s/)[0]);
    case "image": {
      // Loading it would tell its host who reads this.
      const image = link(token.attrGet("src") ?? "");
      image.append(token.content || (token.attrGet("src") ?? ""));
      return image;
    }
    default:
      return document.createTextNode(token.content);
  }
}

/** @param {string} address */
function link(address) {
  const href = webAddress(address);
  return href === null
    ? element("span")
    : element("a", { href, title: href, target: "_blank", rel: "noopener noreferrer" });
}

/** @param {string} text @param {string} language */
function code(text, language) {
  return element(
    "div",
    { class: "code" },
    element(
      "div",
      { class: "code-head" },
      element("span", {}, language),
      element("button", { class: "copy-code", type: "button" }, icon("copy"), "Copy code"),
    ),
    // With the keyboard, only what has the focus can be scrolled.
    element("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, element("code", {}, text)),
  );
}

/** A table that is wider than the screen scrolls by itself. @param {Element} table */
function scrolled(table) {
  return element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

/** What stands in a task of a list, with a box in place of `[x]`. @param {Element} parent @param {readonly Token[]} tokens */
function withTask(parent, tokens) {
  const item = parent.tagName === "P" ? parent.parentElement : parent;
  const task = item?.tagName === "LI" && item.textContent === "" ? TASK.exec(tokens[0]?.content ?? "") : null;
  if (!task || !item) return tokens;
  const isDone = task[1] !== " ";
  item.classList.add("task");
  parent.append(element("span", { class: "task-box", role: "img", "aria-label": isDone ? "Done:" : "To do:", "data-done": isDone }));
  tokens[0].content = tokens[0].content.slice(task[0].length);
  return tokens;
}

/** Makes a node look like another one, and keeps what is the same. @param {ChildNode} shown @param {Node} wanted */
function patch(shown, wanted) {
  if (shown instanceof Text && wanted instanceof Text) {
    // Text that is appended leaves a selection in place.
    if (wanted.data.startsWith(shown.data)) shown.appendData(wanted.data.slice(shown.length));
    else shown.data = wanted.data;
  } else if (shown instanceof Element && wanted instanceof Element && shown.tagName === wanted.tagName) {
    for (const name of shown.getAttributeNames()) if (!wanted.hasAttribute(name)) shown.removeAttribute(name);
    for (const { name, value } of wanted.attributes) {
      if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    }
    const children = [...wanted.childNodes];
    while (shown.childNodes.length > children.length) shown.lastChild?.remove();
    children.forEach((child, index) => {
      const there = shown.childNodes[index];
      if (there) patch(there, child);
      else shown.append(child);
    });
  } else {
    shown.replaceWith(wanted);
  }
}

/** The block in which a text ends. @param {Element} container @returns {Element|null} */
function lastBlockOf(container) {
  let node = container.lastElementChild;
  while (node && HOLDERS.has(node.tagName)) {
    const last = node.lastChild;
    if (!(last instanceof Element) || !BLOCKS.has(last.tagName)) break;
    node = last;
  }
  return node;
}
