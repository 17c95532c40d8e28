/** Every option, with existing resources by name. The Python constructs' variant of the same name is equivalent. */

import { defineBackend } from "@aws-amplify/backend";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

const backend = defineBackend({
  auth,
  streamCoachConversation: defineStreamCoachConversation({
    hasPackagedKeys: true,
    memoryMb: 3008,
    timeoutS: 900,
    keepLog: true,
    logLevel: "debug",
    reservedConcurrency: 50,
    resourceGroupName: "coach",
  }),
});

addStreamCoachConversation(backend, {
  table: "Proto-AllItems-V2",
  moreClientIds: ["ios2client"],
  cors: { origins: ["https://app.example.com"], maxAgeS: 600 },
  model: {
    id: "us.anthropic.claude-sonnet-4-6",
    guardrail: { id: "gr1abc", version: "3" },
    fallback: { id: "anthropic.claude-3-5-haiku-20241022-v1:0" },
  },
  recall: {
    indexHost: "coach-abc123.svc.pinecone.io",
    apiKeySecretArn: "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone-a1B2c3",
    rerankModel: "pinecone-rerank-v0",
    timeoutS: 0.9,
  },
  handOffs: {
    workoutFunction: "build-workout",
    summaryFunction: "arn:aws:lambda:us-west-2:123456789012:function:build-conversation-summary",
  },
  mirrorMessages: true,
  metricsNamespace: "coach/prod",
  ticketKeySecretArn: "arn:aws:secretsmanager:us-west-2:123456789012:secret:tickets-d4E5f6",
  variables: { COACHSTREAM_KEEP_ALIVE_S: "10" },
  outputName: "coachConversationPythonApi",
});
