// Reads one ConverseStream with the AWS SDK for JavaScript and prints what it decodes: a JSON line for each
// event, then one for the end. Arguments: the endpoint, the request without its model.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages are installed in .cache/bedrock-node, where this file is not.
const require = createRequire(`${process.cwd()}/`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { BedrockRuntimeClient, ConverseStreamCommand } = await load("@aws-sdk/client-bedrock-runtime");
const { NodeHttpHandler } = await load("@smithy/node-http-handler");

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const [endpoint, request] = process.argv.slice(2);
const client = new BedrockRuntimeClient({
  endpoint,
  region: "us-west-2",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
  maxAttempts: 1,
  requestHandler: new NodeHttpHandler(), // HTTP/1.1, as Python's
});
try {
  const { stream } = await client.send(
    new ConverseStreamCommand({ modelId: "us.anthropic.claude-sonnet-4-5-20250929-v1:0", ...JSON.parse(request) }),
  );
  for await (const event of stream) {
    print(event);
  }
  print({ end: "done" });
} catch (error) {
  print({ end: error.name, message: error.message });
} finally {
  client.destroy();
}
