"""A NATS client in a hundred lines of the standard library: what the durability scripts speak with.

Requests are matched by a number at the end of their inbox. Nothing is retried and nothing is hidden: when the connection
ends, all that was received before its end has been handed out, and what waits for an answer gets `Gone`.
"""

import asyncio
import json


class Gone(Exception):
    """The connection has ended."""


class Message:
    __slots__ = ("subject", "reply", "status", "headers", "body")

    def __init__(self, subject, reply, block, body):
        self.subject, self.reply, self.body = subject, reply, body
        self.status, self.headers = 0, {}
        if block:
            lines = block.decode("utf-8", "replace").split("\r\n")
            rest = lines[0][8:].strip()
            self.status = int(rest[:3]) if rest[:3].isdigit() else 0
            for line in lines[1:]:
                name, colon, value = line.partition(":")
                if colon:
                    self.headers[name] = value.strip()

    def json(self):
        return json.loads(self.body)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self):
        self.buffer = bytearray()
        self.handlers = {}
        self.waiting = {}
        self.next_sid = 2
        self.next_request = 0
        self.pongs = []
        self.ended = asyncio.get_running_loop().create_future()
        self.transport = None

    @classmethod
    async def connect(cls, port):
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(cls, "127.0.0.1", port)
        options = {"verbose": False, "headers": True, "no_responders": True, "protocol": 1, "lang": "python", "version": "1"}
        client.inbox = f"_INBOX.{id(client):x}"
        client.write(f"CONNECT {json.dumps(options)}\r\nSUB {client.inbox}.* 1\r\n".encode())
        await client.flush()
        return client

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _error):
        if not self.ended.done():
            self.ended.set_result(None)
        for future in [*self.waiting.values(), *self.pongs]:
            if isinstance(future, asyncio.Future) and not future.done():
                future.set_exception(Gone())
                future.exception()  # Somebody may have stopped waiting.
        self.waiting.clear()

    def data_received(self, data):
        self.buffer += data
        at = 0
        buffer = self.buffer
        while True:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            words = bytes(buffer[at:end]).split(b" ")
            verb = words[0]
            if verb in (b"MSG", b"HMSG"):
                size = int(words[-1])
                start = end + 2
                if len(buffer) < start + size + 2:
                    break
                header = int(words[-2]) if verb == b"HMSG" else 0
                fixed = 5 if verb == b"HMSG" else 4
                reply = words[3].decode() if len(words) > fixed else ""
                block = bytes(buffer[start : start + header])
                body = bytes(buffer[start + header : start + size])
                at = start + size + 2
                self.deliver(words[1].decode(), int(words[2]), reply, block, body)
                continue
            at = end + 2
            if verb == b"PING":
                self.write(b"PONG\r\n")
            elif verb == b"PONG" and self.pongs:
                future = self.pongs.pop(0)
                if not future.done():
                    future.set_result(None)
        del buffer[:at]

    def deliver(self, subject, sid, reply, block, body):
        message = Message(subject, reply, block, body)
        if sid != 1:
            handler = self.handlers.get(sid)
            if handler:
                handler(message)
            return
        waiting = self.waiting.pop(subject.rpartition(".")[2], None)
        if waiting is None:
            return
        if isinstance(waiting, asyncio.Future):
            if not waiting.done():
                waiting.set_result(message)
        else:
            waiting(message)

    def write(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    async def flush(self):
        if self.ended.done():
            raise Gone()
        future = asyncio.get_running_loop().create_future()
        self.pongs.append(future)
        self.write(b"PING\r\n")
        await future

    def publish(self, subject, body, headers=None, reply=""):
        if headers:
            block = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
            block = block.encode()
            head = f"HPUB {subject} {reply} {len(block)} {len(block) + len(body)}\r\n".encode()
            self.write(head + block + body + b"\r\n")
        else:
            self.write(f"PUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")

    def ask(self, subject, body, then, headers=None):
        """A request whose answer goes to `then`."""
        self.next_request += 1
        token = str(self.next_request)
        self.waiting[token] = then
        self.publish(subject, body, headers, f"{self.inbox}.{token}")

    async def request(self, subject, body=b"", headers=None, timeout=10):
        if self.ended.done():
            raise Gone()
        future = asyncio.get_running_loop().create_future()
        self.ask(subject, body, future, headers)
        return await asyncio.wait_for(future, timeout)

    async def api(self, subject, body=None):
        """A request to JetStream's API; an error in the answer is raised."""
        body = b"" if body is None else json.dumps(body).encode()
        message = await self.request(f"$JS.API.{subject}", body, timeout=30)
        if message.status:
            raise RuntimeError(f"{subject}: status {message.status}")
        answer = message.json()
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer

    def subscribe(self, subject, handler):
        sid = self.next_sid
        self.next_sid += 1
        self.handlers[sid] = handler
        self.write(f"SUB {subject} {sid}\r\n".encode())
        return sid

    def unsubscribe(self, sid):
        self.handlers.pop(sid, None)
        self.write(f"UNSUB {sid}\r\n".encode())

    async def stored(self, stream, first=1, batch=2000):
        """All messages of a stream from a sequence on, as (sequence, subject, body), by direct gets."""
        found = []
        while True:
            queue = asyncio.Queue()
            inbox = f"_INBOX.{id(queue):x}.get"
            sid = self.subscribe(inbox, queue.put_nowait)
            self.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"batch": batch, "seq": first}).encode(), None, inbox)
            pending = 0
            while True:
                getter = asyncio.ensure_future(queue.get())
                await asyncio.wait({getter, self.ended}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                if not getter.done():
                    getter.cancel()
                    raise Gone() if self.ended.done() else RuntimeError(f"{stream}: a direct get is not answered to its end")
                message = getter.result()
                if message.status:
                    if message.status not in (204, 404):
                        raise RuntimeError(f"{stream}: direct get is answered with {message.status}")
                    pending = int(message.headers.get("Nats-Num-Pending", 0))
                    break
                sequence = int(message.headers["Nats-Sequence"])
                found.append((sequence, message.headers["Nats-Subject"], message.body))
                first = sequence + 1
            self.unsubscribe(sid)
            if pending == 0:
                return found

    def close(self):
        self.transport.abort()
