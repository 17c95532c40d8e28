/**
 * Synthesizes backends as `ampx` does: imports each as TypeScript, then sends it the message to write its assembly. If a backend
 * is refused, the error is in `refused.txt` in its folder.
 *
 *     node synthesize.mjs '{"APP/amplify/backend.ts": "FOLDER FOR ITS ASSEMBLY", …}'
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

import { tsImport } from "tsx/esm/api";

process.env.CDK_CONTEXT_JSON = JSON.stringify({
  "amplify-backend-namespace": "app",
  "amplify-backend-name": "main",
  "amplify-backend-type": "branch",
  // As CDK's toolkit sets it: the template then names the files of the nested ones.
  "aws:cdk:enable-asset-metadata": true,
});

for (const [backend, folder] of Object.entries(JSON.parse(process.argv[2]))) {
  process.env.CDK_OUTDIR = folder;
  try {
    await tsImport(pathToFileURL(backend).href, import.meta.url);
    process.emit("message", "amplifySynth", undefined);
  } catch (error) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "refused.txt"), inspect(error));
  }
  // The next message is only for the next backend.
  process.removeAllListeners("message");
}
