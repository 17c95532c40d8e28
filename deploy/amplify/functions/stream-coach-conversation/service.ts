/**
 * The configuration of the service, and the function's environment variables.
 *
 * docs/reference/settings.md of coachstream documents each variable. Options that are not set have the defaults of that page;
 * those that this function must know are in `settings.json`, which is generated from the same declarations.
 */

import { Token } from "aws-cdk-lib";

import settings from "./settings.json";

/** Variables that can be set directly; the others have a field, are secret, or have no effect. */
type FreeVariable = keyof typeof settings.variables;

// Without its last six characters, the policy would allow another secret, or none.
const SECRET_ARN = new RegExp(`^${settings.secretArn}$`);
// An alias can be pointed at another key, and policies cannot name aliases.
const KEY_ARN = new RegExp(`^${settings.keyArn}$`);

/** The model that generates the replies. */
export interface ModelProps {
  /** Id or ARN of a model or of an inference profile; by default the service's default, a US profile. */
  readonly id?: string;
  /** Its region; by default the backend's. */
  readonly region?: string;
  /** The model that continues when a reply fails; unset fields are the same as for the main model. */
  readonly fallback?: { readonly id?: string; readonly region?: string };
  /**
   * The small model that finds workouts and requests to remember something in messages, or `off`; by default the service's
   * default in the geography of the model, if it has a profile there.
   */
  readonly analysisId?: string;
  /**
   * ARNs of the foundation models behind the model and the fallback, if their ids do not reveal them: for an application
   * inference profile, or a profile with regions that `models.ts` does not know.
   */
  readonly foundationModels?: readonly string[];
  /** The guardrail that checks the newest message and the reply. */
  readonly guardrail?: {
    /** Its id or ARN. */
    readonly id: string;
    /** A number, or `DRAFT`, which is the default. */
    readonly version?: string;
    /** What happens to a text that it flags: `block`, the default, fails the turn; `warn` keeps and marks it. */
    readonly mode?: "block" | "warn";
    /** ARNs of its cross-region profile, one for each of its regions, if it has one. */
    readonly profiles?: readonly string[];
  };
}

/** The Pinecone index for semantic search. */
export interface RecallProps {
  readonly indexHost: string;
  /** The full ARN of the secret in AWS Secrets Manager with the API key, as plain text. */
  readonly apiKeySecretArn: string;
  /** Pinecone's model that reranks the results; none by default. */
  readonly rerankModel?: string;
  readonly timeoutS?: number;
}

/** The configuration of the function, and the resources that it uses. */
export interface ServiceProps {
  /** The table's name, which may be a reference; or its ARN if it is in another account. */
  readonly table: string;
  /** Ids of app clients whose ID tokens are accepted in addition to those of the backend's own client. */
  readonly moreClientIds?: readonly string[];
  readonly model?: ModelProps;
  /** No recall by default. */
  readonly recall?: RecallProps;
  /** Names or ARNs of the functions that process a turn further; none by default. */
  readonly handOffs?: { readonly workoutFunction?: string; readonly summaryFunction?: string };
  /** Whether turns also appear in the list of messages that the existing functions read; not by default. */
  readonly mirrorMessages?: boolean;
  /** The full ARN of the secret that signs the tickets in the URLs that `EventSource` opens; by default a new one. */
  readonly ticketKeySecretArn?: string;
  /** ARNs of the customer managed KMS keys that encrypt the table or a secret. */
  readonly kmsKeyArns?: readonly string[];
  /** CloudWatch namespace of the metrics, or `off`. */
  readonly metricsNamespace?: string;
  readonly variables?: Partial<Readonly<Record<FreeVariable, string>>>;
}

/** The user pool whose tokens are accepted, and the key of tickets; each may be a reference. */
export interface Identity {
  readonly userPoolId: string;
  readonly clientIds: readonly string[];
  readonly ticketKeySecretArn: string;
}

