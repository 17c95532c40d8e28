"use client";
import type { StoredMessage } from "coachstream";
import { useCoachStream } from "coachstream/react";

interface ChatProps {
  conversationUrl: string;
  token: () => Promise<string>;
  history: () => Promise<StoredMessage[]>;
}

export function Chat({ conversationUrl, token, history }: ChatProps) {
  const chat = useCoachStream({ conversationUrl, token, history });
  const isBusy = ["sending", "waiting", "streaming"].includes(chat.status);
  return (
    <main data-status={chat.status}>
      <ol>
        {chat.messages.map(({ id, role, state, content }) => (
          <li key={id} className={role} data-state={state} dir="auto">
            {content}
          </li>
        ))}
      </ol>
      {chat.status === "waiting" && <p role="status">The coach is thinking.</p>}
      {chat.isReconnecting && <p role="status">Reconnecting.</p>}
      {chat.error && (
        <p role="alert">
          {chat.error.message} <button onClick={chat.retry}>Try again</button>
        </p>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          chat.send();
        }}
      >
        <textarea aria-label="Message" value={chat.draft} onChange={(event) => chat.setDraft(event.target.value)} />
        <button disabled={isBusy}>Send</button>
        <button type="button" disabled={!isBusy} onClick={chat.stop}>
          Stop
        </button>
      </form>
    </main>
  );
}
