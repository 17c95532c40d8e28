/**
 * A reply's text as paragraphs, lists, headings and bold or italic words: the little of Markdown that coaches
 * write. Anything else is shown as it is. Text becomes text nodes, never HTML.
 *
 * @typedef {{kind: "paragraph", lines: string[]}} Paragraph
 * @typedef {{kind: "heading", lines: string[]}} Heading
 * @typedef {{kind: "bullets", start: number, items: string[][]}} Bullets
 * @typedef {{kind: "numbers", start: number, items: string[][]}} Numbers
 * @typedef {Paragraph|Heading|Bullets|Numbers} Block
 */
import { element } from "./dom.js";

const BULLET = /^\s{0,3}[-*\u2022]\s+(.*)$/;
const NUMBER = /^\s{0,3}(\d{1,4})[.)]\s+(.*)$/;
const HEADING = /^#{1,6}\s+(.*)$/;
/** Bold or italic; no space just inside the marks, so that `2 * 3 * 4` stays what it is. */
const EMPHASIS = /\*\*(?=\S)(.+?)(?<=\S)\*\*|(?<![*\w])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?![*\w])/g;

/**
 * @param {string} text
 * @returns {Block[]}
 */
export function blocksOf(text) {
  /** @type {Block[]} */
  const blocks = [];
  let afterBlank = false;
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line.trim() === "") {
      afterBlank = true;
      continue;
    }
    const block = blockOf(line);
    const last = blocks.at(-1);
    if (!last || !absorb(last, block, { afterBlank })) blocks.push(block);
    afterBlank = false;
  }
  return blocks;
}

/** What a line is when it stands alone. @param {string} line @returns {Block} */
function blockOf(line) {
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", lines: [heading[1]] };
  const bullet = BULLET.exec(line);
  if (bullet) return { kind: "bullets", start: 1, items: [[bullet[1]]] };
  const number = NUMBER.exec(line);
  if (number) return { kind: "numbers", start: Number(number[1]), items: [[number[2]]] };
  return { kind: "paragraph", lines: [line] };
}

/**
 * Lets a block go on with the next line, where it does.
 *
 * @param {Block} last
 * @param {Block} next of one line
 * @param {{afterBlank: boolean}} context a blank line ends a paragraph, but not a list
 * @returns {boolean}
 */
function absorb(last, next, { afterBlank }) {
  if (last.kind === "paragraph" && next.kind === "paragraph" && !afterBlank) {
    last.lines.push(...next.lines);
  } else if (last.kind === "bullets" && next.kind === "bullets") {
    last.items.push(...next.items);
  } else if (last.kind === "numbers" && next.kind === "numbers") {
    last.items.push(...next.items);
  } else if ("items" in last && next.kind === "paragraph" && /^\s{2,}/.test(next.lines[0])) {
    last.items.at(-1)?.push(next.lines[0].trim());
  } else {
    return false;
  }
  return true;
}

/** Shows a text that grows; what has not changed keeps its nodes, and with them the reader's selection. */
export class RichText {
  /** @type {string[]} */
  #shown = [];

  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
  }

  /** @param {string} text */
  show(text) {
    const blocks = blocksOf(text);
    const shown = blocks.map((block) => JSON.stringify(block));
    let same = 0;
    while (same < shown.length && shown[same] === this.#shown[same]) same += 1;
    while (this.container.children.length > same) this.container.lastElementChild?.remove();
    this.container.append(...blocks.slice(same).map(nodeOf));
    this.#shown = shown;
  }
}

/** @param {Block} block */
function nodeOf(block) {
  if (block.kind === "paragraph") return element("p", {}, ...lineNodes(block.lines));
  if (block.kind === "heading") return element("h3", {}, ...lineNodes(block.lines));
  const items = block.items.map((lines) => element("li", {}, ...lineNodes(lines)));
  return block.kind === "bullets"
    ? element("ul", {}, ...items)
    : element("ol", { start: String(block.start) }, ...items);
}

/** @param {string[]} lines @returns {Node[]} */
function lineNodes(lines) {
  return lines.flatMap((line, index) => (index === 0 ? spans(line) : [element("br"), ...spans(line)]));
}

/** @param {string} line @returns {Node[]} */
function spans(line) {
  /** @type {Node[]} */
  const nodes = [];
  let end = 0;
  for (const match of line.matchAll(EMPHASIS)) {
    if (match.index > end) nodes.push(document.createTextNode(line.slice(end, match.index)));
    nodes.push(match[1] === undefined ? element("em", {}, match[2]) : element("strong", {}, match[1]));
    end = match.index + match[0].length;
  }
  if (end < line.length) nodes.push(document.createTextNode(line.slice(end)));
  return nodes;
}
