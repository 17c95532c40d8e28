/** Times as people say them. */

const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const fullDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

/** Whole days from the date's midnight to today's. @param {Date} date @param {Date} now */
function daysAgo(date, now) {
  const midnight = (/** @type {Date} */ day) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate());
  return Math.round((midnight(now) - midnight(date)) / DAY_MS);
}

/** The heading that a conversation stands under. @param {Date} date */
export function periodOf(date, now = new Date()) {
  const days = daysAgo(date, now);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return "This week";
  if (days < 30) return "This month";
  return "Earlier";
}

/** The names of days as of one day, by how long ago they are: a long conversation asks again with each frame. */
const dayNames = { today: 0, names: /** @type {Map<number, string>} */ (new Map()) };

/** @param {Date} date */
export function dayName(date, now = new Date()) {
  const today = Date.UTC(now.getFullYear(), now.getMonth(), now.getDate());
  if (today !== dayNames.today) {
    dayNames.today = today;
    dayNames.names.clear();
  }
  const days = daysAgo(date, now);
  let name = dayNames.names.get(days);
  if (name === undefined) dayNames.names.set(days, (name = newDayName(date, now)));
  return name;
}

/** @param {Date} date @param {Date} now */
function newDayName(date, now) {
  const days = daysAgo(date, now);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return weekday.format(date);
  return (date.getFullYear() === now.getFullYear() ? dayAndMonth : fullDate).format(date);
}

/** @param {Date} date */
export function timeOfDay(date) {
  return clock.format(date);
}

/** @param {number} milliseconds */
export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}
