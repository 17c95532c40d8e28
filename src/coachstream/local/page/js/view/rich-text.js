/**
 * A reply's text as paragraphs, lists, headings and bold or italic words: the little of Markdown that coaches
 * write. Anything else is shown as it is. Text becomes text nodes, never HTML.
 *
 * @typedef {{kind: "paragraph"|"heading", lines: string[]}} Lines
 * @typedef {{kind: "bullets"|"numbers", start: number, items: string[][]}} List
 * @typedef {Lines|List} Block
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
  /** @type {Block|null} what the next line may go on with */
  let open = null;
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line.trim() === "") {
      // A blank line between two items leaves them in one list.
      if (open?.kind === "paragraph") open = null;
      continue;
    }
    const heading = HEADING.exec(line);
    const bullet = BULLET.exec(line);
    const number = NUMBER.exec(line);
    if (heading) {
      blocks.push({ kind: "heading", lines: [heading[1]] });
      open = null;
    } else if (bullet || number) {
      const kind = bullet ? "bullets" : "numbers";
      const item = [bullet ? bullet[1] : /** @type {RegExpExecArray} */ (number)[2]];
      if (open?.kind === kind) {
        open.items.push(item);
      } else {
        open = { kind, start: number ? Number(number[1]) : 1, items: [item] };
        blocks.push(open);
      }
    } else if (open?.kind === "paragraph") {
      open.lines.push(line);
    } else if (open && open.kind !== "heading" && /^\s{2,}/.test(line)) {
      open.items.at(-1)?.push(line.trim());
    } else {
      open = { kind: "paragraph", lines: [line] };
      blocks.push(open);
    }
  }
  return blocks;
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
