/**
 * Keeps the newest text in view, until the reader scrolls up to read; then only a button leads back.
 */
import { byId } from "./dom.js";

/** This close to the end counts as being there. */
const NEAR_PX = 40;

export class Autoscroll {
  #scroller = byId("scroller", HTMLElement);
  #jump = byId("jump", HTMLButtonElement);
  #follows = true;
  #lastTop = 0;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.toLatest());
    const grown = new ResizeObserver(() => this.#grown());
    grown.observe(this.#scroller);
    grown.observe(byId("thread", HTMLElement));
  }

  /** Goes to the end, and follows it from now on. */
  toLatest() {
    this.#follows = true;
    this.#grown();
  }

  #scrolled() {
    const { scrollTop } = this.#scroller;
    // Only scrolling up means reading: growing text moves the end away without any scrolling.
    if (scrollTop < this.#lastTop - 1) this.#follows = this.#isNearEnd();
    else if (this.#isNearEnd()) this.#follows = true;
    this.#lastTop = scrollTop;
    this.#showJump();
  }

  #grown() {
    if (this.#follows) {
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#lastTop = this.#scroller.scrollTop;
    }
    this.#showJump();
  }

  #isNearEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #showJump() {
    const hidden = this.#follows || this.#isNearEnd();
    if (hidden && document.activeElement === this.#jump) this.#scroller.focus({ preventScroll: true });
    this.#jump.hidden = hidden;
  }
}
