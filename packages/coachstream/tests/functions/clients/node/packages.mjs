// Imports installed packages, wherever this script is: imports(MODULES) is an import() that knows their folder.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

export const imports = (modules) => async (name, of = "") => {
  const folder = `${modules}/node_modules/${of && `${of}/node_modules/`}${name}`;
  const described = JSON.parse(readFileSync(`${folder}/package.json`));
  const { import: imported, default: otherwise } = described.exports?.["."] ?? {};
  let entry = imported ?? otherwise ?? described.module ?? described.main;
  if (typeof entry !== "string") entry = entry.default;
  return import(pathToFileURL(`${folder}/${entry}`));
};
