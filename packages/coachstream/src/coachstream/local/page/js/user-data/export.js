/**
 * Exports everything that is stored about the user, as JSON lines. The service sends them page by page, over as many
 * responses as that takes; after one that was cut off, the export goes on behind the last whole page.
 *
 * @import {Api} from "../api.js"
 */
import { Failure } from "../failure.js";

/** So often a response may end without another page, before the export does. */
const MOST_FAILURES = 4;
const RETRY_AFTER_MS = 500;
/** A page takes the service a moment to read. */
const SILENCE_MS = 60_000;
const TYPE = "application/x-ndjson";

export class DataExport {
  #api;
  /** The whole pages so far; a browser keeps a large one on its disk. @type {Blob[]} */
  #pages = [];
  /** The records of the page that is being received. @type {string[]} */
  #lines = [];
  /** What continues behind the whole pages. @type {string|null} */
  #after = null;
  #records = 0;

  /** @param {Api} api */
  constructor(api) {
    this.#api = api;
  }

  /**
   * Reads to the end, or, after a failure, goes on to it.
   *
   * @param {{signal: AbortSignal, onRecords: (count: number) => void}} options
   * @returns {Promise<Blob>} every record on its line, and a line that says how many they are
   * @throws {Failure}
   */
  async run({ signal, onRecords }) {
    for (let failures = 0; ; ) {
      const before = this.#after;
      /** @type {Failure} */
      let failure;
      try {
        if (await this.#readResponse(signal, onRecords)) return new Blob(this.#pages, { type: TYPE });
        failure = Failure.unreadable();
      } catch (error) {
        signal.throwIfAborted();
        failure = Failure.from(error);
      }
      if (!failure.retryable) throw failure;
      failures = this.#after === before ? failures + 1 : 0;
      if (failures === MOST_FAILURES) throw failure;
      if (failures > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS * 2 ** failures));
    }
  }

  /**
   * @param {AbortSignal} signal
   * @param {(count: number) => void} onRecords
   * @returns {Promise<boolean>} whether the export is complete
   */
  async #readResponse(signal, onRecords) {
    this.#lines = [];
    const response = await this.#api.openExport(this.#after, signal);
    for await (const text of linesOf(response, signal)) {
      const line = lineFrom(text);
      switch (line.type) {
        case "record":
          this.#lines.push(text);
          break;
        case "page":
          this.#keep();
          this.#after = String(line.next);
          onRecords(this.#records);
          break;
        case "reconnect":
          this.#after = String(line.after);
          return false;
        case "error":
          throw new Failure(String(line.code), String(line.message), { retryable: line.retryable === true });
        case "complete":
          this.#keep(text);
          onRecords(this.#records);
          // What is missing must not pass for everything.
          if (line.records !== this.#records) throw Failure.incompleteExport();
          return true;
      }
    }
    return false;
  }

  /** @param {...string} more lines that are no records */
  #keep(...more) {
    this.#records += this.#lines.length;
    this.#pages.push(new Blob([...this.#lines, ...more].map((line) => `${line}\n`)));
    this.#lines = [];
  }
}

/** @param {Response} response @param {AbortSignal} signal @returns {AsyncGenerator<string, void, undefined>} */
async function* linesOf({ body }, signal) {
  if (!body) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await heard(reader.read());
      signal.throwIfAborted();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @template T @param {Promise<T>} promise @returns {Promise<T>} */
async function heard(promise) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const silence = new Promise((_, reject) => (timer = setTimeout(() => reject(Failure.unreachable()), SILENCE_MS)));
  try {
    return await /** @type {Promise<T>} */ (Promise.race([promise, silence]));
  } catch (error) {
    throw error instanceof Failure ? error : Failure.unreachable(error);
  } finally {
    clearTimeout(timer);
  }
}

/** @param {string} text @returns {any} */
function lineFrom(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch (error) {
    throw Failure.unreadable(error);
  }
}
