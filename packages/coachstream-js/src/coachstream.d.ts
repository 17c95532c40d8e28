/**
 * Types of `coachstream.js`, a client for the streams of coachstream.
 *
 * A reply is written by a *run* on the server, which goes on whoever reads it. `start` sends a message and reads the
 * reply, `join` reads the one that is being written in a conversation, `resume` one whose run is known, and `stop`
 * stops a run. What they return is read with `for await`, and ends in one of these ways:
 *
 * - after a `complete` event: the reply is whole, and stored;
 * - without one: there was nothing (left) to read, and what there is to know of the reply is in the conversation;
 * - with a `CoachStreamError`, or the reason of the `signal` that was aborted.
 *
 * A connection that breaks ends nothing. Another one is opened, and the text goes on where it was: after a growing
 * pause; at once when the service asks for it, when the network is back, and when the page is visible again.
 */

/** Where a conversation is, and who asks. */
export interface ConversationOptions {
  /** `{url}/users/{userId}/coaches/{coachId}/conversations/{conversationId}`; relative to the page. */
  conversationUrl: string | URL;
  /**
   * Gives the ID token; asked before each request, and once more, with `fresh: true`, when the service refuses it.
   * An error it throws ends the reading, unless it has `retryable: true`.
   */
  token: (need: { fresh: boolean }) => string | Promise<string>;
  /** Ends the reading. It does not stop the reply: `stop` does. */
  signal?: AbortSignal;
}

export interface ReplyOptions extends ConversationOptions {
  reconnect?: ReconnectOptions;
}

/** All in milliseconds. */
export interface ReconnectOptions {
  /** How long a connection may say nothing until it is taken for dead; 45,000. The service speaks every 15 s. */
  silenceMs?: number;
  /** The first pause between two connections, at most; it doubles with each failure, and half of it is random. 500. */
  backoffMs?: number;
  /** The longest such pause; 10,000. */
  maxBackoffMs?: number;
  /** How long nothing may work before the reading ends with `ConnectionLost`; 60,000. */
  giveUpAfterMs?: number;
}

export interface StartOptions extends ReplyOptions {
  /** What the person wrote. */
  message: string;
  /**
   * Names the message for good, 1 to 64 characters of `A-Za-z0-9_-`; made if it is not given. Sending a message again
   * with the same name stores it once: it joins the run, gets the stored reply, or has an interrupted one written anew.
   */
  clientMessageId?: string;
  /** Now, if it is not given. */
  writtenAt?: Date;
  /** What reads the stream: `fetch`, if it is not given, or the browser's own `EventSource`. */
  transport?: "fetch" | "eventsource";
}

export interface ResumeOptions extends ReplyOptions {
  runId: string;
  /** The `lastEventId` of the reply that was read before; without it, it is read from its beginning. */
  after?: string;
  /** The `text` of the reply that was read before. */
  text?: string;
}

export interface StopOptions extends ConversationOptions {
  runId: string;
}

/** Sends a message and reads the reply. Nothing is sent until the reply is read. */
export function start(options: StartOptions): Reply;

/** Reads the reply that is being written in a conversation; ends at once, with no event, if none is. */
export function join(options: ReplyOptions): Reply;

/** Reads a reply whose run is known, from where it was left; ends at once if nothing is left. */
export function resume(options: ResumeOptions): Reply;

/**
 * Has a run stopped. What it has said becomes the reply, and everybody who reads it gets `complete` with the stop
 * reason `stopped` within about a second; `finished` means that it was over before.
 *
 * @throws {ServiceError} the run is not there, or not this user's
 * @throws {ConnectionLost} there was no answer
 */
export function stop(options: StopOptions): Promise<"stopping" | "finished">;

/** A name for a message that no other message has. */
export function newClientMessageId(): string;

