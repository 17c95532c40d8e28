/** Builds elements. Text only ever becomes a text node. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string|boolean|null|undefined|((event: any) => void)>} [attributes] a function listens to
 *   the event of that name; `true` sets an empty attribute; `false`, `null` and `undefined` set none
 * @param {...(Node|string|null)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** An icon of the page's sprite. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * An element of `index.html`.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind) {
  const node = document.getElementById(id);
  if (!(node instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`);
  return node;
}

/**
 * Shows a dialog of `index.html`, and resolves to the value of the button that closes it, or to nothing.
 *
 * @param {string} id
 * @returns {Promise<string>}
 */
export function choiceIn(id) {
  const earlier = byId(id, HTMLDialogElement);
  // A new element: browsers report late that one has been closed, perhaps when it is open again.
  const dialog = /** @type {HTMLDialogElement} */ (earlier.cloneNode(true));
  earlier.replaceWith(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
