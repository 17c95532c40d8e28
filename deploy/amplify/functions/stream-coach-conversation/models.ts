/**
 * Which ARNs the policy must allow for a call of a model.
 *
 * A cross-region inference profile routes a call to one of several regions, and the model must be allowed in each of
 * them, but only through the profile (Bedrock user guide, "Geographic cross-Region inference" and "Global cross-Region
 * inference"). `aws bedrock get-inference-profile` shows the actual destinations; if they differ from those below, name
 * the models explicitly (`foundationModels`).
 */

import { ArnFormat, type Stack, Token } from "aws-cdk-lib";

/**
 * The destination regions, by a profile's prefix. A profile that is called from another region of its geography may use
 * that one as well.
 */
const REGIONS: Readonly<Record<string, readonly string[]>> = {
  us: ["us-east-1", "us-east-2", "us-west-2"],
  "us-gov": ["us-gov-east-1", "us-gov-west-1"],
  eu: ["eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"],
  apac: [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
  ],
  jp: ["ap-northeast-1", "ap-northeast-3"],
  au: ["ap-southeast-2", "ap-southeast-4"],
};

/** The prefix of their regions. A profile cannot be called from a region of another of these. */
const CONTINENTS: Readonly<Record<string, string>> = { us: "us-", eu: "eu-", apac: "ap-" };

const GLOBAL = "global";
const PROFILE = /^([a-z]{2}|us-gov|apac|global)\.([a-z0-9-]+\..+)$/;
const ARN = /^arn:[a-z-]+:bedrock:([a-z0-9-]*):\d*:([a-z-]+)\/(.+)$/;

/** The ARNs that a call of one model or profile uses. */
export interface ModelAccess {
  /** ARN of the called model or profile. */
  readonly invoked: string;
  /** ARNs of the foundation models to which a profile routes calls. */
  readonly behind: readonly string[];
}

interface Profile {
  readonly geography: string;
  readonly model: string;
}

/**
 * The ARNs to allow for a model's id or ARN, called in a region (the stack's by default).
 *
 * @throws Error: the models behind the id are neither known nor in `foundationModels`; or it is a profile that does not
 *   exist in this region.
 */
export function modelAccess(
  stack: Stack,
  modelId: string,
  region: string | undefined,
  foundationModels: readonly string[],
): ModelAccess {
  const where = region ?? stack.region;
  const arn = ARN.exec(modelId);
  if (arn === null) {
    if (profileOf(modelId) === undefined) return { invoked: foundationModel(stack, where, modelId), behind: [] };
    const invoked = stack.formatArn({
      service: "bedrock",
      region: where,
      resource: "inference-profile",
      resourceName: modelId,
    });
    return through(stack, invoked, modelId, where, foundationModels);
  }
  const [, arnRegion = "", kind = "", name = ""] = arn;
  if (kind === "inference-profile") return through(stack, modelId, name, arnRegion, foundationModels);
  if (kind === "application-inference-profile") {
    if (foundationModels.length === 0) {
      throw new Error(`${modelId} does not reveal its models; name their ARNs (foundationModels)`);
    }
    return { invoked: modelId, behind: foundationModels };
  }
  return { invoked: modelId, behind: [] };
}

function through(
  stack: Stack,
  invoked: string,
  name: string,
  source: string,
  foundationModels: readonly string[],
): ModelAccess {
  const profile = profileOf(name);
  if (profile !== undefined) checkRegion(name, profile.geography, source);
  // One list for the model and its fallback: each profile uses its own models.
  const own = foundationModels.filter((arn) => profile === undefined || arn.endsWith(`/${profile.model}`));
  if (own.length > 0) return { invoked, behind: own };
  if (profile?.geography === GLOBAL) {
    // Calls that leave the region go to a foundation model whose ARN has no region.
    return { invoked, behind: [source, ""].map((region) => foundationModel(stack, region, profile.model)) };
  }
  const regions = profile && REGIONS[profile.geography];
  if (profile === undefined || regions === undefined) {
    throw new Error(`the regions of ${name} are unknown; name the ARNs of its models (foundationModels)`);
  }
  const all = Token.isUnresolved(source) ? regions : [...new Set([...regions, source])];
  return { invoked, behind: [...all].sort().map((region) => foundationModel(stack, region, profile.model)) };
}

function profileOf(name: string): Profile | undefined {
  const [, geography, model] = PROFILE.exec(name) ?? [];
  return geography === undefined || model === undefined ? undefined : { geography, model };
}

/** Rejects a profile of another geography, such as the default model's `us`: every turn would fail. */
function checkRegion(name: string, geography: string, source: string): void {
  const begins = CONTINENTS[geography];
  if (begins === undefined || Token.isUnresolved(source)) return;
  if (Object.values(CONTINENTS).some((other) => other !== begins && source.startsWith(other))) {
    throw new Error(`${name} cannot be called in ${source}; name another model (model.id) or region (model.region)`);
  }
}

/** The ARN of a foundation model, which has no account; the global one has no region either. */
function foundationModel(stack: Stack, region: string, name: string): string {
  return stack.formatArn({
    service: "bedrock",
    region,
    account: "",
    resource: "foundation-model",
    resourceName: name,
    arnFormat: ArnFormat.SLASH_RESOURCE_NAME,
  });
}

/** The ARN of a guardrail, given as an id or ARN. */
export function guardrailArn(stack: Stack, guardrail: string, region: string): string {
  if (guardrail.startsWith("arn:")) return guardrail;
  return stack.formatArn({
    service: "bedrock",
    region,
    resource: "guardrail",
    resourceName: guardrail,
  });
}
