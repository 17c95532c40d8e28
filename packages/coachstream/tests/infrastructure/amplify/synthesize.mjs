/**
 * Synthesizes backends as `ampx` does: it imports each as TypeScript, and then tells it to write its assembly. What one is
 * refused with is in `refused.txt` of its folder.
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
  // As CDK's toolkit has it: the template then says in which files the nested ones are.
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
  // The next message is for the next one alone.
  process.removeAllListeners("message");
}
