"""Load whose every promise is written down, and the check that the promises were kept.

Three streams, one of each retention. One publisher each: message `n` has body `n` and message id `n`; what was not
acknowledged when the connection ended is published again, so that numbers rise in a stream whatever happens. One consumer
on the first two, two on the third; every acknowledgement is a request, and counts as kept from its answer on.
"""

import asyncio
import json

from wire import Client, Gone

STREAMS = {
    "limits": {"consumers": ["one"]},
    "workqueue": {"consumers": ["one"]},
    "interest": {"consumers": ["one", "two"]},
}
# Messages in flight of a publisher.
WINDOW = 64
# Messages that a consumer asks for at once.
BATCH = 50
# Messages of a publisher in a second, at most; so that the checks keep up.
RATE = 2500


class Ledger:
    """What was sent to one stream, and what was promised."""

    def __init__(self, name):
        self.name = name
        # Number of the next message that was never sent.
        self.next = 1
        # By number: the sequence that was acknowledged.
        self.stored = {}
        # Numbers that were sent and not acknowledged, in order.
        self.unsure = []
        # By consumer: sequences whose acknowledgement was confirmed, and those for which it was sent.
        self.acked = {consumer: set() for consumer in STREAMS[name]["consumers"]}
        self.ack_sent = {consumer: set() for consumer in STREAMS[name]["consumers"]}
        # By number: sequences at which consumers were given it.
        self.seen = {}
        # Redeliveries although the acknowledgement was confirmed, as lines.
        self.again = []
        # Other broken promises that are seen while it runs.
        self.faults = []

    def copy(self):
        """What is promised now; broken promises seen so far go with it."""
        other = Ledger(self.name)
        other.next, other.stored, other.unsure = self.next, dict(self.stored), list(self.unsure)
        other.acked = {consumer: set(sequences) for consumer, sequences in self.acked.items()}
        other.ack_sent = {consumer: set(sequences) for consumer, sequences in self.ack_sent.items()}
        other.seen = dict(self.seen)
        other.again, other.faults, self.again, self.faults = self.again, self.faults, [], []
        return other

    def was_done(self, number, sequence):
        """Whether a message was given out at a lower sequence, and all consumers have acknowledged it.

        It is removed then, and with it the server's memory of its id, once it is started anew: nats-server
        does the same. If the publisher was not told that it is stored (an answer and a delivery go different
        ways, and a kill may come between), it sends it again, and it is stored a second time.
        """
        return any(
            earlier < sequence and all(earlier in sent for sent in self.ack_sent.values())
            for earlier in self.seen.get(number, ())
        )


