// The reference function of whole_turn.py: a coach's reply as the existing system streams it, on AWS's own clients.
//
// It makes the reads and writes of the existing function (docs/reference/existing-system.md): conversation, coach and
// recent workouts before the model is called; the conversation read again and written whole after the reply; and read
// once more to decide on a summary. Unlike that function it sends every delta as it comes, and asks no small model.
// The token is decoded, not verified.
import { BedrockRuntimeClient, ConverseStreamCommand } from "@aws-sdk/client-bedrock-runtime";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const TableName = process.env.DYNAMODB_TABLE_NAME;
const MODEL_ID = process.env.BEDROCK_MODEL_ID;
const MODEL_NAME = "claude-sonnet-4-5";
const WORKOUTS = 14;
const SUMMARY_EVERY = 6;
const ROUTE = /^\/users\/([^/]+)\/coaches\/([^/]+)\/conversations\/([^/]+)\/stream$/;

// The tests' Bedrock speaks HTTP/1.1, the client by default HTTP/2.
const bedrock = new BedrockRuntimeClient({ requestHandler: new NodeHttpHandler() });
const table = DynamoDBDocumentClient.from(new DynamoDBClient({}), { marshallOptions: { removeUndefinedValues: true } });

const read = async (pk, sk) => (await table.send(new GetCommand({ TableName, Key: { pk, sk } }))).Item;

const recentWorkouts = async (pk) => {
  const found = await table.send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: "pk = :pk AND begins_with(sk, :prefix)",
      ExpressionAttributeValues: { ":pk": pk, ":prefix": "workout#" },
    }),
  );
  return found.Items.map((item) => item.attributes)
    .sort((one, other) => (one.completedAt < other.completedAt ? 1 : -1))
    .slice(0, WORKOUTS);
};

const userOf = (token) => {
  const claims = JSON.parse(Buffer.from(token.replace(/^Bearer /, "").split(".")[1], "base64url").toString());
  return claims["custom:user_id"];
};

const systemPrompt = (coach, workouts, messages) =>
  [
    `You are ${coach.coach_name}.`,
    ...Object.values(coach.generated_prompts ?? {}),
    `RECENT WORKOUTS\n${workouts.map((workout) => `${workout.completedAt} ${workout.summary}`).join("\n")}`,
    `CONVERSATION SO FAR\n${messages.map((message) => `${message.role}: ${message.content}`).join("\n")}`,
  ].join("\n\n---\n\n");

const append = async (pk, sk, messages) => {
  const item = await read(pk, sk);
  const now = new Date().toISOString();
  const all = [...item.attributes.messages, ...messages];
  const metadata = { ...item.attributes.metadata, lastActivity: now, totalMessages: all.length };
  const attributes = { ...item.attributes, messages: all, metadata };
  await table.send(new PutCommand({ TableName, Item: { ...item, attributes, updatedAt: now } }));
};

const summarise = async (pk, sk) => {
  const { attributes } = await read(pk, sk);
  return attributes.metadata.totalMessages % SUMMARY_EVERY === 0; // The existing function then invokes another one.
};

const turn = async (event, send) => {
  const [, userId, coachId, conversationId] = ROUTE.exec(event.rawPath);
  if (userOf(event.headers.authorization) !== userId) throw new Error("Access denied");
  send({ type: "start", status: "initialized" });
  const body = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : event.body;
  const { userResponse } = JSON.parse(body);
  const pk = `user#${userId}`;
  const sk = `coachConversation#${coachId}#${conversationId}`;
  const [conversation, coach, workouts] = await Promise.all([
    read(pk, sk),
    read(pk, `coach#${coachId}`),
    recentWorkouts(pk),
  ]);
  const received = new Date();
  const reply = await bedrock.send(
    new ConverseStreamCommand({
      modelId: MODEL_ID,
      system: [{ text: systemPrompt(coach.attributes, workouts, conversation.attributes.messages) }],
      messages: [{ role: "user", content: [{ text: userResponse }] }],
      inferenceConfig: { temperature: 0.7, maxTokens: 32768 },
    }),
  );
  let content = "";
  for await (const part of reply.stream) {
    const text = part.contentBlockDelta?.delta?.text;
    if (text) {
      content += text;
      send({ type: "chunk", content: text });
    }
  }
  const replied = new Date();
  const userMessage = {
    id: `msg_${received.getTime()}_user`,
    role: "user",
    content: userResponse,
    timestamp: received.toISOString(),
  };
  const aiMessage = {
    id: `msg_${replied.getTime()}_assistant`,
    role: "assistant",
    content,
    timestamp: replied.toISOString(),
    metadata: { model: MODEL_NAME },
  };
  await append(pk, sk, [userMessage, aiMessage]);
  await summarise(pk, sk);
  send({ type: "complete", messageId: aiMessage.id, userMessage, aiMessage, conversationId });
};

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const http = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" },
  });
  const send = (data) => http.write(`data: ${JSON.stringify(data)}\n\n`);
  try {
    await turn(event, send);
  } catch (error) {
    send({ type: "error", code: "PROCESSING_ERROR", message: error.message });
  }
  http.end();
});
