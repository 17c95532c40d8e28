/**
 * Server-Sent Events: bytes in, events out, no I/O.
 *
 * The rules are those of the HTML standard, section 9.2.6 "Interpreting an event stream". The decoder is fed
 * whatever the network delivers: a code point, a CRLF or a line may be cut anywhere.
 *
 * @typedef {object} ServerSentEvent
 * @property {string} type `message` where the stream names none.
 * @property {string} data All `data` lines, joined with a newline.
 * @property {string} id The last id the stream has named, or the empty string.
 */

/** An event of a chat is a few kilobytes; what grows past this without an end is not an event stream. */
export const MAX_PENDING_CHARACTERS = 4 * 1024 * 1024;

/** Raised when a line or an event never ends. */
export class EventTooLarge extends Error {
  constructor() {
    super(`an event is longer than ${MAX_PENDING_CHARACTERS} characters`);
    this.name = "EventTooLarge";
  }
}

export class EventStreamDecoder {
  // Strips a leading byte order mark, and keeps an unfinished code point for the next call.
  #decoder = new TextDecoder();
  #line = "";
  #endedWithCarriageReturn = false;
  /** @type {string[]} */
  #data = [];
  #dataLength = 0;
  #type = "";
  #id = "";

  /**
   * Gives the events that these bytes complete. What the stream's end leaves unfinished is no event.
   *
   * @param {Uint8Array} bytes
   * @returns {ServerSentEvent[]}
   * @throws {EventTooLarge}
   */
  feed(bytes) {
    /** @type {ServerSentEvent[]} */
    const events = [];
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return events;
    // The LF of a CRLF whose CR came with the last bytes has ended its line already.
    if (this.#endedWithCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    if (text !== "") this.#endedWithCarriageReturn = text.endsWith("\r");
    else this.#endedWithCarriageReturn = false;

    const lines = text.split(/\r\n|\r|\n/);
    const unfinished = lines.pop() ?? "";
    for (const line of lines) {
      const event = this.#endLine(this.#line + line);
      this.#line = "";
      if (event) events.push(event);
    }
    this.#line += unfinished;
    if (this.#line.length + this.#dataLength > MAX_PENDING_CHARACTERS) throw new EventTooLarge();
    return events;
  }

  /**
   * @param {string} line
   * @returns {ServerSentEvent|null}
   */
  #endLine(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null; // a comment: it keeps the connection alive
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length;
    } else if (field === "event") {
      this.#type = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
    }
    return null;
  }

  /** @returns {ServerSentEvent|null} */
  #dispatch() {
    const event =
      this.#data.length === 0
        ? null
        : { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id };
    this.#data = [];
    this.#dataLength = 0;
    this.#type = "";
    return event;
  }
}
