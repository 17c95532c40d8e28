/** The sidebar of a narrow screen: it slides in over the conversation, and keeps the focus while it is open. */
import { byId } from "./dom.js";

/** As in `layout.css`. */
const NARROW = "(max-width: 820px)";

export class Drawer {
  #sidebar = byId("sidebar", HTMLElement);
  #main = byId("main", HTMLElement);
  #scrim = byId("scrim", HTMLElement);
  #opener = byId("drawer-open", HTMLButtonElement);
  #closer = byId("drawer-close", HTMLButtonElement);
  #narrow = matchMedia(NARROW);
  #isOpen = false;

  constructor() {
    this.#opener.addEventListener("click", () => {
      this.#isOpen = true;
      this.#show();
      this.#closer.focus();
    });
    this.#closer.addEventListener("click", () => this.close());
    this.#scrim.addEventListener("click", () => this.close());
    this.#narrow.addEventListener("change", () => this.#show());
    this.#show();
  }

  /** @returns {boolean} whether it was open */
  close() {
    if (!this.#isOpen) return false;
    this.#isOpen = false;
    this.#show();
    if (this.#narrow.matches) this.#opener.focus();
    return true;
  }

  #show() {
    const covers = this.#narrow.matches && this.#isOpen;
    this.#sidebar.toggleAttribute("data-open", covers);
    this.#sidebar.inert = this.#narrow.matches && !this.#isOpen;
    this.#main.inert = covers;
    this.#scrim.hidden = !covers;
    this.#opener.setAttribute("aria-expanded", String(covers));
  }
}
