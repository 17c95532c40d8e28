/**
 * Prints the drop-in's decisions: reads lines of cases as JSON, `[{"kind": …, …}, …]`, and prints a line with their outcomes in
 * the same order. An outcome is a value without references, or `{"refused": "why"}`.
 *
 *     node decide.mjs FOLDER-OF-THE-DROP-IN
 */

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import { App, Stack } from "aws-cdk-lib";
import { tsImport } from "tsx/esm/api";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => tsImport(new URL(name, folder).href, import.meta.url);
const { modelAccess } = await load("models.ts");
const { corsOptions } = await load("cors.ts");
const { environmentOf } = await load("service.ts");
const { statementsOf } = await load("permissions.ts");

const IDENTITY = {
  userPoolId: "us-west-2_Pool1",
  clientIds: ["client1"],
  ticketKeySecretArn: "arn:aws:secretsmanager:us-west-2:123456789012:secret:tickets-d4E5f6",
};

const DECISIONS = {
  access: ({ modelId, region, foundationModels, stackRegion }) =>
    stackOf(stackRegion).resolve(modelAccess(stackOf(stackRegion), modelId, region ?? undefined, foundationModels)),
  cors: ({ origins, allowAnyOrigin, maxAgeS }) => corsOptions({ origins, allowAnyOrigin, maxAgeS }).allowedOrigins,
  environment: ({ service }) => environmentOf(service, IDENTITY),
  statements: ({ service, stackRegion }) => {
    const stack = stackOf(stackRegion);
    return stack.resolve(statementsOf(stack, service, IDENTITY).map((statement) => statement.toStatementJson()));
  },
};

function stackOf(region) {
  return new Stack(new App(), "S", { env: { account: "123456789012", region } });
}

function outcome({ kind, ...rest }) {
  try {
    return DECISIONS[kind](rest);
  } catch (error) {
    return { refused: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(JSON.parse(line).map(outcome))}\n`);
}