/** A reply that is being read; it can be read once. */
export interface Reply extends AsyncIterable<ReplyEvent> {
  /** The run that writes it, once the service has said so. */
  readonly runId: string | null;
  /** For `resume`: everything up to here is in `text`. Empty before there is anything. */
  readonly lastEventId: string;
  /** The text so far. */
  readonly text: string;
  /** Has the reply stopped (see `stop`), as soon as its run is known. */
  stop(): Promise<"stopping" | "finished">;
}

export type ReplyEvent = RunEvent | TextEvent | ConnectionEvent | CompleteEvent;

/** The run is known: the reply can be stopped, and resumed from elsewhere. */
export interface RunEvent {
  type: "run";
  runId: string;
}

/** The text has changed. Mostly it has grown; after a failure of the model it may begin anew. */
export interface TextEvent {
  type: "text";
  /** All of it, so far. */
  text: string;
}

export type ConnectionEvent =
  | { type: "connection"; state: "connected" }
  | {
      type: "connection";
      state: "reconnecting";
      /** How often it has failed since it last worked. */
      failures: number;
      /** For a log. */
      reason: Error;
    };

/** The reply is whole, and stored. */
export interface CompleteEvent {
  type: "complete";
  /** The final text, `aiMessage.content`. */
  text: string;
  /** `null` for a reply that was stored before, and whose run is not known any more. */
  runId: string | null;
  conversationId: string;
  messageId: string;
  status: "finished";
  /** `end_turn`, `max_tokens` or `stop_sequence` of the model, or `stopped`. */
  stopReason: string;
  userMessage: StoredMessage;
  aiMessage: StoredMessage;
  pineconeContext?: { used: boolean; matches: number; contextLength: number };
  usage?: { inputTokens: number; outputTokens: number; cacheReadTokens: number; cacheWriteTokens: number };
  /** Milliseconds since the turn began. */
  timings?: { contextMs: number; firstChunkMs: number | null; totalMs: number; modelLatencyMs: number };
}

export interface StoredMessage {
  id: string;
  role: "user" | "assistant";
  content: string;
  /** `YYYY-MM-DDTHH:MM:SS.mmmZ` */
  timestamp: string;
  metadata?: {
    model?: string;
    /** Of a reply; also `stopped`, `interrupted` and `content_filtered`. */
    stopReason?: string;
    /** Of a user's message. */
    clientMessageId?: string;
    /** Of a reply: the id of the message that it answers. */
    replyTo?: string;
  };
}

/** Every error of this module. */
export class CoachStreamError extends Error {
  /** The service's code, or `CONNECTION_LOST`, `UNREADABLE_STREAM`, `RUN_UNKNOWN`, `HTTP_<status>`. */
  readonly code: string;
  /** Whether the same may work later. */
  readonly retryable: boolean;
  /** Of the HTTP response, if there was one that says what is wrong. */
  readonly status: number | null;
}

/** The service said what is wrong. `message` is written for a person. */
export class ServiceError extends CoachStreamError {
  /** With `TURN_IN_PROGRESS`: the run that answers another message; it can be resumed or stopped. */
  readonly runId: string | null;
  /** What was stored of a reply that broke off. It counts; the text that was shown may have been longer. */
  readonly partialMessage: StoredMessage | null;
}

/** Nothing worked for `giveUpAfterMs`. The reply may still be written: `resume`, or `start` with the same id. */
export class ConnectionLost extends CoachStreamError {}

/** What arrived is not what the service sends: a wrong address, or a proxy that answers itself. */
export class UnreadableStream extends CoachStreamError {}

/** Server-Sent Events (HTML standard, section 9.2.6), for whoever brings the bytes: cut anywhere in, events out. */
export class EventStreamDecoder {
  /** The last id that the stream has named, be it without an event. */
  readonly lastEventId: string;
  /**
   * Gives the events that these bytes complete; take them all.
   *
   * @throws {UnreadableStream} an event is longer than 4 Mi characters
   */
  feed(bytes: Uint8Array): Iterable<{ id: string; data: string }>;
}
