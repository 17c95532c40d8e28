/** A client of `defineAuth` as it is: whoever signs up says which user they are. */

import { defineBackend } from "@aws-amplify/backend";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

const backend = defineBackend({ auth, streamCoachConversation: defineStreamCoachConversation() });

addStreamCoachConversation(backend, { table: "Proto-AllItems-V2", cors: { origins: ["https://app.example.com"] } });
