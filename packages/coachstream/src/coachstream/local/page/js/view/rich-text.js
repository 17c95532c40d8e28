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

// With the flag `s`, so that the rest of a line always fits and nothing is ever tried a second time.
const BULLET = /^\s{0,3}[-*\u2022]\s+(.*)$/s;
const NUMBER = /^\s{0,3}(\d{1,4})[.)]\s+(.*)$/s;
const HEADING = /^#{1,6}\s+(.*)$/s;
const LINE_END = /\r\n|\r|\n/g;
const SPACE = /\s/;
const WORD = /\w/;

/**
 * @param {string} text
 * @returns {Block[]}
 */
export function blocksOf(text) {
  return parse(text).map(({ block }) => block);
}

/**
 * Each block, and where it begins.
 *
 * @param {string} text
 * @returns {{block: Block, start: number}[]}
 */
function parse(text) {
  /** @type {{block: Block, start: number}[]} */
  const parsed = [];
  let afterBlank = false;
  for (const [line, start] of linesOf(text)) {
    if (line.trim() === "") {
      afterBlank = true;
      continue;
    }
    const block = blockOf(line);
    const last = parsed.at(-1)?.block;
    if (!last || !absorb(last, block, { afterBlank })) parsed.push({ block, start });
    afterBlank = false;
  }
  return parsed;
}

/** Each line, and where it begins. @param {string} text @returns {Generator<[string, number]>} */
function* linesOf(text) {
  let start = 0;
  for (const end of text.matchAll(LINE_END)) {
    yield [text.slice(start, end.index), start];
    start = end.index + end[0].length;
  }
  yield [text.slice(start), start];
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
 * Continues a block with the next line, if it belongs to the block.
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

/** The blocks at the end of a text that may look different when it grows: its last line may yet join the one before. */
const UNSETTLED = 2;

/** Shows a text that grows; what has not changed keeps its nodes, and with them the reader's selection. */
export class RichText {
  #text = "";
  /** Each block that is shown, as text, and where it begins. @type {{shown: string, start: number}[]} */
  #blocks = [];

  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
  }

  /** @param {string} text */
  show(text) {
    const settled = text.startsWith(this.#text) ? Math.max(0, this.#blocks.length - UNSETTLED) : 0;
    const from = settled === 0 ? 0 : this.#blocks[settled].start;
    const parsed = parse(text.slice(from));
    const blocks = parsed.map(({ block, start }) => ({ shown: JSON.stringify(block), start: from + start }));
    let same = 0;
    while (same < blocks.length && blocks[same].shown === this.#blocks[settled + same]?.shown) same += 1;
    while (this.container.children.length > settled + same) this.container.lastElementChild?.remove();
    this.container.append(...parsed.slice(same).map(({ block }) => nodeOf(block)));
    this.#blocks.splice(settled, Infinity, ...blocks);
    this.#text = text;
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
  for (const { tag, from, to } of emphasesOf(line)) {
    const marks = tag === "strong" ? 2 : 1;
    if (from - marks > end) nodes.push(document.createTextNode(line.slice(end, from - marks)));
    nodes.push(element(tag, {}, line.slice(from, to)));
    end = to + marks;
  }
  if (end < line.length) nodes.push(document.createTextNode(line.slice(end)));
  return nodes;
}

/**
 * What is bold or italic, without its marks; no space just inside them, so that `2 * 3 * 4` stays what it is.
 *
 * Where each mark could end is known before the line is read, so that this takes time in proportion to the line, whatever
 * a model writes. A regular expression would look for the end again and again.
 *
 * @param {string} line
 * @returns {Generator<{tag: "strong"|"em", from: number, to: number}>}
 */
function* emphasesOf(line) {
  const { boldEnds, stars } = endsIn(line);
  let at = stars[0];
  while (at < line.length) {
    const from = at + (line[at + 1] === "*" ? 2 : 1);
    const to = from === at + 2 ? boldEnd(line, from, boldEnds) : italicEnd(line, from, stars);
    if (to !== undefined) {
      yield { tag: from === at + 2 ? "strong" : "em", from, to };
      at = stars[to + (from - at)];
    } else {
      at = stars[at + 1];
    }
  }
}

/**
 * For each place of a line, where from there on the next `*` is, and the next `**` that can end something bold; the
 * line's length where there is none.
 *
 * @param {string} line
 */
function endsIn(line) {
  const boldEnds = new Uint32Array(line.length + 3).fill(line.length);
  const stars = new Uint32Array(line.length + 3).fill(line.length);
  for (let at = line.length - 1; at >= 0; at -= 1) {
    const isStar = line[at] === "*";
    stars[at] = isStar ? at : stars[at + 1];
    const isBoldEnd = isStar && line[at + 1] === "*" && at > 0 && !SPACE.test(line[at - 1]);
    boldEnds[at] = isBoldEnd ? at : boldEnds[at + 1];
  }
  return { boldEnds, stars };
}

/** @param {string} line @param {number} from behind `**` @param {Uint32Array} boldEnds @returns {number|undefined} */
function boldEnd(line, from, boldEnds) {
  if (from >= line.length || SPACE.test(line[from])) return undefined;
  const end = boldEnds[from + 1];
  return end < line.length ? end : undefined;
}

/** @param {string} line @param {number} from behind `*` @param {Uint32Array} stars @returns {number|undefined} */
function italicEnd(line, from, stars) {
  const end = stars[from];
  const before = from > 1 ? line[from - 2] : " ";
  const after = line[end + 1] ?? " ";
  if (end >= line.length || WORD.test(before) || before === "*" || WORD.test(after) || after === "*") return undefined;
  return SPACE.test(line[from]) || SPACE.test(line[end - 1]) ? undefined : end;
}
