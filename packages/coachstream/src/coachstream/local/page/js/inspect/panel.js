/**
 * A panel for developers, which `?inspect` in the address opens: how fast the current reply and the last few arrived.
 * It is not loaded without that, and looks at what the page shows anyway.
 *
 * @import {Chat} from "../chat.js"
 */
import { seconds } from "../times.js";
import { byId, element } from "../view/dom.js";
import { Measurement } from "./measurement.js";
import { picture } from "./picture.js";

/** The current reply, and the last few. */
const SHOWN = 6;

/** @param {Chat} chat */
export function openPanel(chat) {
  const list = element("ol", { class: "inspect-list" });
  const none = element("p", { class: "inspect-none" }, "Send a message to measure its reply.");
  const panel = element(
    "details",
    { class: "inspect", open: true },
    element("summary", {}, "Latency"),
    // With the keyboard, only what has the focus can be scrolled.
    element("div", { class: "inspect-body", tabindex: "0", role: "region", "aria-label": "Latency of the last replies" }, none, list),
  );
  document.head.append(element("link", { rel: "stylesheet", href: "css/inspect.css" }));
  byId("main", HTMLElement).querySelector(".topbar")?.after(panel);

  /** @type {{measurement: Measurement, node: HTMLElement}[]} newest first */
  const measured = [];
  let frame = 0;
  const current = () => measured.find(({ measurement }) => measurement.ended === null);
  const draw = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    for (const { measurement, node } of measured) show(node, measurement);
  };
  const end = (/** @type {number} */ now) => {
    current()?.measurement.end(now);
    draw();
  };
  chat.addEventListener("opened", () => end(performance.now()));
  chat.addEventListener("thread", () => {
    const now = performance.now();
    const { turn } = chat.thread;
    if (turn === null || turn.phase === "failed") {
      if (current()) end(now);
      return;
    }
    let reply = current();
    if (!reply?.measurement.isOf(turn)) {
      reply?.measurement.end(now);
      reply = { measurement: new Measurement(turn, now), node: element("li", { class: "inspect-reply" }) };
      measured.unshift(reply);
      for (const { node } of measured.splice(SHOWN)) node.remove();
      list.prepend(reply.node);
      none.remove();
    }
    reply.measurement.update(turn, now);
    if (document.hidden) draw();
    else if (frame === 0) frame = requestAnimationFrame(draw);
  });
}

/** @param {HTMLElement} node @param {Measurement} measurement */
function show(node, measurement) {
  if (node.dataset.isFinal !== undefined) return;
  const { startMs, firstWordMs, wordRate, resumptions, longestPauseMs } = measurement;
  const figures = [
    ["Start", inSeconds(startMs)],
    ["First word", inSeconds(firstWordMs)],
    ["Words a second", wordRate === null ? "\u2013" : wordRate.toFixed(1)],
    ["Resumptions", String(resumptions)],
    ["Longest pause", inSeconds(longestPauseMs)],
  ];
  node.replaceChildren(
    element("p", { class: "inspect-question", dir: "auto" }, measurement.question),
    picture(measurement),
    element(
      "dl",
      { class: "inspect-figures" },
      ...figures.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    ),
  );
  if (measurement.ended !== null) node.dataset.isFinal = "";
}

/** @param {number|null} ms */
function inSeconds(ms) {
  return ms === null ? "\u2013" : seconds(ms);
}
