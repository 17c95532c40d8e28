/** What most apps need; docs/how-to/amplify.md shows its lines. */

import { defineBackend } from "@aws-amplify/backend";
import { AttributeType, BillingMode, Table } from "aws-cdk-lib/aws-dynamodb";

import { auth } from "./auth/resource";
import { addStreamCoachConversation, defineStreamCoachConversation } from "./functions/stream-coach-conversation/resource";

const backend = defineBackend({ auth, streamCoachConversation: defineStreamCoachConversation() });

const coreTable = new Table(backend.createStack("dynamodb"), "CoreTable", {
  partitionKey: { name: "pk", type: AttributeType.STRING },
  sortKey: { name: "sk", type: AttributeType.STRING },
  billingMode: BillingMode.PAY_PER_REQUEST,
});

backend.auth.resources.cfnResources.cfnUserPoolClient.writeAttributes = ["email"];

addStreamCoachConversation(backend, {
  table: coreTable.tableName,
  cors: { origins: ["https://app.example.com", "http://localhost:5173"] },
});
