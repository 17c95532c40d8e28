/**
 * Keeps the message box above an on-screen keyboard in browsers that lay the keyboard over the page and do not
 * know `interactive-widget` (Safari).
 */
export function fitAboveKeyboard() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const fit = () => {
    // Zooming in also makes it smaller; that is no keyboard.
    if (viewport.scale > 1.01) return;
    document.documentElement.style.setProperty("--visible-height", `${viewport.height}px`);
    if (viewport.offsetTop > 0) window.scrollTo(0, 0);
  };
  viewport.addEventListener("resize", fit);
  fit();
}
