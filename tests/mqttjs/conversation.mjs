// What a page and a program do with mqtt.js: messages of each QoS, and a session that is resumed.

// The next messages of a client, so many of them.
function messages(client, count) {
  return new Promise((resolve) => {
    const came = [];
    client.on("message", (topic, payload) => {
      came.push(`${topic} ${payload}`);
      if (came.length === count) resolve(came);
    });
  });
}

async function qos(connect, version) {
  const client = await connect({ protocolVersion: version });
  await client.subscribeAsync("js/#", { qos: 2 });
  const came = messages(client, 3);
  for (const qos of [0, 1, 2]) await client.publishAsync(`js/${qos}`, `of QoS ${qos}`, { qos });
  const said = (await came).sort().join();
  if (said !== "js/0 of QoS 0,js/1 of QoS 1,js/2 of QoS 2") throw new Error(said);
  await client.endAsync();
}

async function resumed(mqtt, url, connect, options, version) {
  const lasting = {
    ...options,
    protocolVersion: version,
    clientId: `lasting-${version}`,
    clean: false,
    properties: version === 5 ? { sessionExpiryInterval: 600 } : undefined,
  };
  const first = await connect(lasting);
  await first.subscribeAsync("kept", { qos: 1 });
  await first.endAsync();
  const other = await connect({ protocolVersion: version });
  await other.publishAsync("kept", "for later", { qos: 1 });
  await other.endAsync();
  const again = mqtt.connect(url, lasting);
  const came = messages(again, 1);
  const present = new Promise((resolve) => again.on("connect", (ack) => resolve(ack.sessionPresent)));
  if (!(await present)) throw new Error("no session");
  const [said] = await came;
  if (said !== "kept for later") throw new Error(said);
  await again.endAsync();
}

// All of it, on both versions; `trust`: options of the transport.
export async function converse(mqtt, url, trust = {}) {
  const options = { ...trust, reconnectPeriod: 0, connectTimeout: 30_000 };
  const connect = (more) => mqtt.connectAsync(url, { ...options, ...more });
  for (const version of [4, 5]) {
    await qos(connect, version);
    await resumed(mqtt, url, connect, options, version);
  }
  return "all went well";
}
