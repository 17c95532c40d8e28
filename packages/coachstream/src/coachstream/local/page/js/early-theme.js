// Runs before the first paint (a classic script, as modules run too late): the remembered colours must not
// flash in. `theme.js` explains the values.
try {
  const remembered = localStorage.getItem("coachstream.theme");
  if (remembered === "light" || remembered === "dark") document.documentElement.dataset.theme = remembered;
} catch {
  // Storage may be forbidden; then the system's colours are used.
}
