// What cannot wait for the modules; a classic script, which runs before the first paint.
"use strict";

// The remembered colours must not flash in. `theme-toggle.js` explains the values.
try {
  const remembered = localStorage.getItem("coachstream.theme");
  if (remembered === "light" || remembered === "dark") document.documentElement.dataset.theme = remembered;
} catch {
  // Storage may be forbidden; then the system's colours are used.
}

// A message can be written at once. Until `composer.js` takes over, its text survives a reload, and Enter leaves a note to
// send it.
document.addEventListener("input", ({ target: box }) => {
  const { form } = box;
  if (box.id !== "message" || "live" in form.dataset) return;
  delete form.dataset.waits;
  form.elements.send.disabled = box.value.trim() === "";
  try {
    sessionStorage.setItem("coachstream.early", box.value);
  } catch {
    // It lasts as long as the page.
  }
});
document.addEventListener("keydown", (event) => {
  const { target: box } = event;
  if (box.id !== "message" || "live" in box.form.dataset) return;
  const isTouch = matchMedia("(hover: none) and (pointer: coarse)").matches;
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229 || isTouch) return;
  event.preventDefault();
  box.form.dataset.waits = "";
});
document.addEventListener("submit", (event) => {
  if (event.target.id !== "composer" || "live" in event.target.dataset) return;
  event.preventDefault();
  event.target.dataset.waits = "";
});
