// What a real app has from its sign-in and its router, a test puts into the address.
import type { StoredMessage } from "coachstream";

export function sessionFrom(address: string) {
  const given = new URLSearchParams(new URL(address).search);
  const part = (name: string) => given.get(name) ?? "";
  const token = async () => part("token");
  const history = async (): Promise<StoredMessage[]> => {
    const response = await fetch(part("historyUrl"), { headers: { Authorization: `Bearer ${await token()}` } });
    if (!response.ok) throw new Error(`The messages could not be loaded: ${response.status}`);
    const { conversation } = (await response.json()) as { conversation: { messages: StoredMessage[] } };
    return conversation.messages;
  };
  const [conversationUrl, historyUrl] = [part("conversationUrl"), part("historyUrl")];
  return { conversationUrl, historyUrl, token, history, kind: part("kind") };
}
