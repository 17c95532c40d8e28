/**
 * Types of `coachstream/testing`: a service on localhost whose replies a test scripts. It runs in Node.js; a page under
 * test may be in the same process (jsdom, happy-dom) or in a browser, from any origin.
 */
import type { StoredMessage } from "./coachstream.js";

/** Starts a server on a free port of the loopback interface. Close it at the end of the test. */
export function startTestServer(): Promise<TestServer>;

export interface TestServer {
  /** `http://127.0.0.1:{port}` */
  readonly url: string;
  /** The address of the conversation `conv_test`, for `conversationUrl`. */
  readonly conversationUrl: string;
  /** The address of another conversation; one exists as soon as it is used. */
  conversation(id: string): string;
  /** The stored messages, oldest first; those of `conv_test` by default. */
  messages(id?: string): StoredMessage[];
  /**
   * Scripts the next reply; call it again for those after it. A string is a piece of text. The reply is complete after
   * the last step. A message without a script gets `You said: {message}`.
   */
  reply(...steps: Step[]): void;
  /** Refuses the next request, whatever it is; call it again for those after it. */
  refuse(refusal: Refusal): void;
  /** While true, every new connection is closed without a response. */
  isOffline: boolean;
  /** Every request that got a response, oldest first; without CORS preflights. */
  readonly requests: readonly TestRequest[];
  /** The number of open connections that read a reply; those of `conv_test` by default. */
  readers(id?: string): number;
  /** Waits until a condition holds: on the requests, the messages or the readers. */
  until(condition: (requests: readonly TestRequest[]) => boolean): Promise<void>;
  /** Closes all connections, and stops listening. */
  close(): Promise<void>;
}

export interface TestRequest {
  readonly method: string;
  readonly path: string;
  /** With its `?`; empty without one. */
  readonly query: string;
  /** Their names are in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed; `null` if there is none, or if it is not JSON. */
  readonly body: any;
}

export interface Refusal {
  /** The HTTP status. */
  status: number;
  /** The service's error code, for example `TOKEN_EXPIRED`. */
  code: string;
  /** The sentence for the user. */
  message?: string;
  /** `false` by default. */
  retryable?: boolean;
}

export type Step = string | Instruction;
export type Instruction =
  | { readonly type: "pause"; readonly ms: number }
  | Gate
  | { readonly type: "cut" }
  | { readonly type: "reconnect" }
  | { readonly type: "reset"; readonly offset: number }
  | { readonly type: "queued"; readonly position: number }
  | { readonly type: "contextual"; readonly content: string; readonly stage: string }
  | { readonly type: "guardrail_warning"; readonly message: string }
  | Failure;

export interface Gate {
  readonly type: "gate";
  readonly opened: Promise<void>;
  /** Lets the reply go on. */
  open(): void;
}

export interface Failure {
  readonly type: "fail";
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** Waits; a stop ends the wait. */
export function pause(ms: number): Instruction;
/** Waits until the test calls `open()`; a stop ends the wait. */
export function gate(): Gate;
/** Waits for a reader, and breaks the connections of all. The reply goes on, and they resume after their cursor. */
export function cut(): Instruction;
/** Waits for a reader, and sends all away, as the service does near the function's timeout: they resume at once. */
export function reconnect(): Instruction;
/** Withdraws the text from this offset on, in UTF-16 code units; all of it by default. */
export function reset(offset?: number): Instruction;
/** Sends `queued`: the message waits for others; 1, the default, is the next. */
export function queued(position?: number): Instruction;
/** Tells the readers what was done besides the reply; the stage is `memory_saved` by default. */
export function contextual(content: string, stage?: string): Instruction;
/** Warns the readers that a guardrail flagged the message or the reply. */
export function guardrailWarning(message: string): Instruction;
/** Ends the reply with an error, by default `MODEL_STREAM_BROKEN`, which is retryable; its text so far is stored. */
export function fail(error?: { code?: string; message?: string; retryable?: boolean }): Failure;
