/**
 * coachstream's function that streams a coach's reply, as a function of an Amplify Gen 2 backend.
 *
 * Copy this folder into `amplify/functions`; docs/how-to/amplify.md of coachstream has the steps. It is equivalent to
 * coachstream's own constructs (`coachstream.infrastructure`); a test compares the templates.
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
import { LogGroup, type RetentionDays } from "aws-cdk-lib/aws-logs";
import { Secret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";

import { corsOptions, type CorsProps } from "./cors.js";
import { statementsOf } from "./permissions.js";
import { environmentOf, type Identity, type ServiceProps } from "./service.js";
import settings from "./settings.json";

const NAME = "stream-coach-conversation";
const HANDLER = "coachstream.functions.stream_coach_conversation.handler.handler";
/** The newest managed Python runtime that Lambda lists as generally available; CDK may have no name for it yet. */
const RUNTIME = new Runtime(settings.runtime, RuntimeFamily.PYTHON);
/** The application's id of a user, which determines the conversations that a token gives access to. */
const USER_ID = "custom:user_id";
const TICKET_KEY_CHARACTERS = 64;

/** The configuration of the function; `settings.json` has the defaults. */
export interface FunctionOptions {
  /** The zip file built by `coachstream package`; by default `coachstream.zip` in this folder. */
  readonly packageZip?: string;
  /** Whether the package was built with `--jwks-of` this backend's user pool. With another pool's keys nothing starts. */
  readonly hasPackagedKeys?: boolean;
  /** The memory, which also determines the CPU share: one vCPU at 1,769 MB. */
  readonly memoryMb?: number;
  /** The timeout of a turn from its message to the stored reply. */
  readonly timeoutS?: number;
  /**
   * Reserved concurrency: guaranteed, and also the maximum: further streams are refused with 429. By default the account's
   * unreserved concurrency is used.
   */
  readonly reservedConcurrency?: number;
  /** The minimum level of logged records. */
  readonly logLevel?: "debug" | "info" | "warning" | "error";
  /** The log retention. */
  readonly logRetention?: RetentionDays;
  /** Whether the log is kept when the stack is deleted; not by default, and never in a sandbox. */
  readonly keepLog?: boolean;
  /** Its nested stack. Its own by default: it refers to others, and none to it, so there is no dependency cycle. */
  readonly resourceGroupName?: string;
}

/** The resources that the function uses, and the allowed origins. */
export interface StreamCoachConversationProps extends ServiceProps {
  readonly cors: CorsProps;
  /**
   * The output with its URL, under `custom`. By default the existing system's, which front ends read; set another one while
   * both functions exist.
   */
  readonly outputName?: string;
  /** Allows app clients to write `custom:user_id`, which lets any user impersonate any other. */
  readonly allowWritableUserId?: boolean;
}

/** Users, from `defineAuth` or `referenceAuth`. */
interface Users {
  readonly userPool: IUserPool;
  readonly userPoolClient: IUserPoolClient;
  readonly cfnResources?: { readonly cfnUserPoolClient?: CfnUserPoolClient };
}

/** A backend with users that has defined the function. */
export type BackendWithStream = Pick<BackendBase, "addOutput"> &
  Pick<Backend<{ streamCoachConversation: ReturnType<typeof defineStreamCoachConversation> }>, "streamCoachConversation"> & {
    readonly auth: { readonly resources: Users };
  };

/** Define the function, for `defineBackend`; `addStreamCoachConversation` then configures it. */
export function defineStreamCoachConversation(options: FunctionOptions = {}) {
  return defineFunction((scope) => streamingFunction(scope, options), {
    resourceGroupName: options.resourceGroupName ?? "coachstream",
  });
}

/**
 * Add the function's environment, permissions and Function URL, and add the URL to the backend's outputs.
 *
 * @throws Error: an option is invalid or missing; the message says which.
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
    // The function verifies the token of every request itself, before anything else: Lambda's own authorization supports AWS
    // signatures only. CDK adds both permissions that public access then needs (Lambda developer guide, "Control access to
    // Lambda function URLs"): lambda:InvokeFunctionUrl and, since October 2025, lambda:InvokeFunction for calls through it.
    authType: FunctionUrlAuthType.NONE,
    invokeMode: InvokeMode.RESPONSE_STREAM,
    cors: corsOptions(props.cors),
  });
  backend.addOutput({
    custom: { [props.outputName ?? "coachConversationStreamingApi"]: { functionUrl: url.url, region: stack.region } },
  });
}

/** `defineAuth` creates a client that may write all attributes; the pool of `referenceAuth` is not known here. */
function refuseWritableUserId({ cfnResources }: Users): void {
  const client = cfnResources?.cfnUserPoolClient;
  if (client !== undefined && (client.writeAttributes ?? [USER_ID]).includes(USER_ID)) {
    throw new Error(
      `users can write ${USER_ID} themselves, and so impersonate any other user; list the writable attributes, before, in ` +
        "backend.auth.resources.cfnResources.cfnUserPoolClient.writeAttributes",
    );
  }
}

function streamingFunction(scope: Construct, options: FunctionOptions): Function {
  const within = new Construct(scope, "StreamCoachConversation");
  const logGroup = new LogGroup(within, "Log", {
    retention: options.logRetention ?? settings.logRetentionDays,
    removalPolicy: options.keepLog ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
  });
  const { logLevel = settings.logLevel } = options;
  return new Function(within, NAME, {
    description: "Streams a coach's reply as Server-Sent Events",
    code: Code.fromAsset(packageOf(options)),
    handler: HANDLER,
    runtime: RUNTIME,
    architecture: Architecture.ARM_64,
    memorySize: options.memoryMb ?? settings.memoryMb,
    timeout: Duration.seconds(options.timeoutS ?? settings.timeoutS),
    ...(options.reservedConcurrency === undefined
      ? {}
      : { reservedConcurrentExecutions: options.reservedConcurrency }),
    environment: {
      // Starts coachstream's runtime instead of the managed one, which cannot stream.
      AWS_LAMBDA_EXEC_WRAPPER: settings.execWrapper,
      COACHSTREAM_LOG_LEVEL: logLevel,
      ...(options.hasPackagedKeys ? { COACHSTREAM_JWKS_FILE: settings.packagedKeys } : {}),
    },
    role: roleFor(within, logGroup),
    logGroup,
    loggingFormat: LoggingFormat.JSON,
    // Never above INFO: lines without a level, such as those of metrics, count as INFO (Lambda developer guide, "Configuring
    // JSON and plain text log formats"). The function itself filters by its configured level.
    applicationLogLevelV2: logLevel === "debug" ? ApplicationLogLevel.DEBUG : ApplicationLogLevel.INFO,
    tracing: Tracing.ACTIVE,
  });
}

/** The role; Lambda's managed policy would allow writing to every log group of the account. */
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

/** A random key that signs tickets. Changing it only invalidates tickets that are in use. */
function newTicketKey(scope: Construct): string {
  return new Secret(scope, "TicketKey", {
    description: "Signs the tickets in the URLs that EventSource opens",
    generateSecretString: { passwordLength: TICKET_KEY_CHARACTERS, excludePunctuation: true },
    removalPolicy: RemovalPolicy.DESTROY,
  }).secretArn;
}

function packageOf({ packageZip }: FunctionOptions): string {
  const path = packageZip ?? fileURLToPath(new URL("coachstream.zip", import.meta.url));
  if (!existsSync(path)) throw new Error(`there is no package at ${path}; \`coachstream package\` builds one`);
  return path;
}
