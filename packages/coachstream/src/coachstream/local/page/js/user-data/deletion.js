/**
 * Deletes everything that the service stores about the user. It stops before its function's timeout, so the request is
 * repeated until it reports that nothing is left; what is deleted stays deleted, so this can be interrupted anywhere.
 *
 * @import {Api} from "../api.js"
 *
 * @typedef {object} Deleted What all requests together have deleted.
 * @property {number} conversations
 * @property {number} memories
 * @property {number} remnants
 */
import { Failure } from "../failure.js";

/** So often a request may delete nothing, before it is given up. */
const MOST_IDLE = 3;
const IDLE_MS = 1_000;

/**
 * @param {Api} api
 * @param {(deleted: Readonly<Deleted>) => void} onDeleted after each request
 * @returns {Promise<Readonly<Record<string, number>>>} what other functions store, and have to delete, by kind
 * @throws {Failure}
 */
export async function deleteEverything(api, onDeleted) {
  const total = { conversations: 0, memories: 0, remnants: 0 };
  for (let idle = 0; ; ) {
    const { isComplete, deleted, semanticMemory, left } = await api.deleteUserData();
    let count = 0;
    for (const kind of /** @type {(keyof Deleted)[]} */ (Object.keys(total))) {
      const number = Number(deleted?.[kind]) || 0;
      total[kind] += number;
      count += number;
    }
    onDeleted({ ...total });
    if (isComplete === true) return left ?? {};
    idle = count > 0 ? 0 : idle + 1;
    if (idle === MOST_IDLE) throw Failure.incompleteDeletion(semanticMemory === false);
    if (idle > 0) await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
}
