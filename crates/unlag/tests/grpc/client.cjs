// The client of the gRPC interop cases on grpc-js: `client.cjs PORT` prints `ok NAME` or `FAIL NAME: reason` a case.
"use strict";

const assert = require("node:assert/strict");
const grpc = require("@grpc/grpc-js");
const { load, ECHO_INITIAL, ECHO_TRAILING } = require("./stubs.cjs");

const services = load();
// Long enough for a slow machine; a case that waits longer is stuck.
const DEADLINE_MS = 20_000;
const REQUEST_SIZES = [27182, 8, 1828, 45904];
const RESPONSE_SIZES = [31415, 9, 2653, 58979];
const [LARGE_REQUEST, LARGE_RESPONSE] = [271828, 314159];
const SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

const { CANCELLED, DEADLINE_EXCEEDED, UNIMPLEMENTED, UNKNOWN } = grpc.status;
const payload = (size) => ({ body: Buffer.alloc(size) });
const within = (milliseconds = DEADLINE_MS) => ({ deadline: Date.now() + milliseconds });
const outputRequest = (size, requestSize) => ({ responses: [{ size }], payload: payload(requestSize) });
const sum = (sizes) => sizes.reduce((total, size) => total + size, 0);

/** A unary call, or one that streams its requests: the answer, its metadata and its status. */
function unary(stub, method, request, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    const seen = {};
    const done = (error, answer) => (error ? reject(error) : (seen.answer = answer));
    const call = stub[method](request, metadata, within(), done);
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", (status) => status.code === 0 && resolve({ ...seen, trailing: status.metadata }));
  });
}

/** The answers of a streaming call as they come; ends as the call ends. */
const sizesOf = async (call) => {
  const sizes = [];
  for await (const answer of call) sizes.push(answer.payload.body.length);
  return sizes;
};

/** The error that the promise ends with; it is a failure when it ends well. */
const failureOf = (promise) =>
  promise.then(
    () => assert.fail("the call ended well"),
    (error) => error,
  );

/** A deep copy of nothing but what the cases compare. */
const statusOf = ({ code, details }) => ({ code, details });

function checkEcho(initial, trailing, wantedInitial, wantedTrailing) {
  assert.deepEqual(initial.get(ECHO_INITIAL), [wantedInitial], "initial metadata");
  assert.deepEqual(trailing.get(ECHO_TRAILING), [wantedTrailing], "trailing metadata");
}

async function checkUnaryStatus(stub, code, message) {
  const error = await failureOf(unary(stub, "UnaryCall", { wantedStatus: { code, message } }));
  assert.deepEqual(statusOf(error), { code, details: message });
}

