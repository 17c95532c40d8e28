/**
 * What a conversation shows before it has begun.
 *
 * @import {Chat} from "../chat.js"
 */
import { avatar } from "./avatar.js";
import { element } from "./dom.js";

const SUGGESTIONS = [
  "How did my training go this week?",
  "Plan tomorrow\u2019s session for me.",
  "What do you remember about me?",
  "I slept badly. Should I still train today?",
];

/** @param {Chat} chat */
export function welcome(chat) {
  const { coach, coaches } = chat;
  return element(
    "section",
    { class: "welcome", "aria-label": "Begin" },
    avatar(coach.name, coaches.indexOf(coach)),
    element(
      "h2",
      { class: "welcome-title" },
      "What\u2019s on your mind? ",
      element("bdi", {}, coach.name),
      " is listening.",
    ),
    coach.description ? element("p", { class: "welcome-text", dir: "auto" }, coach.description) : null,
    element(
      "ul",
      { class: "suggestions", "aria-label": "Suggested first messages" },
      ...SUGGESTIONS.map((text) =>
        element(
          "li",
          {},
          element("button", { class: "suggestion", type: "button", click: () => chat.send(text) }, text),
        ),
      ),
    ),
  );
}
