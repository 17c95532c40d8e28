/**
 * The coaches, and the conversations with the one on view. On a narrow screen it is a drawer.
 *
 * @import {Chat} from "../chat.js"
 */
import { hashFor } from "../route.js";
import { avatar } from "./avatar.js";
import { ConversationList } from "./conversation-list.js";
import { byId, element } from "./dom.js";

export class Sidebar {
  #chat;
  #coaches = byId("coaches", HTMLElement);
  #new = byId("new-conversation", HTMLAnchorElement);

  /** @param {Chat} chat @param {{userName: string, onChosen: () => void, onRemoved: () => void}} options */
  constructor(chat, { userName, onChosen, onRemoved }) {
    this.#chat = chat;
    new ConversationList(chat, { onChosen, onRemoved });
    if (userName) byId("signed-in", HTMLElement).append("Signed in as ", element("bdi", {}, userName));
    this.#new.addEventListener("click", onChosen);
    this.#coaches.append(...chat.coaches.map((coach, position) => this.#coach(coach, position)));
    chat.addEventListener("opened", () => this.#show());
  }

  /** @param {import("../types.js").Coach} coach @param {number} position */
  #coach({ coachId, name, description }, position) {
    const text = element(
      "span",
      { class: "coach-text" },
      element("span", { class: "coach-name", dir: "auto" }, name),
      element("span", { class: "coach-description", dir: "auto" }, description),
    );
    const link = element("a", { class: "coach", href: hashFor(coachId), "data-coach": coachId }, avatar(name, position), text);
    return element("li", {}, link);
  }

  #show() {
    const { coachId } = this.#chat.thread;
    this.#new.href = hashFor(coachId);
    for (const link of this.#coaches.querySelectorAll("a")) {
      if (link.dataset.coach === coachId) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
}
