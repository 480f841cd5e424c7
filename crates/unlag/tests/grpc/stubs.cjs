// Loads interop.proto for both sides.
"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

exports.ECHO_INITIAL = "x-grpc-test-echo-initial";
exports.ECHO_TRAILING = "x-grpc-test-echo-trailing-bin";

/** The services of the file, as grpc-js wants them. */
exports.load = () => {
  const definition = loader.loadSync(path.join(__dirname, "interop.proto"), { arrays: true, defaults: false });
  return grpc.loadPackageDefinition(definition).unlag.interop;
};
