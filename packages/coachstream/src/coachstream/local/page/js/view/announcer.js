/**
 * Announces the progress of a reply to screen readers: its start, and then its whole text. Reading each
 * word as it arrives would talk over itself. Why a turn failed is said by its own alert.
 *
 * @import {Chat} from "../chat.js"
 */
import { byId } from "./dom.js";

/** @param {Chat} chat */
export function announceReplies(chat) {
  const announcer = byId("announcer", HTMLElement);
  let { thread } = chat;
  let phase = thread.turn?.phase;
  chat.addEventListener("opened", () => {
    thread = chat.thread;
    phase = thread.turn?.phase;
    announcer.textContent = "";
  });
  chat.addEventListener("thread", () => {
    const before = phase;
    phase = thread.turn?.phase;
    if (phase === before) return;
    const last = thread.messages.at(-1);
    if (phase === "sending") announcer.textContent = `${chat.coach.name} is replying.`;
    else if (phase === undefined && before !== undefined && last?.role === "assistant") {
      announcer.textContent = `${chat.coach.name}: ${last.content}${last.stopReason === "stopped" ? " (Stopped.)" : ""}`;
    }
  });
}
