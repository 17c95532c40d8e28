/**
 * Parses a reply's Markdown with markdown-it, set up for text that grows.
 *
 * HTML is off, so it stays text. Links lead to the web, to mail or to a phone, or they stay text. Two rules of CommonMark
 * are off because they change what is already shown: a line of dashes does not turn the paragraph before it into a heading,
 * and nothing is defined in one place for use in another (`[label]: address`).
 *
 * @typedef {import("../../vendor/markdown-it/markdown-it.esm.min.mjs").Token} Token
 * @typedef {import("../../vendor/markdown-it/markdown-it.esm.min.mjs").InlineState} InlineState
 */
import MarkdownIt from "../../vendor/markdown-it/markdown-it.esm.min.mjs";

const PROTOCOLS = new Set(["http:", "https:", "mailto:", "tel:"]);
/** The half of a link at the end of a text is no longer than this; a lone bracket farther from the end is a bracket. */
const HALF_LINK_CHARACTERS = 400;
/** A line that only begins something: a list item, a task, a heading, a quote, a rule. */
const MARKER_ALONE = /^[ >]{0,20}(?:[-+*]|--|[-+*] {1,4}\[(?:[ xX]\]?)?|\d{1,9}[.)]?|#{1,6})?\|? {0,20}$/;
const ROW = /^ {0,3}\|/;
const DELIMITER_ROW_BEGUN = /^[|:\- ]*$/;
const MARKS = "*_~`";

const markdown = new MarkdownIt({ html: false, linkify: true, maxNesting: 20 });
markdown.validateLink = (/** @type {string} */ address) => webAddress(address) !== null;
// Only what has a protocol: "5.am" and "coach@noon" are no addresses.
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
markdown.disable(["lheading", "reference"]);
markdown.core.ruler.before("inline", "growing", findGrowing);
markdown.inline.ruler.before("backticks", "half_code", halfCode);
markdown.inline.ruler.after("link", "half_link", halfLink);
markdown.inline.ruler2.after("balance_pairs", "half_emphasis", halfEmphasis);

/**
 * @param {string} source
 * @param {{grows: boolean}} options whether more is to come: what is half there then already looks like itself
 * @returns {{tokens: Token[], lines: string}} the blocks, and the source that their line numbers refer to
 */
export function parse(source, { grows }) {
  if (!grows) return { tokens: markdown.parse(source, {}), lines: source };
  const known = withoutMarks(source);
  const lines = completed(known);
  const tokens = markdown.parse(lines, { grows });
  // Nothing in code is a mark of anything.
  return isCode(lastOf(tokens)) ? { tokens: markdown.parse(known, { grows }), lines: known } : { tokens, lines };
}

/** An address that a link may lead to, as the browser reads it. @param {string} address */
export function webAddress(address) {
  try {
    const { protocol, href } = new URL(address);
    return PROTOCOLS.has(protocol) ? href : null;
  } catch {
    return null; // a relative one leads nowhere
  }
}

/** The source without the marks at its end: what follows them decides what they mean. @param {string} source */
function withoutMarks(source) {
  let end = source.length;
  while (end > 0 && MARKS.includes(source[end - 1])) end -= 1;
  return source.slice(0, end);
}

/**
 * The source without a marker that nothing follows yet, and with the delimiter row that a table's header waits for.
 *
 * @param {string} source
 */
function completed(source) {
  const start = source.lastIndexOf("\n") + 1;
  const above = source.slice(0, start);
  const line = source.slice(start);
  return above + withDelimiterRow(above, line.length < 60 && MARKER_ALONE.test(line) ? "" : line);
}

/** @param {string} above the lines above @param {string} line the last one */
function withDelimiterRow(above, line) {
  const lines = above.slice(0, -1).split("\n");
  const header = lines.at(-1) ?? "";
  if (!ROW.test(header)) return ROW.test(line) ? `${line}\n${delimiterRow(line)}` : line;
  if (ROW.test(lines.at(-2) ?? "") || !DELIMITER_ROW_BEGUN.test(line)) return line;
  return cellsOf(line) === cellsOf(header) && line.trimEnd().endsWith("|") ? line : delimiterRow(header);
}

/** @param {string} header */
function delimiterRow(header) {
  return `|${"-|".repeat(cellsOf(header))}`;
}

/** @param {string} row */
function cellsOf(row) {
  return row.replaceAll("\\|", "").trim().replace(/^\|/, "").replace(/\|$/, "").split("|").length;
}

/** Notes in which tokens a text that grows has its end. @param {import("../../vendor/markdown-it/markdown-it.esm.min.mjs").CoreState} state */
function findGrowing({ env, tokens }) {
  env.growing = (env.grows && lastOf(tokens)?.children) || null;
}

/** The token with the last words. @param {readonly Token[]} tokens */
function lastOf(tokens) {
  return tokens.findLast(({ nesting }) => nesting !== -1);
}

/** @param {Token|undefined} token */
function isCode(token) {
  return token?.type === "fence" || token?.type === "code_block";
}

/** Code whose end is still to come. @param {InlineState} state @param {boolean} silent */
function halfCode(state, silent) {
  const { src, pos, posMax } = state;
  if (state.tokens !== state.env.growing || src[pos] !== "`") return false;
  let opened = pos;
  while (src[opened] === "`") opened += 1;
  for (let at = opened; at < posMax; ) {
    if (src[at] !== "`") {
      at += 1;
      continue;
    }
    const run = at;
    while (src[at] === "`") at += 1;
    if (at - run === opened - pos) return false;
  }
  if (!silent) state.push("code_inline", "code", 0).content = src.slice(opened, posMax);
  state.pos = posMax;
  return true;
}

/** The text of a link whose address is still to come. @param {InlineState} state @param {boolean} silent */
function halfLink(state, silent) {
  const { src, pos, posMax } = state;
  if (state.tokens !== state.env.growing || src[pos] !== "[") return false;
  if (posMax - pos > HALF_LINK_CHARACTERS || state.linkLevel > 0) return false;
  const end = state.md.helpers.parseLinkLabel(state, pos, true);
  const isHalf = end < 0 || end === posMax - 1 || (src[end + 1] === "(" && !/[\s)]/.test(src.slice(end, posMax)));
  if (!isHalf) return false;
  if (!silent) {
    state.pos = pos + 1;
    if (end >= 0) state.posMax = end;
    state.linkLevel += 1;
    state.md.inline.tokenize(state);
    state.linkLevel -= 1;
  }
  state.posMax = posMax;
  state.pos = posMax;
  return true;
}

/** Closes what is bold, italic or struck out and has no end yet. @param {InlineState} state */
function halfEmphasis(state) {
  if (state.tokens !== state.env.growing) return;
  const { delimiters } = state;
  const open = [];
  let within = -1;
  for (const [at, { open: opens, close, end }] of delimiters.entries()) {
    if (end > within) within = end;
    if (at > within && opens && !close) open.push(at);
  }
  for (const at of open.reverse()) {
    const opener = delimiters[at];
    const mark = String.fromCharCode(opener.marker);
    state.push("text", "", 0).content = opener.marker === "~".charCodeAt(0) ? mark + mark : mark;
    opener.end = delimiters.length;
    const token = state.tokens.length - 1;
    delimiters.push({ marker: opener.marker, length: opener.length, token, end: -1, open: false, close: true });
  }
}
