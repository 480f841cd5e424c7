// What a visitor would see of how the page has come: `window.found` holds it once everything is here.
"use strict";
const loaded = new Promise((resolve) => addEventListener("load", resolve));

async function look() {
  const answer = await fetch("/api/products");
  const products = await answer.json();
  await loaded;
  const style = getComputedStyle(document.body);
  const timed = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return {
    color: style.color,
    background: style.backgroundColor,
    image: document.querySelector("img").naturalWidth,
    products: products.length,
    cache: answer.headers.get("cache-status"),
    encoding: answer.headers.get("content-encoding"),
    resources: timed.map((entry) => ({
      path: new URL(entry.name).pathname,
      protocol: entry.nextHopProtocol,
      transferred: entry.transferSize,
      encoded: entry.encodedBodySize,
      decoded: entry.decodedBodySize,
    })),
  };
}

window.found = look();
