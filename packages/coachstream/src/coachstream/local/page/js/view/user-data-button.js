/**
 * Opens the dialog about the user's data, which is loaded then.
 *
 * @import {Api} from "../api.js"
 * @import {UserDataDialog} from "../user-data/dialog.js"
 */
import { byId } from "./dom.js";

/** @param {Api} api @param {() => void} onDeleted everything is gone */
export function userDataButton(api, onDeleted) {
  const button = byId("user-data", HTMLButtonElement);
  /** @type {UserDataDialog|null} */
  let dialog = null;
  button.addEventListener("click", async () => {
    if (dialog === null) {
      const { UserDataDialog } = await import("../user-data/dialog.js");
      dialog ??= new UserDataDialog(api, onDeleted);
    }
    dialog.open(button);
  });
  button.hidden = false;
}
