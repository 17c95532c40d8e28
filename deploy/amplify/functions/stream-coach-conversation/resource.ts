/**
 * coachstream's function that streams a coach's reply, as a function of an Amplify Gen 2 backend.
 *
 * Copy this folder into `amplify/functions`; docs/how-to/amplify.md of coachstream has the steps. What is decided here is
 * decided as in coachstream's own constructs (`coachstream.infrastructure`), with whose template this one is compared.
 */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { type Backend, type BackendBase, defineFunction } from "@aws-amplify/backend";
import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import type { CfnUserPoolClient, IUserPool, IUserPoolClient } from "aws-cdk-lib/aws-cognito";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import {
  ApplicationLogLevel,
  Architecture,
  Code,
  Function,
  FunctionUrlAuthType,
  InvokeMode,
  LoggingFormat,
  Runtime,
  RuntimeFamily,
  Tracing,
} from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";

import { corsOptions, type CorsProps } from "./cors.js";
import { statementsOf } from "./permissions.js";
import { environmentOf, type Identity, type ServiceProps } from "./service.js";

const NAME = "stream-coach-conversation";
const HANDLER = "coachstream.functions.stream_coach_conversation.handler.handler";
/** The newest managed Python runtime that Lambda lists as generally available; CDK may have no name for it yet. */
const RUNTIME = new Runtime("python3.14", RuntimeFamily.PYTHON);
/** Starts coachstream's runtime in place of the managed one, which cannot stream. */
const EXEC_WRAPPER = "/var/task/lambda_streaming/exec-wrapper";
/** The user pool's keys, at the root of a package that has them. */
const PACKAGED_KEYS = "cognito-jwks.json";
/** The application's own id of a user, which says whose conversations a token opens. */
const USER_ID = "custom:user_id";
const TICKET_KEY_CHARACTERS = 64;

/** How the function runs. */
export interface FunctionOptions {
  /** The zip that `coachstream package` made; by default `coachstream.zip` in this folder. */
  readonly packageZip?: string;
  /** Whether the package was made with `--jwks-of` this backend's user pool. With another pool's keys nothing starts. */
  readonly hasPackagedKeys?: boolean;
  /** Memory, and with it the share of CPUs: a whole one at 1,769 MB; 2048 by default. */
  readonly memoryMb?: number;
  /** The longest time of a turn from its message to the stored reply, 300 s by default; up to 900. */
  readonly timeoutS?: number;
  /**
   * Invocations at once, of which the account keeps as many free for it. It is a limit as well: the next stream is refused
   * with 429. By default as many as the account has.
   */
  readonly reservedConcurrency?: number;
  /** The least severe records that are logged; `info` by default. */
  readonly logLevel?: "debug" | "info" | "warning" | "error";
  /** How long its log is kept; a month by default. */
  readonly logRetention?: RetentionDays;
  /** Whether the log stays when the stack goes; not by default, and never in a sandbox. */
  readonly keepLog?: boolean;
  /** The nested stack it is in. Its own by default: it refers to others, and none to it, so there is no circle. */
  readonly resourceGroupName?: string;
}

/** What the function works with, and who may call it. */
export interface StreamCoachConversationProps extends ServiceProps {
  readonly cors: CorsProps;
  /**
   * The output that tells its URL, under `custom`. By default the existing system's, which front ends read; another one while
   * both functions are there.
   */
  readonly outputName?: string;
  /** Lets users write `custom:user_id` themselves. Whoever can, can become anybody. */
  readonly allowWritableUserId?: boolean;
}

/** Users, from `defineAuth` or `referenceAuth`. */
interface Users {
  readonly userPool: IUserPool;
  readonly userPoolClient: IUserPoolClient;
  readonly cfnResources?: { readonly cfnUserPoolClient?: CfnUserPoolClient };
}

/** A backend that has users, and has defined the function. */
export type BackendWithStream = Pick<BackendBase, "addOutput"> &
  Pick<Backend<{ streamCoachConversation: ReturnType<typeof defineStreamCoachConversation> }>, "streamCoachConversation"> & {
    readonly auth: { readonly resources: Users };
  };

/** Define the function, for `defineBackend`; `addStreamCoachConversation` then says what it works with. */
export function defineStreamCoachConversation(options: FunctionOptions = {}) {
  return defineFunction((scope) => streamingFunction(scope, options), {
    resourceGroupName: options.resourceGroupName ?? "coachstream",
  });
}

/**
 * Give the function its environment, its permissions and its Function URL, and tell the URL in the backend's outputs.
 *
 * @throws Error: an option would only be refused, or missing, at run time; the message says which.
 */
