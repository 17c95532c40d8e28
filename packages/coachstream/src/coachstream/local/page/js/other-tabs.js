/**
 * Notifies the other tabs of this page when stored data has changed, and receives their notifications.
 *
 * @typedef {{coachId: string, conversationId: string|null}} Change
 */
export class OtherTabs {
  #channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("coachstream");

  /** @param {Change} change */
  tell(change) {
    this.#channel?.postMessage(change);
  }

  /** @param {(change: Change) => void} listener */
  listen(listener) {
    this.#channel?.addEventListener("message", ({ data }) => listener(data));
  }
}
