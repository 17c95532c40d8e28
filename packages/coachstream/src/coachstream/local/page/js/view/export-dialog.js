/**
 * Saves the conversation on view as a file: as Markdown to read, or as JSON with everything that is stored.
 *
 * @import {Api} from "../api.js"
 * @import {Chat} from "../chat.js"
 * @import {Message} from "../types.js"
 */
import { Failure } from "../failure.js";
import { byId, choiceIn } from "./dom.js";
import { save } from "./download.js";

const TITLE_CHARACTERS = 60;

/** @param {Chat} chat @param {Api} api @returns {{open: () => void}} */
export function exportDialog(chat, api) {
  const button = byId("export", HTMLButtonElement);
  const open = async () => {
    const kind = await choiceIn("export-dialog");
    button.focus();
    const { title, coach } = chat; // another conversation may be on view by the time this one is read
    const { coachId, conversationId } = chat.thread;
    if (conversationId === null || (kind !== "markdown" && kind !== "json")) return;
    try {
      const { raw, messages } = await api.getConversation(coachId, conversationId);
      const name = title ?? "Conversation";
      if (kind === "json") download(name, "json", "application/json", `${JSON.stringify(raw, null, 2)}\n`);
      else download(name, "md", "text/markdown", asMarkdown(name, coach.name, messages));
    } catch (error) {
      chat.dispatchEvent(new CustomEvent("notice", { detail: Failure.from(error) }));
    }
  };
  return { open: () => void open() };
}

/** @param {string} title @param {string} coach @param {readonly Message[]} messages */
function asMarkdown(title, coach, messages) {
  const parts = messages.map(({ role, content, timestamp }) => {
    const speaker = role === "user" ? "You" : coach;
    return `## ${speaker}, ${timestamp.toLocaleString()}\n\n${content}\n`;
  });
  return [`# ${title}\n`, ...parts].join("\n");
}

/** @param {string} title @param {string} ending @param {string} type @param {string} text */
function download(title, ending, type, text) {
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, TITLE_CHARACTERS);
  save(`${name || "conversation"}.${ending}`, new Blob([text], { type }));
}
