/**
 * Light or dark: the system's choice, until the person makes one, which is remembered.
 *
 * `early.js` puts the remembered choice in place before the first paint.
 */
import { recall, remember } from "../remembered.js";
import { byId } from "./dom.js";

export function themeToggle() {
  const button = byId("theme-toggle", HTMLButtonElement);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  const adopt = (/** @type {string|null} */ theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    show();
  };

  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    remember("theme", theme);
    adopt(theme);
  });
  system.addEventListener("change", show);
  // Another tab has chosen.
  addEventListener("storage", () => adopt(recall("theme")));
  show();
}
