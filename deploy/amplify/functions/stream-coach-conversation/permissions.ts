/** What the function may do, each statement with its reason. Nothing else is allowed. */

import { ArnFormat, type Stack, Token } from "aws-cdk-lib";
import { PolicyStatement, type PolicyStatementProps } from "aws-cdk-lib/aws-iam";

import { guardrailArn, modelAccess } from "./models.js";
import { type Identity, modelIdOf, type ServiceProps } from "./service.js";

/**
 * What the store does to the table's items; never to an index, and never a scan. A transaction is allowed by the actions
 * that it is made of (DynamoDB developer guide, "Using IAM with DynamoDB transactions").
 */
const TABLE_ACTIONS = [
  "dynamodb:BatchWriteItem",
  "dynamodb:ConditionCheckItem",
  "dynamodb:DeleteItem",
  "dynamodb:GetItem",
  "dynamodb:PutItem",
  "dynamodb:Query",
  "dynamodb:UpdateItem",
];

/** ConverseStream has no action of its own (Bedrock API reference). */
const STREAMED_REPLY = "bedrock:InvokeModelWithResponseStream";

/**
 * What CDK grants on a table's customer managed key to who reads and writes it (`aws_dynamodb.Table.grantReadWriteData`),
 * spelled out; a secret's is only decrypted with.
 */
const KEY_ACTIONS = [
  "kms:Decrypt",
  "kms:DescribeKey",
  "kms:Encrypt",
  "kms:GenerateDataKey",
  "kms:GenerateDataKeyWithoutPlaintext",
  "kms:ReEncryptFrom",
  "kms:ReEncryptTo",
];

/** The function itself never calls KMS. Table and secrets may be another region's. */
const FOR_TABLE_AND_SECRETS = {
  StringLike: { "kms:ViaService": ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"] },
};

const PARTIAL_FUNCTION_ARN = /^(\d{12}):(?:function:)?(.+)$/;

/**
 * All of the function's statements, apart from its own log group and traces.
 *
 * @throws Error: something is named that cannot be called from here.
 */
export function statementsOf(stack: Stack, service: ServiceProps, identity: Identity): PolicyStatement[] {
  const guardrail = service.model?.guardrail;
  const region = service.model?.region ?? stack.region;
  // Of the fallback as well, which is never in another region then.
  const guardrails = guardrail && [
    inRegion(guardrailArn(stack, guardrail.id, region), region),
    ...(guardrail.profiles ?? []),
  ];
  const secrets = [service.recall?.apiKeySecretArn, identity.ticketKeySecretArn];
  const functions = [service.handOffs?.workoutFunction, service.handOffs?.summaryFunction];
  return [
    ...allow("Table", TABLE_ACTIONS, [tableArn(stack, service.table)]),
    ...models(stack, service),
    ...allow("Guardrail", ["bedrock:ApplyGuardrail"], guardrails ?? []),
    ...allow("Secrets", ["secretsmanager:GetSecretValue"], secrets.filter(isSet)),
    ...allow(
      "HandOffs",
      ["lambda:InvokeFunction"],
      functions.filter(isSet).map((name) => functionArn(stack, name)),
    ),
    ...allow("Keys", KEY_ACTIONS, service.kmsKeyArns ?? [], FOR_TABLE_AND_SECRETS),
  ];
}

/** The model and its fallback; models behind a profile are allowed through that profile only. */
function models(stack: Stack, service: ServiceProps): PolicyStatement[] {
  const { region, fallback, foundationModels = [] } = service.model ?? {};
  const id = modelIdOf(service);
  const accesses = [modelAccess(stack, id, region, foundationModels)];
  if (fallback !== undefined) {
    const other = modelAccess(stack, fallback.id ?? id, fallback.region ?? region, foundationModels);
    if (other.invoked !== accesses[0]?.invoked) accesses.push(other);
  }
  const behind = accesses.filter((access) => access.behind.length > 0);
  return [
    ...allow(
      "Models",
      [STREAMED_REPLY],
      accesses.map((access) => access.invoked),
    ),
    ...behind.flatMap((access, index) =>
      allow(`ModelsBehindProfile${index + 1}`, [STREAMED_REPLY], access.behind, {
        StringEquals: { "bedrock:InferenceProfileArn": access.invoked },
      }),
    ),
  ];
}

/** The ARN of a table, which may be given as one. */
function tableArn(stack: Stack, table: string): string {
  if (table.startsWith("arn:")) return inRegion(table, stack.region);
  return stack.formatArn({ service: "dynamodb", resource: "table", resourceName: table });
}

/** The ARN of a function that is named in one of the ways that Invoke takes (Lambda API reference). */
function functionArn(stack: Stack, name: string): string {
  if (name.startsWith("arn:")) return inRegion(name, stack.region);
  const [, account, resourceName = name] = PARTIAL_FUNCTION_ARN.exec(name) ?? [];
  return stack.formatArn({
    service: "lambda",
    ...(account === undefined ? {} : { account }),
    resource: "function",
    resourceName,
    arnFormat: ArnFormat.COLON_RESOURCE_NAME,
  });
}

/** The ARN, if what it names can be called by a client of this region, which is often not known yet. */
function inRegion(arn: string, region: string): string {
  const there = arn.split(":")[3];
  if (!Token.isUnresolved(region) && there !== region) {
    throw new Error(`${arn} is in ${there}, and is called in ${region}`);
  }
  return arn;
}

/** The statement, if there is anything that it is about. */
function allow(
  sid: string,
  actions: readonly string[],
  resources: readonly string[],
  conditions?: PolicyStatementProps["conditions"],
): PolicyStatement[] {
  if (resources.length === 0) return [];
  const all = [...new Set(resources)];
  return [new PolicyStatement({ sid, actions: [...actions], resources: all, ...(conditions && { conditions }) })];
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== "";
}
