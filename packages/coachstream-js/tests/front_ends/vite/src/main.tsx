import { toUIMessage } from "coachstream/ai-sdk";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { AiChat } from "./AiChat";
import { Chat } from "./Chat";
import { sessionFrom } from "./session";
import { VersionedChat } from "./VersionedChat";

const { kind, history, historyUrl, ...session } = sessionFrom(location.href);
const root = createRoot(document.getElementById("root")!);

if (kind === "ai-sdk") {
  const messages = (await history()).map(toUIMessage);
  root.render(
    <StrictMode>
      <AiChat {...session} history={messages} />
    </StrictMode>,
  );
} else if (kind === "versions") {
  root.render(
    <StrictMode>
      <VersionedChat {...session} history={history} historyUrl={historyUrl} />
    </StrictMode>,
  );
} else {
  root.render(
    <StrictMode>
      <Chat {...session} history={history} />
    </StrictMode>,
  );
}
