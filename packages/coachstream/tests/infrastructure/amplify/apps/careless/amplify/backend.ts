/** The default client of `defineAuth`: users can choose their own user id when they sign up. */

import { defineBackend } from "@aws-amplify/backend";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

const backend = defineBackend({ auth, streamCoachConversation: defineStreamCoachConversation() });

addStreamCoachConversation(backend, { table: "Proto-AllItems-V2", cors: { origins: ["https://app.example.com"] } });
