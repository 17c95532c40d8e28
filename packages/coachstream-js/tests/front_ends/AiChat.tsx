"use client";
import { useChat } from "@ai-sdk/react";
import { CoachStreamTransport, type CoachStreamUIMessage } from "coachstream/ai-sdk";
import { useState } from "react";

interface AiChatProps {
  conversationUrl: string;
  token: () => Promise<string>;
  history: CoachStreamUIMessage[];
}

export function AiChat({ conversationUrl, token, history }: AiChatProps) {
  const [transport] = useState(() => new CoachStreamTransport({ conversationUrl, token }));
  const { messages, sendMessage, status, error } = useChat({ transport, messages: history, resume: true });
  const [text, setText] = useState("");
  return (
    <main data-status={status}>
      <ol>
        {messages.map(({ id, role, parts }) => (
          <li key={id} className={role} dir="auto">
            {parts.map((part) => (part.type === "text" ? part.text : ""))}
          </li>
        ))}
      </ol>
      {error && <p role="alert">{error.message}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void sendMessage({ text });
          setText("");
        }}
      >
        <textarea aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        <button disabled={status === "submitted" || status === "streaming"}>Send</button>
        <button type="button" onClick={() => void transport.stop()}>
          Stop
        </button>
      </form>
    </main>
  );
}
