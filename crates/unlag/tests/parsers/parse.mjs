// What Node's own HTTP server understands of recorded requests: reads a JSON list of {"id", "hex"} from stdin and
// prints {"node": {id: [[method, target, [host, ...], body as hex], ...]}}; only whole requests count.
import http from "node:http";
import { Duplex } from "node:stream";
import { text } from "node:stream/consumers";

class Recording extends Duplex {
  constructor(bytes) {
    super({ allowHalfOpen: true });
    this.push(bytes);
    this.push(null);
  }
  _read() {}
  _write(_chunk, _encoding, done) {
    done();
  }
  setTimeout() {}
  setNoDelay() {}
  setKeepAlive() {}
}

function hostsOf(request) {
  const raw = request.rawHeaders;
  return raw.filter((_, at) => at % 2 === 1 && raw[at - 1].toLowerCase() === "host");
}

function read(bytes) {
  return new Promise((resolve) => {
    const requests = [];
    const server = http.createServer({ requireHostHeader: false, keepAlive: true }, (request, response) => {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("error", () => {});
      request.on("end", () => {
        requests.push([request.method, request.url, hostsOf(request), Buffer.concat(parts).toString("hex")]);
        response.end();
      });
    });
    const socket = new Recording(bytes);
    server.on("clientError", () => socket.destroy());
    server.on("upgrade", (request, _socket, _head) => {
      requests.push([request.method, request.url, hostsOf(request), ""]);
      socket.destroy();
    });
    server.on("checkContinue", (request, response) => server.emit("request", request, response));
    server.on("checkExpectation", (request, response) => server.emit("request", request, response));
    socket.on("close", () => resolve(requests));
    socket.on("error", () => {});
    server.emit("connection", socket);
    socket.on("end", () => setImmediate(() => setImmediate(() => socket.destroy())));
  });
}

const found = {};
for (const { id, hex } of JSON.parse(await text(process.stdin))) {
  found[id] = await read(Buffer.from(hex, "hex"));
}
process.stdout.write(JSON.stringify({ node: found }));
