// JetStream, key-value, object buckets and services with the npm packages `@nats-io/*`: each step and its outcome, a line each.
// NATS_URL names the server.

import { connect, headers, nanos } from "@nats-io/transport-node";
import { AckPolicy, DeliverPolicy, RetentionPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { Svcm } from "@nats-io/services";

const text = new TextDecoder();

function show(step, outcome) {
  const plain = (_, value) =>
    value instanceof Uint8Array ? (value.length < 200 ? text.decode(value) : `${value.length} bytes`) : value;
  console.log(JSON.stringify({ step, outcome: outcome === undefined ? null : outcome }, plain));
}

async function step(name, doing, ...fields) {
  try {
    let outcome = await doing();
    if (fields.length && outcome) {
      outcome = Object.fromEntries(fields.map((field) => [field, outcome[field]]));
    }
    show(name, outcome);
  } catch (error) {
    console.log(JSON.stringify({ step: name, error: error.name, code: error.code, message: error.message.replace(/_INBOX\S+/, "_INBOX") }));
  }
}

const message = (m) => ({
  subject: m.subject,
  data: m.string(),
  seq: m.seq,
  deliveries: m.info?.deliveryCount,
  pending: m.info?.pending,
  redelivered: m.redelivered,
  headers: m.headers ? Object.fromEntries(m.headers.keys().map((key) => [key, m.headers.get(key)])) : null,
});

const client = await connect({ servers: process.env.NATS_URL, reconnect: false });
const js = jetstream(client);
const jsm = await jetstreamManager(client);

await step("account", () => jsm.getAccountInfo(), "streams", "consumers", "memory", "storage", "limits");
await step("add", () => jsm.streams.add({ name: "A", subjects: ["a.>"], allow_direct: true }), "config", "state");
await step("add again, another", () => jsm.streams.add({ name: "A", subjects: ["b"] }));
await step("update", () => jsm.streams.update("A", { subjects: ["a.>"], max_msgs: 100, allow_direct: true }), "config");
await step("info of none", () => jsm.streams.info("NONE"));
await step("find", () => jsm.streams.find("a.1"));
await step("publish", () => js.publish("a.1", "one"));
const h = headers();
h.set("K", "v");
await step("publish with headers", () => js.publish("a.2", "two", { headers: h }));
await step("publish with id", () => js.publish("a.3", "x", { msgID: "id" }));
await step("publish with id again", () => js.publish("a.3", "x", { msgID: "id" }));
await step("publish to nothing", () => js.publish("z", "x", { timeout: 1000 }));
await step("expecting another stream", () => js.publish("a.1", "x", { expect: { streamName: "B" } }));
await step("expecting a sequence", () => js.publish("a.1", "x", { expect: { lastSequence: 9 } }));
await step("expecting a subject's sequence", () => js.publish("a.1", "x", { expect: { lastSubjectSequence: 9 } }));
await step("get", async () => {
  const m = await jsm.streams.getMessage("A", { last_by_subj: "a.2" });
  return { subject: m.subject, seq: m.seq, data: m.string() };
});
await step("get none", () => jsm.streams.getMessage("A", { seq: 99 }));
await step("get directly", async () => {
  const m = await jsm.direct.getMessage("A", { last_by_subj: "a.2" });
  return { subject: m.subject, seq: m.seq, data: m.string() };
});
await step("get many directly", async () => {
  const all = [];
  for await (const m of await jsm.direct.getBatch("A", { batch: 5, seq: 1 })) all.push([m.seq, m.subject]);
  return all;
});
await step("get the last of each", async () => {
  const all = [];
  for await (const m of await jsm.direct.getLastMessagesFor("A", { multi_last: ["a.>"] })) all.push([m.seq, m.subject]);
  return all;
});

await step("consumer", () => jsm.consumers.add("A", { durable_name: "C", ack_policy: AckPolicy.Explicit, ack_wait: nanos(5000) }), "config", "num_pending");
const consumer = await js.consumers.get("A", "C");
const first = await consumer.next({ expires: 2000 });
show("next", message(first));
await step("acked", () => first.ackAck());
const second = await consumer.next({ expires: 2000 });
second.nak();
// The one that was refused and the next one, in either order.
const more = [];
for await (const m of await consumer.fetch({ max_messages: 2, expires: 5000 })) more.push(m);
more.sort((a, b) => a.seq - b.seq);
show("fetched", more.map((m) => [m.seq, m.info.deliveryCount, m.redelivered]));
more[0].working();
more[0].term("enough");
await more[1].ackAck();
await step("info", () => consumer.info(true), "config");
await step("info", () => consumer.info(), "num_pending", "num_ack_pending", "num_redelivered", "num_waiting");
const consumed = [];
for (let i = 0; i < 20; i++) await js.publish("a.c", `${i}`);
const messages = await consumer.consume({ max_messages: 5 });
for await (const m of messages) {
  consumed.push(m.string());
  await m.ackAck();
  if (consumed.length === 20) break;
}
await messages.close();
show("consumed", consumed);
const ordered = await js.consumers.get("A", { filter_subjects: "a.c" });
const inOrder = [];
const iterator = await ordered.consume();
for await (const m of iterator) {
  inOrder.push(m.seq);
  if (inOrder.length === 20) break;
}
show("in order", inOrder);
await step("pause", () => jsm.consumers.pause("A", "C", new Date("2099-01-01T00:00:00Z")), "paused", "pause_until");
await step("resume", () => jsm.consumers.resume("A", "C"), "paused");
await step("consumers", async () => {
  const names = [];
  for await (const info of jsm.consumers.list("A")) names.push(info.config.durable_name ?? "ephemeral");
  return names.sort();
});
await step("push consumer", () => jsm.consumers.add("A", { durable_name: "P", deliver_subject: "push", deliver_policy: DeliverPolicy.Last, ack_policy: AckPolicy.None }), "config");
await step("pushed", async () => {
  const push = await js.consumers.getPushConsumer("A", "P");
  const iterator = await push.consume();
  for await (const m of iterator) return message(m);
});
await step("delete a consumer", () => jsm.consumers.delete("A", "C"));
await step("delete it again", () => jsm.consumers.delete("A", "C"));
await step("delete a message", () => jsm.streams.deleteMessage("A", 1));
await step("purge a subject", () => jsm.streams.purge("A", { filter: "a.c", keep: 3 }));
await step("purge", () => jsm.streams.purge("A"));

await jsm.streams.add({ name: "W", subjects: ["w"], retention: RetentionPolicy.Workqueue });
for (let i = 0; i < 3; i++) await js.publish("w", `${i}`);
await jsm.consumers.add("W", { durable_name: "W", ack_policy: AckPolicy.Explicit });
for await (const m of await (await js.consumers.get("W", "W")).fetch({ max_messages: 3, expires: 1000 })) await m.ackAck();
await step("a work queue is empty", async () => (await jsm.streams.info("W")).state.messages);

const kv = await new Kvm(client).create("KV", { history: 5, ttl: 3_600_000 });
const entry = (e) => e && { key: e.key, value: e.string(), revision: e.revision, operation: e.operation };
await step("put", () => kv.put("k", "1"));
await step("put", () => kv.put("k", "2"));
await step("get", async () => entry(await kv.get("k")));
await step("get a revision", async () => entry(await kv.get("k", { revision: 1 })));
await step("get none", async () => entry(await kv.get("none")));
await step("create", () => kv.create("k", "x"));
await step("create", () => kv.create("n", "x"));
await step("update", () => kv.update("k", "3", 2));
await step("update an old one", () => kv.update("k", "4", 2));
await step("delete", () => kv.delete("n"));
await step("get deleted", async () => entry(await kv.get("n")));
await step("create the deleted", () => kv.create("n", "y"));
await step("keys", async () => {
  const keys = [];
  for await (const key of await kv.keys()) keys.push(key);
  return keys.sort();
});
await step("history", async () => {
  const all = [];
  for await (const e of await kv.history({ key: "k" })) all.push(entry(e));
  return all;
});
await step("watch", async () => {
  const all = [];
  await kv.put("w", "seen");
  for await (const e of await kv.watch()) {
    all.push(entry(e));
    if (e.key === "w") break;
  }
  return all;
});
await step("purge", () => kv.purge("k"));
await step("status", async () => {
  const s = await kv.status();
  return { bucket: s.bucket, values: s.values, history: s.history, ttl: s.ttl };
});
await step("destroy", () => kv.destroy());

const store = await new Objm(client).create("O", { description: "objects" });
const about = (info) => info && { name: info.name, size: info.size, chunks: info.chunks, digest: info.digest, deleted: info.deleted, link: info.options?.link };
await step("put", async () => about(await store.putBlob({ name: "name" }, new TextEncoder().encode("content"))));
await step("put much", async () => about(await store.putBlob({ name: "much", options: { max_chunk_size: 50_000 } }, new Uint8Array(300_000))));
await step("get", async () => text.decode(await store.getBlob("name")));
await step("get much", async () => (await store.getBlob("much")).length);
await step("get none", () => store.getBlob("none"));
await step("info", async () => about(await store.info("much")));
await step("link", async () => about(await store.link("link", await store.info("name"))));
await step("get through the link", async () => text.decode(await store.getBlob("link")));
await step("update", () => store.update("name", { name: "renamed", description: "changed" }));
await step("list", async () => (await store.list()).map(about).sort((a, b) => (a.name < b.name ? -1 : 1)));
await step("delete", () => store.delete("much"));
await step("seal", () => store.seal(), "config");
await step("put into the sealed", () => store.putBlob({ name: "late" }, new Uint8Array(5)));
await step("destroy", () => store.destroy());

const services = new Svcm(client);
const service = await services.add({ name: "adder", version: "1.0.0", description: "adds" });
service.addGroup("sum").addEndpoint("two", (error, m) => m.respond(`${m.json().a + m.json().b}`));
await step("call", async () => (await client.request("sum.two", JSON.stringify({ a: 1, b: 2 }))).string());
const asking = services.client();
for (const verb of ["ping", "info", "stats"]) {
  await step(verb, async () => {
    const all = [];
    for await (const answer of await asking[verb]("adder")) {
      delete answer.id;
      delete answer.started;
      for (const endpoint of answer.endpoints ?? []) {
        delete endpoint.processing_time;
        delete endpoint.average_processing_time;
      }
      all.push(answer);
    }
    return all;
  });
}
await step("stop", () => service.stop());
await step("call nobody", () => client.request("sum.two", "{}", { timeout: 1000 }));
await step("delete", () => jsm.streams.delete("A"));
await step("delete it again", () => jsm.streams.delete("A"));
await client.close();
