/**
 * Keeps the newest text in view, until the reader scrolls up to read; then only a button leads back.
 */
import { byId } from "./dom.js";

/** A reader who scrolls down to within this distance of the end is at the end. */
const NEAR_PX = 40;

export class Autoscroll {
  #scroller = byId("scroller", HTMLElement);
  #thread = byId("thread", HTMLElement);
  #jump = byId("jump", HTMLButtonElement);
  #follows = true;
  #lastTop = 0;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.toLatest());
    const grown = new ResizeObserver(() => this.#grown());
    grown.observe(this.#scroller);
    grown.observe(this.#thread);
  }

  /** Goes to the end, and follows it from now on. */
  toLatest() {
    this.#follows = true;
    // An invitation has a beginning, and no latest message.
    if (!this.#hasMessages) this.#scroller.scrollTop = 0;
    this.#grown();
  }

  /** Stops following the end: the reader was led elsewhere. */
  leave() {
    this.#follows = false;
  }

  #scrolled() {
    const { scrollTop } = this.#scroller;
    // Scrolling up, however slowly, means reading; only shrinking text also moves up, and stays at the end.
    if (scrollTop < this.#lastTop) this.#follows = this.#isWithin(1);
    else if (scrollTop > this.#lastTop && this.#isWithin(NEAR_PX)) this.#follows = true;
    this.#lastTop = scrollTop;
    this.#showJump();
  }

  #grown() {
    if (this.#follows && this.#hasMessages) {
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#lastTop = this.#scroller.scrollTop;
    }
    this.#showJump();
  }

  get #hasMessages() {
    return this.#thread.dataset.status === "ready";
  }

  /** @param {number} pixels of the end */
  #isWithin(pixels) {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < pixels;
  }

  #showJump() {
    const hidden = !this.#hasMessages || this.#follows || this.#isWithin(NEAR_PX);
    if (hidden && document.activeElement === this.#jump) this.#scroller.focus({ preventScroll: true });
    this.#jump.hidden = hidden;
  }
}
