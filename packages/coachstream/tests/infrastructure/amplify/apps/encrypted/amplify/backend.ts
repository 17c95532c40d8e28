/** KMS keys and a cross-region guardrail profile. The Python constructs' variant of the same name is equivalent. */

import { defineBackend } from "@aws-amplify/backend";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

const backend = defineBackend({ auth, streamCoachConversation: defineStreamCoachConversation() });

addStreamCoachConversation(backend, {
  table: "Proto-AllItems-V2",
  cors: { origins: ["https://app.example.com", "http://localhost:5173"] },
  allowWritableUserId: true,
  model: {
    id: "amazon.nova-pro-v1:0",
    guardrail: {
      id: "gr1abc",
      version: "3",
      profiles: ["us-east-1", "us-east-2", "us-west-2"].map(
        (region) => `arn:aws:bedrock:${region}:123456789012:guardrail-profile/us.guardrail.v1:0`,
      ),
    },
  },
  recall: {
    indexHost: "coach-abc123.svc.pinecone.io",
    apiKeySecretArn: "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone-a1B2c3",
  },
  kmsKeyArns: ["arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
});