class Load:
    def __init__(self):
        self.ledgers = {name: Ledger(name) for name in STREAMS}
        self.refused = 0
        self.retry = []

    async def create(self, port):
        client = await Client.connect(port)
        for name, facts in STREAMS.items():
            config = {
                "name": name,
                "subjects": [f"{name}.>"],
                "retention": name,
                "allow_direct": True,
                "duplicate_window": 600_000_000_000,
            }
            await client.api(f"STREAM.CREATE.{name}", config)
            for consumer in facts["consumers"]:
                config = {"durable_name": consumer, "ack_policy": "explicit", "ack_wait": 2_000_000_000, "max_ack_pending": 500}
                await client.api(f"CONSUMER.CREATE.{name}.{consumer}", {"stream_name": name, "config": config})
        client.close()

    async def run(self, port, until):
        """Publishes and consumes until the event is set or the connections end."""
        clients, tasks = [], []
        try:
            for name, facts in STREAMS.items():
                client = await Client.connect(port)
                clients.append(client)
                tasks.append(asyncio.ensure_future(self.publish(client, self.ledgers[name], until)))
                for consumer in facts["consumers"]:
                    client = await Client.connect(port)
                    clients.append(client)
                    tasks.append(asyncio.ensure_future(self.consume(client, self.ledgers[name], consumer, until)))
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, (Gone, ConnectionError)):
                    raise result
        except (Gone, ConnectionError):
            await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            # Answers that were under way when the server died are read to the end: they were promises.
            if not until.is_set() or client.ended.done():
                try:
                    await asyncio.wait_for(asyncio.shield(client.ended), 5)
                except asyncio.TimeoutError:
                    pass
            client.close()
        await asyncio.sleep(0)

    async def publish(self, client, ledger, until):
        again = list(ledger.unsure)
        flying = 0
        room = asyncio.Event()
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0

        def send(number):
            nonlocal flying
            flying += 1

            def answered(message):
                nonlocal flying
                flying -= 1
                room.set()
                if message.status:
                    self.refused += 1
                    return
                answer = message.json()
                if "error" in answer:
                    self.refused += 1
                    return
                sequence = answer["seq"]
                before = ledger.stored.get(number)
                if before is not None and before != sequence:
                    ledger.faults.append(f"{ledger.name}: number {number} is at {before} and at {sequence}")
                ledger.stored[number] = sequence
                if number in pending:
                    pending.discard(number)

            client.ask(f"{ledger.name}.{number % 100}", str(number).encode(), answered, {"Nats-Msg-Id": number})

        pending = set(again)
        try:
            while not until.is_set() and not client.ended.done():
                if again:
                    number = again.pop(0)
                else:
                    number = ledger.next
                    ledger.next += 1
                    pending.add(number)
                send(number)
                sent += 1
                while flying >= WINDOW and not client.ended.done() and not until.is_set():
                    room.clear()
                    waiter = asyncio.ensure_future(room.wait())
                    await asyncio.wait({waiter, client.ended}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                    waiter.cancel()
                ahead = sent / RATE - (loop.time() - began)
                if ahead > 0.005:
                    await asyncio.sleep(ahead)
            if not client.ended.done():
                for _ in range(500):
                    if flying == 0 or client.ended.done():
                        break
                    await asyncio.sleep(0.01)
            if client.ended.done():
                await asyncio.sleep(0)
        finally:
            ledger.unsure = sorted(pending)

    async def consume(self, client, ledger, consumer, until):
        acked, ack_sent = ledger.acked[consumer], ledger.ack_sent[consumer]
        queue = asyncio.Queue()
        inbox = f"_INBOX.{id(queue):x}.{consumer}"

        def arrived(message):
            # Looked at as it comes. A message may wait in this queue for longer than `ack_wait`, and is then
            # sent once more before its acknowledgement is; when the second one is taken out, the
            # acknowledgement of the first may be confirmed, and nothing is wrong with that. What the server
            # sends after the confirmation comes after it on this connection, and is.
            if not message.status:
                sequence = int(message.reply.split(".")[-4])
                if sequence in acked:
                    ledger.again.append(f"{ledger.name}/{consumer}: sequence {sequence} comes again, its acknowledgement was confirmed")
                number = int(message.body)
                ledger.seen[number] = ledger.seen.get(number, frozenset()) | {sequence}
            queue.put_nowait(message)

        client.subscribe(inbox, arrived)
        request = json.dumps({"batch": BATCH, "expires": 1_000_000_000}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{ledger.name}.{consumer}"
        open_requests = 0
        while not until.is_set() and not client.ended.done():
            if open_requests <= 0:
                client.publish(subject, request, None, inbox)
                open_requests = BATCH
            getter = asyncio.ensure_future(queue.get())
            await asyncio.wait({getter, client.ended}, timeout=1.5, return_when=asyncio.FIRST_COMPLETED)
            if not getter.done():
                getter.cancel()
                open_requests = 0
                continue
            message = getter.result()
            if message.status:
                if message.status != 100:
                    open_requests = 0
                continue
            open_requests -= 1
            sequence = int(message.reply.split(".")[-4])
            ack_sent.add(sequence)
            client.ask(message.reply, b"+ACK", lambda answer, sequence=sequence: None if answer.status else acked.add(sequence))

    def promises(self):
        """A copy of what is promised now."""
        return {name: ledger.copy() for name, ledger in self.ledgers.items()}


async def verify(port, before, after=None, recent=None, with_acks=True):
    """Holds the server at `port` against the promises made before; `after` is what was sent meanwhile, too.

    Returns what is broken, as lines. Without acknowledgements only messages are looked at. With `recent`, of the limits stream only that many messages are read; the others are
    counted.
    """
    after = after or before
    client = await Client.connect(port)
    faults = []
    for name, ledger in before.items():
        sent = after[name]
        for noted in (ledger, sent):
            faults += noted.faults
            if with_acks:
                faults += noted.again
            noted.faults, noted.again = [], []
        state = (await client.api(f"STREAM.INFO.{name}"))["state"]
        first = 1
        if name == "limits" and recent:
            first = max(1, state["last_seq"] - recent)
        messages = await client.stored(name, first)
        by_number, last_number, last_sequence = {}, 0, 0
        for sequence, _, body in messages:
            number = int(body)
            if number in by_number:
                faults.append(f"{name}: number {number} is there twice, at {by_number[number]} and {sequence}")
            elif number < last_number and (name == "limits" or not sent.was_done(number, sequence)):
                faults.append(f"{name}: number {number} at {sequence} comes after {last_number}")
            if sequence <= last_sequence:
                faults.append(f"{name}: sequence {sequence} comes after {last_sequence}")
            if number >= sent.next:
                faults.append(f"{name}: number {number} at {sequence} was never sent")
            by_number[number] = sequence
            last_number, last_sequence = max(number, last_number), sequence
        highest = max(ledger.stored.values(), default=0)
        if state["last_seq"] < highest:
            faults.append(f"{name}: the last sequence is {state['last_seq']}, {highest} was acknowledged")
        if name == "limits" and state["messages"] != state["last_seq"]:
            faults.append(f"{name}: {state['messages']} messages up to {state['last_seq']}")
        lost = []
        consumers = ledger.acked
        for number, sequence in ledger.stored.items():
            there = by_number.get(number)
            if there is not None and there != sequence:
                faults.append(f"{name}: number {number} was acknowledged at {sequence} and is at {there}")
            if name == "limits":
                gone = sequence >= first and there is None
            else:
                # It may go when all have acknowledged it, and must be gone when all were told that they have.
                may_go = all(sequence in sent.ack_sent[consumer] for consumer in consumers)
                must_go = all(sequence in consumers[consumer] for consumer in consumers)
                if with_acks and must_go and there is not None:
                    faults.append(f"{name}: {sequence} is there although its acknowledgements were confirmed")
                gone = there is None and not may_go
            if gone:
                lost.append(sequence)
        if lost:
            lost.sort()
            faults.append(f"{name}: {len(lost)} acknowledged messages are lost, {lost[0]} to {lost[-1]} among them")
        for consumer in consumers if with_acks else ():
            info = await client.api(f"CONSUMER.INFO.{name}.{consumer}")
            floor = info["ack_floor"]["stream_seq"]
            too_high = [s for s in ledger.stored.values() if s <= floor and s not in sent.ack_sent[consumer]]
            if too_high:
                faults.append(f"{name}/{consumer}: the floor {floor} is above {too_high[0]}, which was never acknowledged")
            confirmed = consumers[consumer]
            lowest_open = min((s for s in ledger.stored.values() if s not in confirmed), default=None)
            unknown = info["num_pending"] + info["num_ack_pending"]
            open_count = state["last_seq"] - len([s for s in confirmed if s <= state["last_seq"]])
            if unknown > open_count:
                faults.append(
                    f"{name}/{consumer}: {unknown} are open, of {open_count} at most"
                    f" (floor {floor}, lowest open {lowest_open}): confirmed acknowledgements are lost"
                )
    client.close()
    return faults
