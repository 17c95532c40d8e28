/**
 * Loads a part of the page when it is first needed, so that those who never need it do not wait for it.
 *
 * @import {Chat} from "./chat.js"
 */
import { Failure } from "./failure.js";

/**
 * @template Part
 * @param {Chat} chat hears of it when it cannot be loaded
 * @param {() => Promise<Part>} load
 * @returns {() => Promise<Part|null>} loads it once; `null` if it cannot be loaded now
 */
export function onDemand(chat, load) {
  /** @type {Promise<Part>|null} */
  let part = null;
  return async () => {
    try {
      return await (part ??= load());
    } catch (error) {
      part = null;
      chat.dispatchEvent(new CustomEvent("notice", { detail: Failure.unreachable(error) }));
      return null;
    }
  };
}
