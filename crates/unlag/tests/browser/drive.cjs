// Loads a page in Chromium, leaves it, comes back to it by a link's way (no reload), and prints what the page found each time.
// Arguments: the browser, a directory for its profile, the address of the page, the certificate to trust, where its name leads.
"use strict";
const { spawn } = require("node:child_process");
const { createHash, X509Certificate } = require("node:crypto");
const { readFileSync } = require("node:fs");

const [, , browser, profile, page, certificate, address] = process.argv;
const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
const child = spawn(
  browser,
  [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--no-proxy-server",
    "--remote-debugging-pipe",
    // Answers under a certificate that is merely tolerated are not cached; this one counts as good.
    "--ignore-certificate-errors-spki-list=" + createHash("sha256").update(key).digest("base64"),
    "--host-resolver-rules=MAP " + new URL(page).hostname + " " + address + ", MAP * ~NOTFOUND",
    "--user-data-dir=" + profile,
    "about:blank",
  ],
  { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] },
);
let complaints = "";
child.stderr.on("data", (text) => (complaints = (complaints + text).slice(-4000)));
const fail = (why) => {
  process.stderr.write(`${why}\n${complaints}`);
  child.kill("SIGKILL");
  process.exit(1);
};
child.on("error", (error) => fail(`${browser}: ${error}`));
child.on("exit", (code) => fail(`the browser has ended: ${code}`));
let deadline;
const expect = (what, seconds) => {
  clearTimeout(deadline);
  deadline = setTimeout(() => fail(`${what}: not within ${seconds} s`), seconds * 1000).unref();
};
// The first start on a machine reads 360 MiB from its disk: 19 s were seen beside a build.
expect("the start of the browser", 90);

// The DevTools protocol on two pipes: JSON, each message ended by a zero byte.
const waiting = new Map();
const awaited = [];
let number = 0;
let rest = "";
child.stdio[4].setEncoding("utf8").on("data", (text) => {
  const messages = (rest + text).split("\0");
  rest = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    if (message.id) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    } else {
      awaited.filter((event) => event.method === message.method).forEach((event) => event.resolve());
    }
  }
});
const call = (method, params = {}, sessionId = undefined) =>
  new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    child.stdio[3].write(JSON.stringify({ id: number, method, params, sessionId }) + "\0");
  });
const event = (method) => new Promise((resolve) => awaited.push({ method, resolve }));

async function visit(session, url) {
  const loaded = event("Page.loadEventFired");
  const { errorText } = await call("Page.navigate", { url }, session);
  if (errorText) throw new Error(`${url}: ${errorText}`);
  await loaded;
}

async function run() {
  const { targetId } = await call("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  await call("Page.enable", {}, sessionId);
  expect("the visits", 45);
  const visits = [];
  for (let count = 0; count < 2; count++) {
    await visit(sessionId, page);
    const expression = "Promise.resolve(window.found).then(JSON.stringify)";
    const evaluate = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await call("Runtime.evaluate", evaluate, sessionId);
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    visits.push(result.value === undefined ? null : JSON.parse(result.value));
    await visit(sessionId, "about:blank");
  }
  process.stdout.write(JSON.stringify(visits));
  child.removeAllListeners("exit");
  child.on("exit", () => process.exit(0));
  await call("Browser.close").catch(() => child.kill("SIGKILL"));
}
run().catch((error) => fail(error.stack));
