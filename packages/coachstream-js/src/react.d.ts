/** Types of `coachstream/react`. */
import type { ConversationOptions, ReconnectOptions, ReplyEvent, StoredMessage } from "./coachstream.js";

/**
 * A conversation with a coach: shows its messages, sends one, and reads the reply while it is written.
 *
 * When the component is mounted, the reply that is being written is read from its beginning, so a reloaded page and a
 * second tab show it, too. When it is unmounted, reading stops; the reply does not. Another `conversationUrl` is
 * another conversation.
 */
export function useCoachStream(options: UseCoachStreamOptions): CoachStream;

export interface UseCoachStreamOptions extends Omit<ConversationOptions, "signal"> {
  /**
   * The stored messages, oldest first, which are read once; or a function that loads them, which is called after
   * mounting, when the page becomes visible, and when a reply was completed meanwhile, such as one that a message of this
   * page waited for. Without it, only the messages of this page are shown.
   */
  history?: readonly StoredMessage[] | (() => Promise<readonly StoredMessage[]>);
  /**
   * The conversation's address at the function `coach-conversations`, which keeps the versions that `chooseVersion`
   * chooses; `conversationUrl` by default, which is right where one host serves all functions.
   */
  historyUrl?: string | URL;
  /** Whether to read the reply that is being written on mounting; `true` by default. */
  resume?: boolean;
  reconnect?: ReconnectOptions;
  /** The IANA name of the time zone in which the coach reckons dates; the browser's by default. */
  timeZone?: string;
  /** Keeps drafts; `localStorage` by default, `null` for none. */
  storage?: DraftStorage | null;
  /** Gets every event of the reply, for example `contextual` ones. What it throws is reported, and ends nothing. */
  onEvent?: (event: ReplyEvent) => void;
}

export type DraftStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export interface CoachStream extends ChatState, Chat {}

export interface ChatState {
  /** Oldest first. A message that has not changed is the same object. */
  readonly messages: readonly ChatMessage[];
  readonly status: Status;
  /**
   * Why the last message was not sent, its reply broke off or could not be stopped, or a version could not be chosen: a
   * `CoachStreamError`, or what `token` or `history` threw.
   */
  readonly error: Error | null;
  /** The value of the message box. It survives a reload, as does a sent message until the server has it. */
  readonly draft: string;
  /** Whether the connection is lost, and is being restored. */
  readonly isReconnecting: boolean;
}

/**
 * - `loading`: `history` is being loaded for the first time;
 * - `ready`: nothing is expected;
 * - `sending`: the server does not have the message yet;
 * - `waiting`: it has the message, and no word of the reply has arrived;
 * - `streaming`: the reply is arriving;
 * - `error`: see `error`; `retry` may help.
 */
export type Status = "loading" | "ready" | "sending" | "waiting" | "streaming" | "error";

export interface ChatMessage {
  /** Does not change while the page is open: use it as the `key`. */
  readonly id: string;
  readonly role: "user" | "assistant";
  readonly content: string;
  /** `sending` and `sent` are of the user's messages; an `interrupted` reply is incomplete. */
  readonly state: "sending" | "sent" | "streaming" | "complete" | "interrupted";
  /** The message as it is stored, once that is known. */
  readonly stored: StoredMessage | null;
}

/** What the page can do; these functions do not change while `conversationUrl` does not. */
export interface Chat {
  /**
   * Sends this text, by default the draft. The message is shown at once. If it does not reach the server, its text
   * returns to the draft; sent again unchanged, it is the same message, and is never answered twice.
   *
   * @returns `false`, and nothing is sent, if the text is empty or a reply is still arriving
   */
  send(text?: string): boolean;
  /**
   * Stops the reply on the server, for all its readers; its text so far is stored. If that fails, `error` says why, and
   * the reply goes on. A message that still waits for another one's reply is withdrawn: the service deletes it, and its
   * text returns to the draft. It stays, until `retry`, if it has a part of a reply, or if the service rejects messages
   * during a reply instead of queueing them.
   */
  stop(): Promise<void>;
  /**
   * Repeats what failed: sends the message again, with the same idempotency key, or resumes. One that was withdrawn gets
   * a new key. A last message without a complete reply can be repeated after a reload, too.
   *
   * @returns `false` if there is nothing to repeat
   */
  retry(): boolean;
  /**
   * Asks for another reply to the last message. The old one is hidden meanwhile, and comes back if the try fails; `retry`
   * then repeats it. The service keeps the older version (see `chooseVersion`).
   *
   * @returns `false`, and nothing happens, if the last message is no stored reply, or a reply is still arriving
   */
  regenerate(): boolean;
  /** Replaces the last message of the user, and asks for a reply to it; otherwise like `regenerate`. */
  edit(text: string): boolean;
  /**
   * Lets the last reply go on where it ends, if its `stored.metadata.stopReason` is `stopped`, `max_tokens` or
   * `interrupted`; otherwise like `regenerate`. Where the model cannot, `error.code` is `CANNOT_CONTINUE`.
   */
  continueReply(): boolean;
  /**
   * Makes an older version of the last exchange the chosen one, and shows both its messages in the place of those that
   * were shown, under their `id`s. `versions` of `coachstream` lists them. If that fails, `error` says why, and the
   * version that was shown stays. What has changed on the page meanwhile is not overwritten.
   *
   * @param versionId the id of the older version's reply, `aiMessage.id`
   * @returns whether the conversation has that version now; `false`, and nothing is sent, if the last message is no
   *   stored reply, a reply is still arriving, or another version is being chosen
   */
  chooseVersion(versionId: string): Promise<boolean>;
  setDraft(text: string): void;
  /** Adds stored messages, in their places, and updates those that are known. */
  setMessages(messages: readonly StoredMessage[]): void;
}
