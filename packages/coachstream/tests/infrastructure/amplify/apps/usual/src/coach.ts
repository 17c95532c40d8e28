import { fetchAuthSession } from "aws-amplify/auth";

import outputs from "../amplify_outputs.json";
import { start } from "./coachstream.js";

const { functionUrl } = outputs.custom.coachConversationStreamingApi;

/** Sends a message to a coach, and shows the reply while it is written; `show` gets its whole text each time. */
export async function ask(path: string, message: string, show: (text: string) => void): Promise<void> {
  const reply = start({ conversationUrl: functionUrl + path, token: idToken, message });
  for await (const event of reply) {
    if (event.type === "text") show(event.text);
  }
}

async function idToken({ fresh }: { fresh: boolean }): Promise<string> {
  const { tokens } = await fetchAuthSession({ forceRefresh: fresh });
  if (tokens?.idToken === undefined) throw new Error("no user is signed in");
  return tokens.idToken.toString();
}
