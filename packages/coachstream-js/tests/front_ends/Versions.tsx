"use client";
import { versions } from "coachstream";
import type { CoachStream } from "coachstream/react";
import { useEffect, useState } from "react";

interface VersionsProps {
  chat: CoachStream;
  historyUrl: string;
  token: () => Promise<string>;
}

/** Leads through the versions of the last reply; shows nothing if there is only one. */
export function Versions({ chat, historyUrl, token }: VersionsProps) {
  const [ids, setIds] = useState<string[]>([]);
  const reply = chat.messages.at(-1)?.stored;
  const messageId = reply?.metadata?.versions ? reply.id : null;
  useEffect(() => {
    if (messageId === null) return;
    const controller = new AbortController();
    const { signal } = controller;
    versions({ conversationUrl: historyUrl, token, messageId, signal }).then(
      (list) => {
        const replies = list.flatMap(({ aiMessage }) => aiMessage ?? []);
        // One that broke off cannot be chosen.
        setIds(replies.filter(({ metadata }) => metadata?.stopReason !== "interrupted").map(({ id }) => id));
      },
      () => {}, // without a list there is nothing to show
    );
    return () => controller.abort();
  }, [historyUrl, token, messageId]);

  const at = ids.indexOf(messageId ?? "");
  if (at === -1) return null;
  const choose = (label: string, id: string | undefined) => (
    <button type="button" disabled={id === undefined} onClick={() => id && chat.chooseVersion(id)}>
      {label}
    </button>
  );
  return (
    <p role="group" aria-label="Versions">
      {choose("Previous version", ids[at - 1])}
      <span role="status">
        {at + 1} of {ids.length}
      </span>
      {choose("Next version", ids[at + 1])}
    </p>
  );
}
