"""What nats-server has to hold for tests/import.rs: makes streams and consumers, and says what it then shows.

Arguments: the server's URL, and what to do. Prints JSON by which the import is judged, or `missing` without nats-py.
"""

import asyncio
import base64
import json
import sys

try:
    import nats
    from nats.js.api import (
        AckPolicy,
        ConsumerConfig,
        RetentionPolicy,
        StorageType,
        StreamConfig,
    )
except ImportError as error:
    print("missing", error)
    sys.exit(0)


async def api(client, subject, request=None):
    body = json.dumps(request).encode() if request is not None else b""
    answer = json.loads((await client.request("$JS.API." + subject, body, timeout=10)).data)
    if "error" in answer:
        raise RuntimeError(f"{subject}: {answer['error']}")
    return answer


async def create(client, name, **config):
    config = {"name": name, "storage": "file", "num_replicas": 1, "retention": "limits", **config}
    return await api(client, f"STREAM.CREATE.{name}", config)


async def consume(client, stream, name, **config):
    config = {"durable_name": name, "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 3_600_000_000_000,
              **config}
    await api(client, f"CONSUMER.DURABLE.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})


async def publish(client, subject, payload, headers=None):
    answer = json.loads((await client.request(subject, payload, headers=headers, timeout=10)).data)
    if "error" in answer:
        raise RuntimeError(f"{subject}: {answer['error']}")
    return answer["seq"]


async def pull(client, stream, consumer, batch):
    inbox = client.new_inbox()
    messages = asyncio.Queue()
    subscription = await client.subscribe(inbox, cb=messages.put)
    request = json.dumps({"batch": batch, "expires": 5_000_000_000}).encode()
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply=inbox)
    got = []
    while len(got) < batch:
        message = await asyncio.wait_for(messages.get(), 10)
        if message.headers and "Status" in message.headers:
            break
        got.append(message)
    await subscription.unsubscribe()
    return got


async def respond(client, message, what):
    await client.request(message.reply, what, timeout=5)


async def fill(client):
    # Plain: headers, empty payloads, deletes with and without erasing, a purge of a subject.
    await create(client, "plain", subjects=["plain.>"], description="für Umzüge", metadata={"a": "b"},
                 allow_direct=True, compression="none")
    for i in range(500):
        headers = {"Nats-Msg-Id": f"m{i}", "X": "y" * (i % 40)} if i % 3 == 0 else None
        await publish(client, f"plain.{i % 7}", b"x" * (i * 5 % 900), headers)
    for seq in (3, 10, 11, 12, 77, 500):
        await api(client, "STREAM.MSG.DELETE.plain", {"seq": seq, "no_erase": True})
    for seq in (5, 100, 101):
        await api(client, "STREAM.MSG.DELETE.plain", {"seq": seq})
    await api(client, "STREAM.PURGE.plain", {"filter": "plain.4"})
    await consume(client, "plain", "half", filter_subject="plain.>")
    got = await pull(client, "plain", "half", 60)
    for i, message in enumerate(got):
        if i % 2 == 0:
            await respond(client, message, b"+ACK")
    await consume(client, "plain", "again", max_deliver=10)
    for _ in range(3):
        for i, message in enumerate(await pull(client, "plain", "again", 5)):
            await respond(client, message, b"-NAK" if i % 2 else b"+ACK")
    await consume(client, "plain", "fresh", deliver_policy="new")

    # Limits that have removed messages: no tombstones tell of those.
    await create(client, "limited", subjects=["limited.>"], max_msgs=300, max_msgs_per_subject=20, max_bytes=100_000)
    for i in range(2000):
        await publish(client, f"limited.{i % 20}", b"l" * (i % 300))

    # Several blocks, compressed, with something behind that is not.
    await create(client, "packed", subjects=["packed.>"], compression="s2", max_bytes=100_000_000)
    for i in range(300):
        text = (f"message {i} " * 4000).encode() + bytes((i * k * k) & 0xff for k in range(2000))
        await publish(client, f"packed.{i % 5}", b"\0" * 200_000 if i % 50 == 0 else text)
    for seq in range(20, 60, 3):
        await api(client, "STREAM.MSG.DELETE.packed", {"seq": seq})

    # Interest and work queue.
    await create(client, "interest", subjects=["interest.>"], retention="interest")
    await consume(client, "interest", "one")
    await consume(client, "interest", "two", filter_subject="interest.2")
    for i in range(60):
        await publish(client, f"interest.{i % 3}", f"i{i}".encode())
    for message in await pull(client, "interest", "one", 30):
        await respond(client, message, b"+ACK")
    for message in await pull(client, "interest", "two", 4):
        await respond(client, message, b"+ACK")
    await create(client, "queue", subjects=["queue.>"], retention="workqueue", discard="new", max_msgs=1000)
    await consume(client, "queue", "worker", max_ack_pending=100)
    for i in range(100):
        await publish(client, f"queue.{i}", f"q{i}".encode())
    for i, message in enumerate(await pull(client, "queue", "worker", 50)):
        if i % 3:
            await respond(client, message, b"+ACK")

    # A bucket.
    store = await client.jetstream().create_key_value(bucket="bucket", history=3)
    for i in range(50):
        await store.put(f"key.{i % 10}", f"value {i}".encode())
    await store.delete("key.3")
    await store.purge("key.4")

    # Emptied, begun late, and never used.
    await create(client, "emptied", subjects=["emptied"])
    for i in range(20):
        await publish(client, "emptied", b"gone")
    await api(client, "STREAM.PURGE.emptied")
    await create(client, "late", subjects=["late"], first_seq=1000)
    await publish(client, "late", b"first")
    await create(client, "unused", subjects=["unused"])
    # In memory: nothing of it is on the disk.
    await create(client, "fleeting", subjects=["fleeting"], storage="memory")
    await publish(client, "fleeting", b"gone after a restart")


async def show(client):
    """All that can be asked of every stream on disk."""
    shown = {}
    for name in (await api(client, "STREAM.NAMES"))["streams"] or []:
        info = await api(client, f"STREAM.INFO.{name}", {"deleted_details": True})
        if info["config"]["storage"] != "file":
            continue
        state = info["state"]
        messages = []
        for seq in range(max(state["first_seq"], 1), state["last_seq"] + 1):
            if seq in (state.get("deleted") or []):
                continue
            message = (await api(client, f"STREAM.MSG.GET.{name}", {"seq": seq}))["message"]
            messages.append([message["seq"], message["time"], message["subject"], message.get("hdrs", ""),
                             message.get("data", "")])
        consumers = {}
        for consumer in (await api(client, f"CONSUMER.NAMES.{name}"))["consumers"] or []:
            told = await api(client, f"CONSUMER.INFO.{name}.{consumer}")
            consumers[consumer] = {key: told[key] for key in
                                   ("created", "config", "delivered", "ack_floor", "num_ack_pending",
                                    "num_redelivered", "num_pending")}
        shown[name] = {"created": info["created"], "config": info["config"], "state": state, "messages": messages,
                       "consumers": consumers}
    return shown


async def main(url, what):
    client = await nats.connect(url, allow_reconnect=False)
    if what == "fill":
        await fill(client)
    json.dump(await show(client), sys.stdout)
    await client.close()


asyncio.run(main(*sys.argv[1:]))
