/**
 * Leads through the versions of an exchange, and chooses one.
 *
 * @import {Entry} from "../thread.js"
 * @import {Actions} from "./message-view.js"
 */
import { INTERRUPTED } from "../thread.js";
import { element, icon } from "./dom.js";

/** @param {Entry} entry @param {Actions} actions @returns {Node[]} */
export function versionControls({ id, versions, version, isChosen, isLast, content, stopReason }, actions) {
  if (versions < 2) return [];
  if (version === 0) return [textButton(`${versions} versions`, "versions", () => actions.showVersions(id))];
  const previous = arrow("previous", "Previous version", () => actions.stepVersion(-1));
  const next = arrow("next", "Next version", () => actions.stepVersion(1));
  previous.disabled = version === 1;
  next.disabled = version === versions;
  // Its text changes while a button next to it has the focus.
  const which = element("span", { class: "version", role: "status" }, `${version} of ${versions}`);
  const canChoose = isLast && !isChosen && content !== "" && stopReason !== INTERRUPTED;
  return [
    element("span", { class: "versions", role: "group", "aria-label": "Versions" }, previous, which, next),
    canChoose ? textButton("Use this version", "choose", () => actions.chooseVersion()) : null,
    textButton("Close versions", "versions", () => actions.hideVersions()),
  ].filter((node) => node !== null);
}

/** @param {string} label @param {string} action @param {() => void} click */
function textButton(label, action, click) {
  return element("button", { class: "button button-small button-text", type: "button", "data-action": action, click }, label);
}

/** @param {string} iconName @param {string} label @param {() => void} click */
function arrow(iconName, label, click) {
  const attributes = { class: "icon-button icon-button-small", type: "button", "aria-label": label, title: label };
  return element("button", { ...attributes, "data-action": label, click }, icon(iconName));
}
