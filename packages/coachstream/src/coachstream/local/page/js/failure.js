/**
 * A failure, with a sentence for the user.
 *
 * Every way in which a request or a stream can fail has one constructor here, so that each sentence is
 * written once and nothing is ever guessed from an exception's text.
 */
import { ConnectionLost, ServiceError, UnreadableStream } from "./coachstream.js";

export class Failure extends Error {
  /**
   * @param {string} code the server's code, or one of ours (lower case)
   * @param {string} sentence
   * @param {object} [more]
   * @param {boolean} [more.retryable] whether the same request may work later
   * @param {string|null} [more.partialReply] the stored text of an incomplete reply
   * @param {boolean} [more.isStored] whether the server says that it has the message
   * @param {unknown} [more.cause]
   */
  constructor(code, sentence, { retryable = true, partialReply = null, isStored = false, cause } = {}) {
    super(sentence, { cause });
    this.name = "Failure";
    this.code = code;
    this.sentence = sentence;
    this.retryable = retryable;
    this.partialReply = partialReply;
    this.isStored = isStored;
  }

  /**
   * A response with an error status.
   * @param {number} status
   * @param {unknown} body the decoded JSON body, if there was one
   */
  static fromResponse(status, body) {
    const { error, code } = /** @type {{error?: unknown, code?: unknown}} */ (body ?? {});
    return new Failure(isText(code) ? code : `http_${status}`, isText(error) ? error : sentenceOf(status), {
      retryable: status >= 500 || status === 429 || status === 408,
    });
  }

  /** The server found no user with a coach. @param {unknown} body the decoded JSON body, if there was one */
  static notSignedIn(body) {
    return new NotSignedIn(Failure.fromResponse(401, body));
  }

  /** The server could not be reached. @param {unknown} [cause] */
  static unreachable(cause) {
    return new Failure("unreachable", "The server cannot be reached. Is your connection all right?", { cause });
  }

  /** The response was not in a format that the page understands. @param {unknown} [cause] */
  static unreadable(cause) {
    return new Failure("unreadable", "The server sent a response that this page does not understand.", { cause });
  }

  /** An export has not all the records that it should have. */
  static incompleteExport() {
    return new Failure("incomplete_export", "The export is incomplete. Please start it again.", { retryable: false });
  }

  /** A deletion makes no progress. @param {boolean} isIndexUnreachable what stays is the semantic search's */
  static incompleteDeletion(isIndexUnreachable) {
    const what = isIndexUnreachable ? "What the search has indexed of you" : "Something";
    return new Failure("incomplete_deletion", `${what} could not be deleted yet. Please go on later.`);
  }

  /** A stored message has no reply, and none is on its way. @param {boolean} retryable */
  static unanswered(retryable) {
    return new Failure("unanswered", "This message got no reply.", { retryable });
  }

  /** A stored reply is only a beginning. @param {boolean} retryable */
  static interrupted(retryable) {
    return new Failure("interrupted", "This reply was interrupted.", { retryable });
  }

  /** What was to be tried again is not the end of the conversation any more. */
  static notTheLast() {
    return new Failure("not_the_last", "The conversation has gone on since. Your text is in the message box.", { retryable: false });
  }

  /** The address names a coach that the person does not have. */
  static unknownCoach() {
    return new Failure("unknown_coach", "You have no such coach.", { retryable: false });
  }

  /** The person stopped a message whose arrival is not known. */
  static stoppedUnsent() {
    return new Failure("stopped_unsent", "You stopped before the message is known to have arrived.");
  }

  /** Whether what was asked for is not there any more. */
  get isGone() {
    return this.code === "CONVERSATION_NOT_FOUND" || this.code === "http_404";
  }

  /**
   * Whatever was thrown, as a failure.
   *
   * @param {unknown} error
   * @param {{midReply?: boolean}} [circumstances]
   */
  static from(error, { midReply = false } = {}) {
    if (error instanceof Failure) return error;
    if (error instanceof ServiceError) return Failure.#ofService(error);
    if (error instanceof ConnectionLost) {
      if (midReply) return new Failure("connection_lost", "The connection was lost in the middle of the reply.");
      if (error.status !== null) return Failure.fromResponse(error.status, null);
      return Failure.unreachable(error);
    }
    if (error instanceof UnreadableStream) return Failure.unreadable(error);
    return new Failure("page_error", "Something went wrong on this page. Please try again.", { cause: error });
  }

  /** @param {ServiceError} error */
  static #ofService(error) {
    const { code, message, status, retryable, partialMessage, userMessage } = error;
    if (code.startsWith("HTTP_") && status !== null) return Failure.fromResponse(status, null);
    const partialReply = partialMessage?.content ?? null;
    const sentence = code === "QUOTA_EXCEEDED" ? quotaSentence(error) : message;
    return new Failure(code, sentence, { retryable, partialReply, isStored: userMessage !== null, cause: error });
  }
}

/** No user is signed in, and a token is required. */
export class NotSignedIn extends Failure {
  /** @param {Failure} failure as reported by the server */
  constructor(failure) {
    super(failure.code, failure.sentence, { retryable: false });
  }
}

/** @param {unknown} value @returns {value is string} */
function isText(value) {
  return typeof value === "string" && value !== "";
}

/** @param {ServiceError} error a `QUOTA_EXCEEDED` @returns {string} */
function quotaSentence({ message, quota, retryAfter }) {
  if (retryAfter === null) return message;
  switch (quota?.quota) {
    case "concurrent-runs":
      return "Your coach is already writing as many replies as you can have at a time. Please try again when one is complete.";
    case "turns-per-minute":
      return `You have sent as many messages as you can in a minute. Please try again in ${retryAfter} seconds.`;
    case "tokens-per-day":
      return `You have talked to your coach as much as you can in a day. Please try again in ${Math.ceil(retryAfter / 3600)} h.`;
    default:
      return message;
  }
}

/** @param {number} status */
function sentenceOf(status) {
  if (status === 401 || status === 403) return "You are not signed in any more. Please reload the page.";
  if (status === 404) return "This conversation does not exist any more.";
  if (status === 413) return "This message is too long. Please shorten it or send it in parts.";
  if (status === 429) return "Many people are talking right now. Please try again in a moment.";
  if (status >= 500) return "The server could not respond. Please try again in a moment.";
  return "The server did not accept this request.";
}
