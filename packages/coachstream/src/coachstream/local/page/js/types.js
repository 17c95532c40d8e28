/**
 * The shapes of data that the modules share. Nothing here runs.
 *
 * @typedef {object} Session The response of `GET /local/session` (`coachstream/local/session.py`).
 * @property {string} token ID token for the `Authorization` header.
 * @property {string} expiresAt When the token ends; asking again gives a fresh one.
 * @property {string} userId
 * @property {string} userName
 * @property {Coach[]} coaches The default one first.
 * @property {string} coachId The coach to begin with.
 * @property {string} conversationId The seeded conversation; it may have been deleted since.
 * @property {string} streamUrl Ends with `/`.
 * @property {string} conversationsUrl Ends with `/`.
 * @property {boolean} [getsTitles] Whether a conversation without a title gets one after its first exchange.
 *
 * @typedef {object} Coach
 * @property {string} coachId
 * @property {string} name
 * @property {string} description
 *
 * @typedef {object} Conversation A conversation without its messages.
 * @property {string} coachId
 * @property {string} conversationId
 * @property {string} title
 * @property {Date} lastActivity
 *
 * @typedef {object} Message A stored message.
 * @property {string} id
 * @property {"user"|"assistant"} role
 * @property {string} content
 * @property {Date} timestamp
 * @property {string|null} model Display name of the model that wrote a reply.
 * @property {string|null} stopReason Why a reply ended, in the service's words.
 * @property {string|null} clientMessageId The id that the page gave a user message.
 * @property {Timings|null} timings Measured by this browser, if it has read the reply.
 * @property {readonly string[]} notices What the service said to this browser that it had done besides.
 * @property {number} matches How many earlier records the semantic search gave the coach, as far as this browser knows.
 * @property {number} versions How many versions of its exchange there are; 0 if this is the only one.
 * @property {string} viewKey Stays the same when a streamed message becomes a stored one.
 *
 * @typedef {object} Version One of the versions of an exchange.
 * @property {Message} question
 * @property {Message|null} reply `null` if the question was edited before it had one.
 * @property {boolean} isChosen Whether the conversation has this one.
 *
 * @typedef {Pick<Message, "timings"|"notices"|"matches">} Measured
 *
 * @typedef {object} Timings Milliseconds since the message was sent, measured here.
 * @property {number|null} firstWord
 * @property {number} total
 */

export {};
