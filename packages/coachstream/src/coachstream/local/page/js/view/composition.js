/**
 * Whether a key belongs to an input method (Japanese, Chinese, …). Safari ends a composition before it reports the key that
 * ended it; only the code 229 tells that key from others (WebKit bug 165004).
 *
 * @param {KeyboardEvent} event
 */
export function isOfInputMethod({ isComposing, keyCode }) {
  return isComposing || keyCode === 229;
}
