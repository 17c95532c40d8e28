/**
 * The dialog about the user's data: to take all of it along, or to have it deleted. It is loaded when it is first opened.
 *
 * @import {Api} from "../api.js"
 * @import {Deleted} from "./deletion.js"
 */
import { Failure } from "../failure.js";
import { save } from "../view/download.js";
import { element, icon } from "../view/dom.js";
import { deleteEverything } from "./deletion.js";
import { DataExport } from "./export.js";

/** What has to be typed before everything is deleted. */
const WORD = "delete";

export class UserDataDialog {
  #api;
  #onDeleted;
  #title = element("h2", { class: "dialog-title", id: "user-data-title", tabindex: "-1" });
  #body = element("div", { class: "user-data" });
  #dialog = element("dialog", { class: "dialog", "aria-labelledby": "user-data-title" }, this.#title, this.#body);
  #controller = new AbortController();
  /** Nothing closes it while something is being deleted: the person wants to know how that ends. */
  #isDeleting = false;

  /** @param {Api} api @param {() => void} onDeleted everything is gone */
  constructor(api, onDeleted) {
    this.#api = api;
    this.#onDeleted = onDeleted;
    document.body.append(this.#dialog);
    this.#dialog.addEventListener("cancel", (event) => {
      if (this.#isDeleting) event.preventDefault();
    });
    // Chrome closes a dialog on Escape again, although that was prevented before.
    document.addEventListener("keydown", (event) => {
      if (this.#isDeleting && event.key === "Escape") event.preventDefault();
    });
    this.#dialog.addEventListener("close", () => this.#controller.abort());
  }

  /** @param {HTMLElement} opener gets the focus back */
  open(opener) {
    this.#dialog.addEventListener("close", () => opener.focus(), { once: true });
    this.#choose();
    this.#dialog.showModal();
    this.#title.focus();
  }

  #choose() {
    this.#show(
      "Your data",
      text("Everything that is stored about you: conversations, what your coach remembers, workouts, your profile."),
      actions(
        this.#closer("Close"),
        button("Export my data", () => void this.#export(new DataExport(this.#api))),
        button("Delete everything\u2026", () => this.#confirm(), "button-danger"),
      ),
    );
  }

  /** @param {DataExport} data where it has come to, after a failure */
  async #export(data) {
    const { signal } = (this.#controller = new AbortController());
    const count = element("p", { class: "dialog-text", role: "status" }, "Exporting\u2026");
    this.#show("Export my data", count, actions(this.#closer("Cancel")));
    try {
      const onRecords = (/** @type {number} */ records) => {
        count.textContent = `Exporting\u2026 ${counted(records, "record")} so far`;
      };
      const whole = await data.run({ signal, onRecords });
      if (signal.aborted) return;
      save(`coachstream-${new Date().toISOString().slice(0, 10)}.jsonl`, whole);
      this.#show("Export my data", text("The file is in your downloads. Each line is one record."), actions(this.#closer("Close")));
    } catch (error) {
      if (!signal.aborted) this.#failed("Export my data", error, "Go on", () => void this.#export(data));
    }
  }

  #confirm() {
    const confirm = button("Delete for good", () => {}, "button-danger", "submit");
    confirm.disabled = true;
    const input = element("input", {
      class: "confirm-word",
      id: "confirm-word",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      input: () => (confirm.disabled = input.value.trim().toLowerCase() !== WORD),
    });
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      if (!confirm.disabled) void this.#delete();
    };
    this.#show(
      "Delete everything?",
      element(
        "form",
        { submit },
        text("All of your conversations with all of your coaches, and all that they remember about you, will be gone for good."),
        element("label", { class: "dialog-text", for: "confirm-word" }, "Type \u201c", element("b", {}, WORD), "\u201d to confirm:"),
        input,
        actions(button("Keep everything", () => this.#choose()), confirm),
      ),
    );
    input.focus();
  }

  async #delete() {
    const status = element("p", { class: "dialog-text", role: "status" }, "Deleting\u2026");
    this.#isDeleting = true;
    this.#show("Delete everything", status);
    try {
      /** @type {Readonly<Deleted>} */
      let total = { conversations: 0, memories: 0, remnants: 0 };
      const left = await deleteEverything(this.#api, (deleted) => {
        total = deleted;
        status.textContent = `Deleting\u2026 ${inWords(deleted)} so far`;
      });
      this.#isDeleting = false;
      this.#onDeleted();
      this.#show("Everything is deleted", ...report(total, left), actions(this.#closer("Close")));
    } catch (error) {
      this.#isDeleting = false;
      this.#failed("Delete everything", error, "Go on", () => void this.#delete());
    }
  }

  /** @param {string} title @param {unknown} error @param {string} label @param {() => void} again */
  #failed(title, error, label, again) {
    const sentence = element("span", {}, Failure.from(error).sentence);
    const problem = element("p", { class: "problem", role: "alert" }, icon("alert"), sentence);
    this.#show(title, problem, actions(this.#closer("Close"), button(label, again)));
  }

  /** @param {string} label */
  #closer(label) {
    return button(label, () => this.#dialog.close());
  }

  /** @param {string} title @param {...Node} nodes */
  #show(title, ...nodes) {
    this.#title.textContent = title;
    this.#body.replaceChildren(...nodes);
    // What had the focus is gone.
    if (this.#dialog.open) this.#title.focus();
  }
}

/** @param {Readonly<Deleted>} deleted @param {Readonly<Record<string, number>>} left */
function report(deleted, left) {
  const kinds = Object.entries(left).filter(([, count]) => count > 0);
  if (kinds.length === 0) return [text(`${inWords(deleted)}.`)];
  const items = kinds.map(([kind, count]) => element("li", {}, `${kind}: ${count.toLocaleString()}`));
  return [
    text(`${inWords(deleted)}.`),
    text("These records belong to other parts of the service, and are still there:"),
    element("ul", { class: "dialog-text user-data-left" }, ...items),
  ];
}

/** @param {Readonly<Deleted>} deleted */
function inWords({ conversations, memories, remnants }) {
  const parts = [counted(conversations, "conversation"), memories === 1 ? "1 memory" : `${memories.toLocaleString()} memories`];
  if (remnants > 0) parts.push(counted(remnants, "other record"));
  return parts.join(", ");
}

/** @param {number} count @param {string} what */
function counted(count, what) {
  return `${count.toLocaleString()} ${what}${count === 1 ? "" : "s"}`;
}

/** @param {string} sentence */
function text(sentence) {
  return element("p", { class: "dialog-text" }, sentence);
}

/** @param {...Node} buttons */
function actions(...buttons) {
  return element("div", { class: "dialog-actions" }, ...buttons);
}

/** @param {string} label @param {() => void} click @param {string} [kind] @param {"button"|"submit"} [type] */
function button(label, click, kind = "", type = "button") {
  return element("button", { class: `button ${kind}`.trim(), type, click }, label);
}
