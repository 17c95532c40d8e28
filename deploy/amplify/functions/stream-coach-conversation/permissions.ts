/** The permissions of the function, each statement with its reason. Nothing else is allowed. */

import { ArnFormat, type Stack, Token } from "aws-cdk-lib";
import { PolicyStatement, type PolicyStatementProps } from "aws-cdk-lib/aws-iam";

import { guardrailArn, type ModelAccess, modelAccess } from "./models.js";
import { analysisModelIdOf, type Identity, modelIdOf, type ServiceProps } from "./service.js";

/**
 * The store's actions on the table; none on an index, and no scan. A transaction needs the permissions of its individual
 * actions (DynamoDB developer guide, "Using IAM with DynamoDB transactions").
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
/** Nor has Converse. */
const WHOLE_REPLY = "bedrock:InvokeModel";

/**
 * The actions that CDK grants on a table's customer managed key with read and write access
 * (`aws_dynamodb.Table.grantReadWriteData`), spelled out; a secret's key is only used to decrypt.
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

/** The function itself never calls KMS. The table and the secrets may be in another region. */
const FOR_TABLE_AND_SECRETS = {
  StringLike: { "kms:ViaService": ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"] },
};

const PARTIAL_FUNCTION_ARN = /^(\d{12}):(?:function:)?(.+)$/;

/**
 * All of the function's statements, except those for its log group and traces.
 *
 * @throws Error: a resource is in another region, from which it cannot be called.
 */
export function statementsOf(stack: Stack, service: ServiceProps, identity: Identity): PolicyStatement[] {
  const guardrail = service.model?.guardrail;
  const region = service.model?.region ?? stack.region;
  // Covers the fallback, too, which must then be in the same region.
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

/** Statements for the model, its fallback and the analysis model. */
function models(stack: Stack, service: ServiceProps): PolicyStatement[] {
  const { region, fallback, foundationModels = [] } = service.model ?? {};
  const id = modelIdOf(service);
  const accesses = [modelAccess(stack, id, region, foundationModels)];
  if (fallback !== undefined) {
    const other = modelAccess(stack, fallback.id ?? id, fallback.region ?? region, foundationModels);
    if (other.invoked !== accesses[0]?.invoked) accesses.push(other);
  }
  const analysis = analysisModelIdOf(service);
  return [
    ...calls("Models", STREAMED_REPLY, accesses),
    ...calls(
      "AnalysisModel",
      WHOLE_REPLY,
      analysis === undefined ? [] : [modelAccess(stack, analysis, region, foundationModels)],
    ),
  ];
}

/** Statements for calls of models; those behind a profile are allowed only through it. */
function calls(sid: string, action: string, accesses: readonly ModelAccess[]): PolicyStatement[] {
  const behind = accesses.filter((access) => access.behind.length > 0);
  return [
    ...allow(
      sid,
      [action],
      accesses.map((access) => access.invoked),
    ),
    ...behind.flatMap((access, index) =>
      allow(`${sid}BehindProfile${index + 1}`, [action], access.behind, {
        StringEquals: { "bedrock:InferenceProfileArn": access.invoked },
      }),
    ),
  ];
}

/** The ARN of a table, given as a name or ARN. */
function tableArn(stack: Stack, table: string): string {
  if (table.startsWith("arn:")) return inRegion(table, stack.region);
  return stack.formatArn({ service: "dynamodb", resource: "table", resourceName: table });
}

/** The ARN of a function, given in any form that Invoke accepts (Lambda API reference). */
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

/** The ARN, if its resource is in this region, which is often not known yet. */
function inRegion(arn: string, region: string): string {
  const there = arn.split(":")[3];
  if (!Token.isUnresolved(region) && there !== region) {
    throw new Error(`${arn} is in ${there}, but is called in ${region}`);
  }
  return arn;
}

/** The statement, if it has resources. */
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
