/** How long the page waits for bytes. */
import { Failure } from "./failure.js";

/** The server sends a comment every 15 s; three of them missing means that nobody is there. */
export const SILENCE_MS = 45_000;

/**
 * What the promise gives, or a `Failure` when that takes too long. The promise itself goes on.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {number} silenceMs
 * @returns {Promise<T>}
 */
export async function orSilence(promise, silenceMs = SILENCE_MS) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(Failure.silent(silenceMs)), silenceMs);
  });
  try {
    return await /** @type {Promise<T>} */ (Promise.race([promise, silence]));
  } finally {
    clearTimeout(timer);
  }
}