/** The model that is called, which has a default. */
export function modelIdOf(service: ServiceProps): string {
  return service.model?.id ?? settings.modelId;
}

/** The model that analyses messages; undefined if none does. */
export function analysisModelIdOf(service: ServiceProps): string | undefined {
  const named = service.model?.analysisId;
  if (named !== undefined) return named.toLowerCase() === "off" ? undefined : named;
  const geography = settings.analysisGeographies.find((each) => modelIdOf(service).startsWith(each));
  return geography && geography + settings.analysisModelId;
}

/**
 * The function's variables, except those of its runtime.
 *
 * @throws Error: an ARN is invalid; a variable cannot be set here; or the guardrail does not exist in the fallback's
 *   region. Each of these would otherwise fail at run time.
 */
export function environmentOf(service: ServiceProps, identity: Identity): Record<string, string> {
  check(service);
  const { model, recall, handOffs } = service;
  const variables: Record<string, string | undefined> = {
    ...service.variables,
    COACHSTREAM_STORE: "dynamodb",
    DYNAMODB_TABLE_NAME: service.table,
    MIRROR_MESSAGES: String(service.mirrorMessages ?? settings.mirrorMessages),
    COACHSTREAM_MODEL: "bedrock",
    COACHSTREAM_MODEL_ID: modelIdOf(service),
    COACHSTREAM_MODEL_REGION: model?.region,
    COACHSTREAM_FALLBACK_MODEL_ID: model?.fallback?.id,
    COACHSTREAM_FALLBACK_REGION: model?.fallback?.region,
    COACHSTREAM_ANALYSIS_MODEL_ID: model?.analysisId,
    BEDROCK_GUARDRAIL_ID: model?.guardrail?.id,
    BEDROCK_GUARDRAIL_VERSION: model?.guardrail?.version,
    COACHSTREAM_GUARDRAIL_MODE: model?.guardrail?.mode,
    COACHSTREAM_IDENTITY: "cognito",
    USER_POOL_ID: identity.userPoolId,
    APP_CLIENT_ID: identity.clientIds.join(","),
    COACHSTREAM_TICKET_KEY_SECRET_ARN: identity.ticketKeySecretArn,
    COACHSTREAM_RECALL: recall === undefined ? "off" : "pinecone",
    PINECONE_INDEX_HOST: recall?.indexHost,
    PINECONE_API_KEY_SECRET_ARN: recall?.apiKeySecretArn,
    COACHSTREAM_RECALL_RERANK_MODEL: recall?.rerankModel,
    COACHSTREAM_RECALL_TIMEOUT_S: recall?.timeoutS?.toString(),
    BUILD_WORKOUT_FUNCTION_NAME: handOffs?.workoutFunction,
    BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME: handOffs?.summaryFunction,
    COACHSTREAM_METRICS_NAMESPACE: service.metricsNamespace,
  };
  const set = Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(set);
}

function check(service: ServiceProps): void {
  for (const arn of [service.recall?.apiKeySecretArn, service.ticketKeySecretArn]) {
    refuseUnless(arn, SECRET_ARN, "the full ARN of a secret, as shown in the console");
  }
  for (const arn of service.kmsKeyArns ?? []) refuseUnless(arn, KEY_ARN, "the ARN of a KMS key");
  for (const name of Object.keys(service.variables ?? {})) {
    if (!Object.hasOwn(settings.variables, name)) throw new Error(`${name} cannot be set here`);
  }
  const { guardrail, fallback, region } = service.model ?? {};
  if (guardrail !== undefined && fallback?.region !== undefined && fallback.region !== region) {
    // A guardrail exists in its own region only: it would not check the fallback's replies.
    throw new Error("with a guardrail, the fallback's region must be the model's; name both");
  }
}

function refuseUnless(arn: string | undefined, pattern: RegExp, what: string): void {
  if (arn !== undefined && !Token.isUnresolved(arn) && !pattern.test(arn)) {
    throw new Error(`${JSON.stringify(arn)} is not ${what}`);
  }
}
