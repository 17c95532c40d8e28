// The Node side of cold_start.py: loads the AWS SDK, as a coach's function in Node would, and says `start`.
import { createRequire } from "node:module";
import { join } from "node:path";

createRequire(join(process.env.SDK_FOLDER, "package.json"))("@aws-sdk/client-bedrock-runtime");

export { handler } from "./first_event.mjs";
