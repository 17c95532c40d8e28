// node eventsource.mjs MODULES URL: writes the data of every message, a line each.
import { createRequire } from "node:module";

const [, , modules, url] = process.argv;
const { EventSource } = createRequire(`${modules}/`)("eventsource");

const source = new EventSource(url);
source.addEventListener("message", ({ data }) => console.log(data));
