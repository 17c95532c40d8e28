/** Types of `coachstream/ai-sdk`. */
import type { ChatTransport, UIMessage } from "ai";
import type {
  CompleteEvent,
  ContextualEvent,
  ConversationOptions,
  GuardrailWarningEvent,
  QueuedEvent,
  ReconnectOptions,
  StoredMessage,
} from "./coachstream.js";

/** The messages of a chat: `useChat<CoachStreamUIMessage>`. */
export type CoachStreamUIMessage = UIMessage<CoachStreamMetadata, CoachStreamDataParts>;

/** What is known of a message besides its text. A reply that is arriving has only its `runId`. */
export interface CoachStreamMetadata extends Partial<Pick<CompleteEvent, "pineconeContext" | "usage" | "timings">> {
  /** The stored id. */
  messageId?: string;
  /** Replies only: the stored id of the message that it replies to. */
  userMessageId?: string;
  /** `YYYY-MM-DDTHH:MM:SS.mmmZ` */
  timestamp?: string;
  model?: string;
  /** As in `StoredMessage`. */
  stopReason?: string;
  guardrailWarning?: boolean;
  runId?: string | null;
}

/** What `onData` gets, each as `data-{name}`; no message has them. */
export type CoachStreamDataParts = {
  queued: QueuedEvent;
  contextual: ContextualEvent;
  "guardrail-warning": GuardrailWarningEvent;
  connection: { state: "connected" | "reconnecting" };
};

/** A stored message in the format of `useChat`, with the id that the service recognizes if it is sent again. */
export function toUIMessage(message: StoredMessage): CoachStreamUIMessage;

export interface CoachStreamTransportOptions extends Omit<ConversationOptions, "conversationUrl" | "signal"> {
  /**
   * `{url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}`; or a function that returns it for a chat's
   * id, if the transport serves several conversations.
   */
  conversationUrl: string | URL | ((chatId: string) => string | URL);
  reconnect?: ReconnectOptions;
  /** The IANA name of the time zone in which the coach reckons dates; the browser's by default. */
  timeZone?: string;
}

/**
 * A transport for `useChat` of the AI SDK 7.
 *
 * - Only the last message is sent; the service has the ones before. Its `id` is the idempotency key: `sendMessage` with
 *   the `messageId` of a message that was sent reads the same reply.
 * - A lost connection is restored, and the text continues where it was. `onData` gets `data-connection` with the
 *   `state` `reconnecting` or `connected`.
 * - With `resume: true`, every tab joins the reply that is being written, from its beginning.
 * - `regenerate()`, files and edited messages are refused, but `useChat` has changed its list by then. The `headers`,
 *   `body` and `metadata` of a request are not sent.
 *
 * Errors are those of `coachstream`: `error.code` in `onError` and in `useChat`'s `error`.
 */
export class CoachStreamTransport<
  UI_MESSAGE extends UIMessage = CoachStreamUIMessage,
> implements ChatTransport<UI_MESSAGE> {
  constructor(options: CoachStreamTransportOptions);
  readonly resumeStreamIsReplay: boolean;
  sendMessages: ChatTransport<UI_MESSAGE>["sendMessages"];
  reconnectToStream: ChatTransport<UI_MESSAGE>["reconnectToStream"];
  /**
   * Stops the reply of a chat on the server, or that of every chat; the stream then finishes with its text so far.
   * `useChat`'s own `stop()` only stops reading; the reply can be stopped after it, too.
   *
   * @throws {CoachStreamError} the server could not be reached; or `RUN_UNKNOWN`, if reading was stopped before the
   *   service had begun the reply
   */
  stop(chatId?: string): Promise<void>;
}
