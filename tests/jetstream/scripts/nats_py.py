"""JetStream, key-value and object buckets with nats-py: each step and its outcome, a line each.

The server is named by NATS_URL. Prints `missing` without nats-py.
"""

import asyncio
import json
import os
import sys

try:
    import nats
    from nats.errors import Error, TimeoutError as NatsTimeout
    from nats.js import api
    from nats.js.errors import APIError
except ModuleNotFoundError as error:
    print("missing", error)
    sys.exit(0)


def shown(value):
    if hasattr(value, "as_dict"):
        return shown(value.as_dict())
    if hasattr(value, "__dict__") and not isinstance(value, Exception):
        return {name: shown(field) for name, field in vars(value).items() if not name.startswith("_")}
    if isinstance(value, dict):
        return {name: shown(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(field) for field in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if len(value) < 200 else f"{len(value)} bytes"
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


async def step(name, doing, *fields):
    try:
        value = shown(await doing)
        if fields and isinstance(value, dict):
            value = {field: value.get(field) for field in fields}
        print(json.dumps({"step": name, "outcome": value}, sort_keys=True), flush=True)
    except APIError as error:
        print(json.dumps({"step": name, "code": getattr(error, "code", None), "err_code": getattr(error, "err_code", None), "error": type(error).__name__}), flush=True)
    except (Error, NatsTimeout, asyncio.TimeoutError, ValueError) as error:
        print(json.dumps({"step": name, "error": type(error).__name__}), flush=True)


async def message(of):
    got = await of
    meta = got.metadata
    return {
        "subject": got.subject,
        "data": got.data,
        "headers": got.headers,
        "delivered": meta.num_delivered,
        "pending": meta.num_pending,
        "stream": meta.sequence.stream,
        "consumer": meta.sequence.consumer,
    }


async def main():
    client = await nats.connect(os.environ["NATS_URL"], allow_reconnect=False)
    js = client.jetstream()
    await step("account", js.account_info(), "streams", "consumers", "memory", "storage", "limits")
    await step("add", js.add_stream(name="A", subjects=["a.>"], max_msgs=100, allow_direct=True))
    await step("add again, another", js.add_stream(name="A", subjects=["b"]))
    await step("update", js.update_stream(name="A", subjects=["a.>"], max_msgs=50, allow_direct=True, description="changed"))
    await step("info of none", js.stream_info("NONE"))
    await step("by subject", js.find_stream_name_by_subject("a.b"))
    await step("publish", js.publish("a.1", b"one"))
    await step("publish with headers", js.publish("a.2", b"two", headers={"K": "v"}))
    await step("publish to nothing", js.publish("z.1", b"x", timeout=1))
    await step("publish with id", js.publish("a.3", b"x", headers={"Nats-Msg-Id": "id"}))
    await step("publish with id again", js.publish("a.3", b"x", headers={"Nats-Msg-Id": "id"}))
    await step("publish expecting another stream", js.publish("a.3", b"x", stream="B"))
    await step("publish expecting a sequence", js.publish("a.3", b"x", headers={"Nats-Expected-Last-Sequence": "9"}))
    await step("get", js.get_msg("A", 2), "subject", "seq", "data", "headers")
    await step("get the last", js.get_last_msg("A", "a.1"), "subject", "seq", "data")
    await step("get directly", js.get_msg("A", 2, direct=True), "subject", "seq", "data")
    await step("get none", js.get_msg("A", 99))
    await step("get none directly", js.get_msg("A", 99, direct=True))

    pull = await js.pull_subscribe("a.>", durable="pull")
    first, second = await pull.fetch(2)
    for got in (first, second):

        async def same(got=got):
            return got

        await step("fetched", message(same()))
    await step("acked", first.ack_sync())
    await step("nak", second.nak())
    # The one that was refused and the next one, in either order.
    both = []
    while len(both) < 2:
        both += await pull.fetch(1)
    again, third = sorted(both, key=lambda got: got.metadata.sequence.stream)
    print(json.dumps({"step": "again", "outcome": [[got.subject, got.metadata.num_delivered] for got in (again, third)]}))
    await step("in progress", again.in_progress())
    await step("term", again.term())
    await step("acked", third.ack_sync())
    await step("consumer", pull.consumer_info(), "name", "delivered", "ack_floor", "num_ack_pending", "num_pending", "num_redelivered")
    await step("nothing left", pull.fetch(1, timeout=0.3))
    await step("consumers", js.consumers_info("A"))

    pushed = await js.subscribe("a.>", durable="push", manual_ack=True)
    await step("pushed", message(pushed.next_msg(timeout=5)))
    ordered = await js.subscribe("a.>", ordered_consumer=True)
    for _ in range(3):
        await step("ordered", message(ordered.next_msg(timeout=5)))
    await step("delete a consumer", js.delete_consumer("A", "pull"))
    await step("delete it again", js.delete_consumer("A", "pull"))
    await step("delete a message", js.delete_msg("A", 1))
    await step("purge a subject", js.purge_stream("A", subject="a.2"))
    await step("purge", js.purge_stream("A"))
    await step("state", js.stream_info("A"), "state")

    await step("a work queue", js.add_stream(name="W", subjects=["w"], retention=api.RetentionPolicy.WORK_QUEUE))
    for number in range(3):
        await js.publish("w", str(number).encode())
    workers = await js.pull_subscribe("w", durable="w")
    for got in await workers.fetch(3):
        await got.ack_sync()
    await step("is empty", js.stream_info("W"), "state")

    kv = await js.create_key_value(bucket="KV", history=5, ttl=3600)
    await step("put", kv.put("k", b"1"))
    await step("put", kv.put("k", b"2"))
    await step("get", kv.get("k"), "key", "value", "revision")
    await step("get a revision", kv.get("k", revision=1), "key", "value", "revision")
    await step("get none", kv.get("none"))
    await step("create", kv.create("k", b"x"))
    await step("create", kv.create("n", b"x"))
    await step("update", kv.update("k", b"3", last=2))
    await step("update an old one", kv.update("k", b"4", last=2))
    await step("delete", kv.delete("n"))
    await step("get deleted", kv.get("n"))
    await step("keys", kv.keys())
    for entry in await kv.history("k"):
        print(json.dumps({"history": entry.revision, "value": entry.value.decode(), "operation": entry.operation}))
    watcher = await kv.watchall()
    await kv.put("w", b"seen")
    for _ in range(4):
        entry = await watcher.updates(timeout=5)
        print(json.dumps({"watched": entry and entry.key, "operation": entry and entry.operation}))
    await watcher.stop()
    await step("purge", kv.purge("k"))
    await step("keys", kv.keys())
    status = await kv.status()
    print(json.dumps({"bucket": status.bucket, "values": status.values, "history": status.history, "ttl": status.ttl}))
    await step("delete the bucket", js.delete_key_value("KV"))
    await step("a bucket that is gone", js.key_value("KV"))

    store = await js.create_object_store("O")
    await step("put", store.put("name", b"content", api.ObjectMeta(description="an object")), "name", "size", "chunks", "digest", "description")
    await step("put much", store.put("much", bytes(300_000)), "name", "size", "chunks", "digest")
    for name in ("name", "much", "none"):

        async def read(name=name):
            return (await store.get(name)).data

        await step(f"get {name}", read())
    await step("info", store.get_info("name"), "name", "size", "deleted")

    async def names():
        return sorted(entry.name for entry in await store.list())

    await step("list", names())
    await step("delete", store.delete("name"), "info")
    await step("get deleted", store.get("name"))
    await step("list", names())
    await step("delete the bucket", js.delete_object_store("O"))
    await step("delete the stream", js.delete_stream("A"))
    await step("delete it again", js.delete_stream("A"))
    await client.close()


asyncio.run(main())