const cases = {
  async empty_unary({ stub }) {
    assert.deepEqual((await unary(stub, "EmptyCall", {})).answer, {});
  },

  async large_unary({ stub }) {
    const request = { responseSize: LARGE_RESPONSE, payload: payload(LARGE_REQUEST) };
    const { answer } = await unary(stub, "UnaryCall", request);
    assert.ok(answer.payload.body.equals(Buffer.alloc(LARGE_RESPONSE)), "body");
  },

  async client_streaming({ stub }) {
    const total = await new Promise((resolve, reject) => {
      const done = (error, answer) => (error ? reject(error) : resolve(answer.aggregatedSize));
      const call = stub.StreamingInputCall(new grpc.Metadata(), within(), done);
      for (const size of REQUEST_SIZES) call.write({ payload: payload(size) });
      call.end();
    });
    assert.equal(total, sum(REQUEST_SIZES));
  },

  async server_streaming({ stub }) {
    const call = stub.StreamingOutputCall({ responses: RESPONSE_SIZES.map((size) => ({ size })) }, within());
    assert.deepEqual(await sizesOf(call), RESPONSE_SIZES);
  },

  async ping_pong({ stub }) {
    const call = stub.FullDuplexCall(within());
    const answers = call[Symbol.asyncIterator]();
    for (const [at, size] of RESPONSE_SIZES.entries()) {
      call.write(outputRequest(size, REQUEST_SIZES[at]));
      assert.equal((await answers.next()).value.payload.body.length, size);
    }
    call.end();
    assert.equal((await answers.next()).done, true, "answers after the last request");
  },

  async empty_stream({ stub }) {
    const call = stub.FullDuplexCall(within());
    call.end();
    assert.deepEqual(await sizesOf(call), []);
  },

  async cancel_after_begin({ stub }) {
    const error = await new Promise((resolve) => {
      stub.StreamingInputCall(new grpc.Metadata(), within(), resolve).cancel();
    });
    assert.equal(error?.code, CANCELLED);
  },

  async cancel_after_first_response({ stub }) {
    const call = stub.FullDuplexCall(within());
    const answers = call[Symbol.asyncIterator]();
    call.write(outputRequest(RESPONSE_SIZES[0], REQUEST_SIZES[0]));
    assert.equal((await answers.next()).value.payload.body.length, RESPONSE_SIZES[0]);
    call.cancel();
    assert.equal((await failureOf(answers.next())).code, CANCELLED);
  },

  async timeout_on_sleeping_server({ stub }) {
    const call = stub.FullDuplexCall(within(50));
    call.write({ payload: payload(27182) });
    assert.equal((await failureOf(sizesOf(call))).code, DEADLINE_EXCEEDED);
  },

  async custom_metadata({ stub }) {
    const [initial, trailing] = ["test_initial_metadata_value", Buffer.from([0xab, 0xab, 0xab])];
    const sent = new grpc.Metadata();
    sent.set(ECHO_INITIAL, initial);
    sent.set(ECHO_TRAILING, trailing);
    const request = { responseSize: LARGE_RESPONSE, payload: payload(LARGE_REQUEST) };
    const one = await unary(stub, "UnaryCall", request, sent);
    checkEcho(one.initial, one.trailing, initial, trailing);

    const call = stub.FullDuplexCall(sent, within());
    const begun = new Promise((resolve) => call.on("metadata", resolve));
    const ended = new Promise((resolve) => call.on("status", ({ metadata }) => resolve(metadata)));
    call.write(outputRequest(RESPONSE_SIZES[0], REQUEST_SIZES[0]));
    call.end();
    assert.deepEqual(await sizesOf(call), [RESPONSE_SIZES[0]]);
    checkEcho(await begun, await ended, initial, trailing);
  },

  async status_code_and_message({ stub }) {
    const message = "test status message";
    await checkUnaryStatus(stub, UNKNOWN, message);
    const call = stub.FullDuplexCall(within());
    call.write({ wantedStatus: { code: UNKNOWN, message } });
    call.end();
    assert.deepEqual(statusOf(await failureOf(sizesOf(call))), { code: UNKNOWN, details: message });
  },

  special_status_message: ({ stub }) => checkUnaryStatus(stub, UNKNOWN, SPECIAL_MESSAGE),

  async unimplemented_method({ stub }) {
    assert.equal((await failureOf(unary(stub, "UnimplementedCall", {}))).code, UNIMPLEMENTED);
  },

  async unimplemented_service({ absent }) {
    assert.equal((await failureOf(unary(absent, "UnimplementedCall", {}))).code, UNIMPLEMENTED);
  },
};

async function main() {
  const address = `127.0.0.1:${process.argv[2]}`;
  const options = { "grpc.enable_http_proxy": 0 };
  const credentials = grpc.credentials.createInsecure();
  const stub = new services.Interop(address, credentials, options);
  const absent = new services.UnimplementedService(address, credentials, options);
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run({ stub, absent });
      console.log(`ok ${name}`);
    } catch (error) {
      console.error(error);
      console.log(`FAIL ${name}: ${String(error.message).replace(/\s+/g, " ")}`);
    }
  }
  stub.close();
  absent.close();
}

main().then(() => process.exit(0)); // deadlines that were never reached would keep it for twenty seconds
