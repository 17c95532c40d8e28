/**
 * What is on view: the conversation's title and the coach.
 *
 * @import {Chat} from "../chat.js"
 */
import { byId, element } from "./dom.js";

export class TopBar {
  #chat;
  #title = byId("title", HTMLElement);
  #coach = byId("subtitle", HTMLElement);

  /** @param {Chat} chat */
  constructor(chat) {
    this.#chat = chat;
    for (const event of ["opened", "created", "conversations"]) chat.addEventListener(event, () => this.#show());
  }

  #show() {
    const { thread, coach } = this.#chat;
    const isKnown = this.#chat.isKnown(coach.coachId);
    const known = thread.conversationId === null ? "New conversation" : (this.#chat.title ?? "Conversation");
    const title = isKnown ? known : "Unknown coach";
    this.#title.textContent = title;
    if (isKnown) this.#coach.replaceChildren("with ", element("bdi", {}, coach.name));
    else this.#coach.replaceChildren();
    document.title = `${title} \u00b7 coachstream`;
  }
}
