/**
 * Notices that the device has slept. Timers, and in some browsers `performance.now()`, stand still in sleep; the wall clock
 * does not.
 */
const TICK_MS = 5_000;
/** A timer that is this late was not merely waiting for its turn. */
const ASLEEP_MS = 15_000;

/** @param {() => void} onWake the page is visible again, and what it was connected to is probably gone */
export function watchSleep(onWake) {
  let lastTick = Date.now();
  const tick = () => {
    const now = Date.now();
    // A hidden page is throttled, which looks the same; it is looked at when it is visible again.
    if (document.hidden) return;
    const hasSlept = now - lastTick > ASLEEP_MS;
    lastTick = now;
    if (hasSlept) onWake();
  };
  setInterval(tick, TICK_MS);
  document.addEventListener("visibilitychange", tick);
  addEventListener("pageshow", tick);
}
