/**
 * How one reply arrived, as its turn on the page shows it: when, in how many pieces, over how many connections.
 *
 * @import {Turn} from "../turn.js"
 */

/** So many arrivals are kept of one reply; a longer one is still measured to its end. */
const MOST_ARRIVALS = 5_000;
const WORD = /\S+/g;

export class Measurement {
  /** `performance.now()` of the request, or of the moment at which this page began to read the reply. */
  began;
  /** Whether this page has asked for it, so that it knows how long its beginning took. */
  isWhole;
  /** When the service had the message. @type {number|null} */
  started = null;
  /** When each piece of text arrived. @type {number[]} */
  arrivals = [];
  /** How many connections were lost or ended on the way. */
  resumptions = 0;
  /** The longest time between two pieces of text, and when it began. */
  pause = { from: 0, ms: 0 };
  /** @type {number|null} */
  ended = null;
  #text = "";
  #isReconnecting = false;
  /** @type {number|null} */
  #lastArrival = null;

  /** @param {Turn} turn @param {number} now `performance.now()` */
  constructor(turn, now) {
    this.question = turn.text;
    this.isWhole = turn.sentAt !== null;
    this.began = turn.sentAt ?? now;
  }

  /** Whether this is an attempt at this turn. @param {Turn} turn */
  isOf(turn) {
    return this.ended === null && this.question === turn.text && (!this.isWhole || this.began === turn.sentAt);
  }

  /** Takes note of what has changed. @param {Turn} turn @param {number} now */
  update(turn, now) {
    if (turn.phase === "thinking") this.started ??= now;
    if (turn.isReconnecting && !this.#isReconnecting) this.resumptions += 1;
    this.#isReconnecting = turn.isReconnecting;
    if (turn.reply === this.#text) return;
    this.#text = turn.reply;
    if (turn.reply === "") return;
    this.started ??= now;
    const last = this.#lastArrival;
    if (last !== null && now - last > this.pause.ms) this.pause = { from: last, ms: now - last };
    this.#lastArrival = now;
    if (this.arrivals.length < MOST_ARRIVALS) this.arrivals.push(now);
  }

  /** Nothing more will come. @param {number} now */
  end(now) {
    this.ended ??= now;
  }

  /** Milliseconds until the service had the message; `null` if that is not known. */
  get startMs() {
    return this.isWhole && this.started !== null ? this.started - this.began : null;
  }

  /** Milliseconds until the first word; `null` if that is not known. */
  get firstWordMs() {
    return this.isWhole && this.arrivals.length > 0 ? this.arrivals[0] - this.began : null;
  }

  /** Words a second from the first piece of text to the last; `null` before there are two. */
  get wordRate() {
    const first = this.arrivals[0];
    if (first === undefined || this.#lastArrival === null || this.#lastArrival <= first) return null;
    return ((this.#text.match(WORD)?.length ?? 0) * 1000) / (this.#lastArrival - first);
  }

  /** Milliseconds of the longest pause between two pieces of text; `null` before there are two. */
  get longestPauseMs() {
    return this.arrivals.length > 1 ? this.pause.ms : null;
  }
}
