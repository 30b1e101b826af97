// A program with mqtt.js.
// usage: node client.mjs URL [CA-FILE]
import { readFileSync } from "node:fs";
import mqtt from "mqtt";
import { converse } from "./conversation.mjs";

const [url, authority] = process.argv.slice(2);
console.log(await converse(mqtt, url, authority ? { ca: readFileSync(authority) } : {}));
