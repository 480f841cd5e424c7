// A WebSocket client: `talk.cjs PORT` says several things to an echo and prints `ok` when all came back unchanged.
"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { randomBytes } = require("node:crypto");
const WebSocket = require("ws");

/** Sends one message and compares what comes back. */
async function echoed(socket, message) {
  const back = once(socket, "message");
  socket.send(message);
  const [data, isBinary] = await back;
  assert.equal(isBinary, Buffer.isBuffer(message), "kind of message");
  assert.ok(data.equals(Buffer.from(message)), "contents");
}

async function main() {
  const socket = new WebSocket(`ws://127.0.0.1:${process.argv[2]}/chat?room=1`, "echo.unlag");
  await once(socket, "open");
  assert.equal(socket.protocol, "echo.unlag", "subprotocol");
  await echoed(socket, "");
  await echoed(socket, "grüße ☺ 😈");
  await echoed(socket, randomBytes(1 << 20));
  for (let round = 0; round < 100; round++) await echoed(socket, `round ${round}`);

  const pong = once(socket, "pong");
  socket.ping("are you there");
  assert.equal(String((await pong)[0]), "are you there");

  const closed = once(socket, "close");
  socket.send("please close");
  const [code, reason] = await closed;
  assert.deepEqual([code, String(reason)], [4001, "as you wish"]);
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
