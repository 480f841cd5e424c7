// The server of the gRPC interop cases on grpc-js. Prints `listening PORT`, ends when its stdin does.
"use strict";

const grpc = require("@grpc/grpc-js");
const { load, ECHO_INITIAL, ECHO_TRAILING } = require("./stubs.cjs");

const { Interop } = load();

const payload = (size) => ({ body: Buffer.alloc(size) });

/** Sends back the initial metadata that was asked for; returns the trailing metadata to end with. */
function echoMetadata(call) {
  const initial = new grpc.Metadata();
  for (const value of call.metadata.get(ECHO_INITIAL)) initial.add(ECHO_INITIAL, value);
  if (call.metadata.get(ECHO_INITIAL).length > 0) call.sendMetadata(initial);
  const trailing = new grpc.Metadata();
  for (const value of call.metadata.get(ECHO_TRAILING)) trailing.add(ECHO_TRAILING, value);
  return trailing;
}

const wantedError = ({ code, message }, metadata) => ({ code, details: message, metadata });

const handlers = {
  EmptyCall: (_call, done) => done(null, {}),

  UnaryCall(call, done) {
    const trailing = echoMetadata(call);
    const { wantedStatus, responseSize } = call.request;
    if (wantedStatus) return done(wantedError(wantedStatus, trailing));
    done(null, { payload: payload(responseSize) }, trailing);
  },

  StreamingInputCall(call, done) {
    let total = 0;
    call.on("data", (request) => (total += request.payload.body.length));
    call.on("end", () => done(null, { aggregatedSize: total }));
    call.on("error", () => {});
  },

  StreamingOutputCall(call) {
    for (const { size } of call.request.responses) call.write({ payload: payload(size) });
    call.end();
  },

  FullDuplexCall(call) {
    const trailing = echoMetadata(call);
    let ended = false;
    call.on("data", (request) => {
      if (ended) return;
      if (request.wantedStatus) {
        ended = true;
        call.emit("error", wantedError(request.wantedStatus, trailing));
        return;
      }
      for (const { size } of request.responses) call.write({ payload: payload(size) });
    });
    call.on("end", () => ended || call.end(trailing));
    call.on("error", () => {});
  },
};

const server = new grpc.Server();
server.addService(Interop.service, handlers);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening ${port}`);
});
process.stdin.resume().on("end", () => process.exit(0));
