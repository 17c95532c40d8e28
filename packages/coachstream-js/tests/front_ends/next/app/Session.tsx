"use client";
import { useMemo } from "react";
import { Chat } from "./Chat";
import { sessionFrom } from "./session";

export function Session({ search }: { search: string }) {
  const { conversationUrl, token, history } = useMemo(() => sessionFrom(`http://localhost/?${search}`), [search]);
  return <Chat conversationUrl={conversationUrl} token={token} history={history} />;
}
