/**
 * Synthesizes backends as `ampx` does: it imports each as TypeScript, and then tells it to write its assembly.
 *
 *     node synthesize.mjs '{"APP/amplify/backend.ts": "FOLDER FOR ITS ASSEMBLY", …}'
 */

import process from "node:process";
import { pathToFileURL } from "node:url";

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
  await tsImport(pathToFileURL(backend).href, import.meta.url);
  process.emit("message", "amplifySynth", undefined);
}
