/** Errors that the compiler must find; it reports a line on which the expected error is missing. */

import { type BackendBase, defineBackend } from "@aws-amplify/backend";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

export function mistakes(base: BackendBase): void {
  const streamCoachConversation = defineStreamCoachConversation();
  const backend = defineBackend({ auth, streamCoachConversation });
  const cors = { origins: ["https://app.example.com"] };

  // @ts-expect-error: origins are required
  addStreamCoachConversation(backend, { table: "t" });
  // @ts-expect-error: a table is required
  addStreamCoachConversation(backend, { cors });
  // @ts-expect-error: a secret is not a variable
  addStreamCoachConversation(backend, { table: "t", cors, variables: { PINECONE_API_KEY: "k" } });
  // @ts-expect-error: recall needs its key
  addStreamCoachConversation(backend, { table: "t", cors, recall: { indexHost: "h" } });
  // @ts-expect-error: there is no such level
  defineStreamCoachConversation({ logLevel: "trace" });
  // @ts-expect-error: the function is not defined
  addStreamCoachConversation(defineBackend({ auth }), { table: "t", cors });
  // @ts-expect-error: there are no users
  addStreamCoachConversation(defineBackend({ streamCoachConversation }), { table: "t", cors });
  // @ts-expect-error: there is neither
  addStreamCoachConversation(base, { table: "t", cors });
}
