import type { StoredMessage } from "coachstream";
import { useCoachStream } from "coachstream/react";
import { Versions } from "./Versions";

interface VersionedChatProps {
  conversationUrl: string;
  historyUrl: string;
  token: () => Promise<string>;
  history: () => Promise<StoredMessage[]>;
}

/** A small chat with what `docs/how-to/use-react.md` says about versions. */
export function VersionedChat({ conversationUrl, historyUrl, token, history }: VersionedChatProps) {
  const chat = useCoachStream({ conversationUrl, historyUrl, token, history });
  return (
    <main data-status={chat.status}>
      <ol>
        {chat.messages.map(({ id, content }) => (
          <li key={id}>{content}</li>
        ))}
      </ol>
      <button onClick={chat.regenerate}>Another reply</button>
      <Versions chat={chat} historyUrl={historyUrl} token={token} />
      {chat.error && <p role="alert">{chat.error.message}</p>}
      <textarea aria-label="Message" value={chat.draft} onChange={(event) => chat.setDraft(event.target.value)} />
      <button onClick={() => chat.send()}>Send</button>
      <button onClick={() => chat.edit(chat.draft)}>Replace the last message</button>
    </main>
  );
}