export function addStreamCoachConversation(backend: BackendWithStream, props: StreamCoachConversationProps): void {
  const { lambda } = backend.streamCoachConversation.resources;
  const stack = Stack.of(lambda);
  if (!props.allowWritableUserId) refuseWritableUserId(backend.auth.resources);
  const { userPool, userPoolClient } = backend.auth.resources;
  const identity: Identity = {
    userPoolId: userPool.userPoolId,
    clientIds: [userPoolClient.userPoolClientId, ...(props.moreClientIds ?? [])],
    ticketKeySecretArn: props.ticketKeySecretArn ?? newTicketKey(lambda.node.scope ?? stack),
  };
  for (const [name, value] of Object.entries(environmentOf(props, identity))) {
    backend.streamCoachConversation.addEnvironment(name, value);
  }
  for (const statement of statementsOf(stack, props, identity)) lambda.addToRolePolicy(statement);
  const url = lambda.addFunctionUrl({
    // The function verifies the token of every request itself, before anything else: Lambda's own authorization knows AWS's
    // signatures only. CDK adds both permissions that everybody then needs (Lambda developer guide, "Control access to Lambda
    // function URLs"): lambda:InvokeFunctionUrl, and, since October 2025, lambda:InvokeFunction for calls through the URL.
    authType: FunctionUrlAuthType.NONE,
    invokeMode: InvokeMode.RESPONSE_STREAM,
    cors: corsOptions(props.cors),
  });
  backend.addOutput({
    custom: { [props.outputName ?? "coachConversationStreamingApi"]: { functionUrl: url.url, region: stack.region } },
  });
}

/** `defineAuth` makes a client that may write all attributes; what `referenceAuth` refers to is not known here. */
function refuseWritableUserId({ cfnResources }: Users): void {
  const client = cfnResources?.cfnUserPoolClient;
  if (client !== undefined && (client.writeAttributes ?? [USER_ID]).includes(USER_ID)) {
    throw new Error(
      `users can write ${USER_ID} themselves, and so become anybody; list what they may write, before, in ` +
        "backend.auth.resources.cfnResources.cfnUserPoolClient.writeAttributes",
    );
  }
}

function streamingFunction(scope: Construct, options: FunctionOptions): Function {
  const within = new Construct(scope, "StreamCoachConversation");
  const logGroup = new LogGroup(within, "Log", {
    retention: options.logRetention ?? RetentionDays.ONE_MONTH,
    removalPolicy: options.keepLog ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
  });
  const { logLevel = "info" } = options;
  return new Function(within, NAME, {
    description: "Streams a coach's reply as Server-Sent Events",
    code: Code.fromAsset(packageOf(options)),
    handler: HANDLER,
    runtime: RUNTIME,
    architecture: Architecture.ARM_64,
    memorySize: options.memoryMb ?? 2048,
    timeout: Duration.seconds(options.timeoutS ?? 300),
    ...(options.reservedConcurrency === undefined
      ? {}
      : { reservedConcurrentExecutions: options.reservedConcurrency }),
    environment: {
      AWS_LAMBDA_EXEC_WRAPPER: EXEC_WRAPPER,
      COACHSTREAM_LOG_LEVEL: logLevel,
      ...(options.hasPackagedKeys ? { COACHSTREAM_JWKS_FILE: PACKAGED_KEYS } : {}),
    },
    role: roleFor(within, logGroup),
    logGroup,
    loggingFormat: LoggingFormat.JSON,
    // Never above INFO: lines without a level, such as those of metrics, count as INFO (Lambda developer guide, "Configuring
    // JSON and plain text log formats"). The function itself drops what is less severe than it is told.
    applicationLogLevelV2: logLevel === "debug" ? ApplicationLogLevel.DEBUG : ApplicationLogLevel.INFO,
    tracing: Tracing.ACTIVE,
  });
}

/** Lambda's managed policy would allow writing to every log group of the account. */
function roleFor(scope: Construct, logGroup: LogGroup): Role {
  const role = new Role(scope, "Role", { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
  const log = new PolicyStatement({
    sid: "Log",
    actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
    resources: [logGroup.logGroupArn],
  });
  role.addToPolicy(log);
  return role;
}

/** A random key that signs tickets. Changing it makes tickets that are in use worthless, and no more. */
function newTicketKey(scope: Construct): string {
  return new Secret(scope, "TicketKey", {
    description: "Signs the tickets in the URLs that EventSource opens",
    generateSecretString: { passwordLength: TICKET_KEY_CHARACTERS, excludePunctuation: true },
    removalPolicy: RemovalPolicy.DESTROY,
  }).secretArn;
}

function packageOf({ packageZip }: FunctionOptions): string {
  const path = packageZip ?? fileURLToPath(new URL("coachstream.zip", import.meta.url));
  if (!existsSync(path)) throw new Error(`there is no package at ${path}; \`coachstream package\` makes one`);
  return path;
}
