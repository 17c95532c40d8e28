/**
 * The controls whose work few need at once: what they open is loaded when they are first used.
 *
 * @import {Api} from "../api.js"
 * @import {Chat} from "../chat.js"
 */
import { onDemand } from "../on-demand.js";
import { byId } from "./dom.js";

/** @param {Chat} chat @param {Api} api */
export function exportButton(chat, api) {
  const button = byId("export", HTMLButtonElement);
  const show = () => (button.hidden = chat.thread.conversationId === null);
  for (const event of ["opened", "created"]) chat.addEventListener(event, show);
  const load = onDemand(chat, async () => (await import("./export-dialog.js")).exportDialog(chat, api));
  button.addEventListener("click", async () => (await load())?.open());
}

/** @param {Chat} chat @param {Api} api @param {() => void} onDeleted everything is gone */
export function userDataButton(chat, api, onDeleted) {
  const button = byId("user-data", HTMLButtonElement);
  const load = onDemand(chat, async () => {
    const { UserDataDialog } = await import("../user-data/dialog.js");
    return new UserDataDialog(api, onDeleted);
  });
  button.addEventListener("click", async () => (await load())?.open(button));
  button.hidden = false;
}

/** @param {Chat} chat @param {Api} api @param {() => void} onChosen */
export function searchBox(chat, api, onChosen) {
  const load = onDemand(chat, async () => {
    const { SearchBox } = await import("./search-box.js");
    return new SearchBox(chat, api, { onChosen });
  });
  for (const event of ["focus", "input"]) byId("search", HTMLInputElement).addEventListener(event, () => void load());
}
