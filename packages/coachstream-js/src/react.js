"use client";
/**
 * `coachstream/react`: a conversation with a coach as a React hook.
 *
 * @import * as api from "./react.js"
 */
import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { Chat } from "./chat.js";

/** @type {typeof api.useCoachStream} */
export function useCoachStream(options) {
  const url = String(options.conversationUrl);
  const [held, hold] = useState(() => ({ url, chat: new Chat(options) }));
  let { chat } = held;
  if (held.url !== url) {
    chat = new Chat(options);
    hold({ url, chat });
  }
  useEffect(() => {
    chat.options = options;
  });
  useEffect(() => {
    chat.attach();
    return () => chat.detach();
  }, [chat]);
  const state = useSyncExternalStore(chat.subscribe, chat.state, chat.state);
  return useMemo(() => {
    const { send, stop, retry, regenerate, edit, continueReply, chooseVersion, setDraft, setMessages } = chat;
    return { ...state, send, stop, retry, regenerate, edit, continueReply, chooseVersion, setDraft, setMessages };
  }, [chat, state]);
}
