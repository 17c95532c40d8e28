/**
 * Puts the page together: signs in, builds the views, and follows the address.
 */
import { Api } from "./api.js";
import { Chat } from "./chat.js";
import { Failure, NotSignedIn } from "./failure.js";
import { onDemand } from "./on-demand.js";
import { OtherTabs } from "./other-tabs.js";
import { forgetAllBut } from "./remembered.js";
import { hashFor, parseRoute } from "./route.js";
import { announceReplies } from "./view/announcer.js";
import { Autoscroll } from "./view/autoscroll.js";
import { Composer } from "./view/composer.js";
import { byId, element, icon } from "./view/dom.js";
import { Drawer } from "./view/drawer.js";
import { exportButton, searchBox, userDataButton } from "./view/later.js";
import { Sidebar } from "./view/sidebar.js";
import { themeToggle } from "./view/theme-toggle.js";
import { ThreadView } from "./view/thread-view.js";
import { showNotices } from "./view/toast.js";
import { TopBar } from "./view/top-bar.js";
import { fitAboveKeyboard } from "./view/viewport.js";

/** @param {Api} api */
async function start(api) {
  const { session } = api;
  const chat = new Chat(api, new OtherTabs());
  const drawer = new Drawer();
  const autoscroll = new Autoscroll();
  chat.addEventListener("revealed", () => autoscroll.leave());
  new ThreadView(chat);
  new TopBar(chat);
  announceReplies(chat);
  showNotices(chat);
  const composer = new Composer(chat, { userId: session.userId, onSent: () => autoscroll.toLatest() });
  new Sidebar(chat, {
    userName: session.userName,
    onChosen: () => drawer.close(),
    onRemoved: () => {
      location.hash = hashFor(chat.thread.coachId);
    },
  });

  searchBox(chat, api, () => drawer.close());
  exportButton(chat, api);
  userDataButton(chat, api, () => {
    forgetAllBut(["theme"]);
    history.replaceState(null, "", hashFor(chat.thread.coachId));
    void chat.startOver();
  });
  if (new URLSearchParams(location.search).has("inspect")) {
    await onDemand(chat, async () => (await import("./inspect/panel.js")).openPanel(chat))();
  }

  // A touch screen would open its keyboard over what the person wants to read.
  const focusComposer = () => {
    if (matchMedia("(hover: hover)").matches) composer.focus();
  };

  chat.addEventListener("opened", () => autoscroll.toLatest());
  chat.addEventListener("created", () => {
    history.replaceState(null, "", hashFor(chat.thread.coachId, chat.thread.conversationId));
  });
  addEventListener("hashchange", () => {
    const route = parseRoute(location.hash);
    if (!route || (route.coachId === chat.thread.coachId && route.conversationId === chat.thread.conversationId)) return;
    void chat.open(route.coachId, route.conversationId);
    focusComposer();
  });
  // What is stored may have changed while the page was away, or the device asleep.
  addEventListener("online", () => void chat.refresh());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void chat.refresh();
  });
  byId("skip-link", HTMLAnchorElement).addEventListener("click", (event) => {
    event.preventDefault(); // the address names the conversation, not a place in the page
    composer.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (drawer.close()) return;
    chat.stop();
    composer.focus();
  });

  const route = parseRoute(location.hash) ?? (await firstRoute(chat, session));
  history.replaceState(null, "", hashFor(route.coachId, route.conversationId));
  await chat.open(route.coachId, route.conversationId);
  focusComposer();
}

/**
 * @param {Chat} chat
 * @param {import("./types.js").Session} session
 * @returns {Promise<import("./route.js").Route>}
 */
async function firstRoute(chat, { coachId }) {
  return { coachId, conversationId: await chat.latestConversation(coachId) };
}

/** @param {unknown} error */
async function cannotStart(error) {
  const { sentence } = Failure.from(error);
  if (error instanceof NotSignedIn) {
    const { signInForm } = await import("./view/sign-in.js");
    byId("thread", HTMLElement).replaceChildren(signInForm(sentence, () => location.reload()));
    return;
  }
  byId("thread", HTMLElement).replaceChildren(
    element(
      "div",
      { class: "instead" },
      element("p", { class: "problem", role: "alert" }, icon("alert"), element("span", {}, sentence)),
      element("button", { class: "button", type: "button", click: () => location.reload() }, icon("retry"), "Try again"),
    ),
  );
}

themeToggle();
fitAboveKeyboard();
try {
  await start(await Api.connect());
} catch (error) {
  await cannotStart(error);
}
document.documentElement.dataset.ready = "true";
