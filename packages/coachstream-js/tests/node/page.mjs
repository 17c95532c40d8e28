// A page without a browser: React in happy-dom, and what a test sees of a hook.
import { Window } from "happy-dom";

export const window = new Window({ url: "http://localhost/" });
const { document, localStorage } = window;
Object.defineProperty(globalThis, "localStorage", { value: localStorage, configurable: true, writable: true });
Object.assign(globalThis, {
  window,
  document,
  addEventListener: window.addEventListener.bind(window),
  removeEventListener: window.removeEventListener.bind(window),
});
globalThis.navigator ??= window.navigator; // Node has one from version 21 on

// React looks at the page when it is imported.
const React = await import("react");
const { createRoot } = await import("react-dom/client");

/** Mounts a component that uses the hook. Give it the same arguments again for a second tab, or for a reloaded page. */
export function mount(useHook, options, { isStrict = false } = {}) {
  const waiting = new Set();
  let endsEffects = () => {};
  const page = {
    hook: null,
    renders: [],
    async until(condition) {
      if (page.hook !== null && condition(page.hook)) return page.hook;
      return new Promise((resolve) => {
        const check = () => {
          if (!condition(page.hook)) return;
          waiting.delete(check);
          resolve(page.hook);
        };
        waiting.add(check);
      });
    },
    /** A page that is hidden in an `Activity` keeps its state; its effects end. */
    render(next, mode = "visible") {
      const shown = React.createElement(React.Activity, { mode }, React.createElement(Component, { options: next }));
      const renders = page.renders.length;
      root.render(isStrict ? React.createElement(React.StrictMode, null, shown) : shown);
      if (mode === "hidden") return new Promise((resolve) => (endsEffects = resolve));
      return page.until(() => page.renders.length > renders);
    },
    close: () => root.unmount(),
  };
  function Component({ options }) {
    const hook = useHook(options);
    React.useEffect(() => {
      page.hook = hook;
      page.renders.push(hook);
      for (const check of waiting) check();
    });
    React.useEffect(() => () => endsEffects(), []);
    return null;
  }
  const root = createRoot(document.createElement("div"));
  void page.render(options);
  return page;
}
