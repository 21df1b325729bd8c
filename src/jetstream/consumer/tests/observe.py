#!/usr/bin/env python3
"""Plays the scripts in `observed/` to a real nats-server and writes down what it sends.

    observe.py [script ...]

Needs `nats-server` on PATH. Each script is rewritten with what arrived after each step, as lines
that begin with `>`. Lines that begin with `!` are kept: what Skein does instead, and after `!!` why.
What is random (ids, times, pins, flow control subjects) is made the same.
"""
import json, os, re, select, shutil, socket, subprocess, sys, tempfile, time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "observed")
# Seconds without anything new after which a step is over.
QUIET, QUIET_AFTER_PASS = 0.12, 0.03
INBOXES = ["P", "Q", "T", "D", "E", "R"]


class Client:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.buffer = b""
        self.messages = []
        self.answers = {}
        self.sids = {}
        self.next_sid = 1
        self.line()
        self.send('CONNECT {"verbose":false,"headers":true,"no_responders":false}\r\n')
        for subject in INBOXES + ["_I.*"]:
            self.listen(subject)

    def send(self, text):
        self.sock.sendall(text.encode())

    def listen(self, subject):
        self.sids[subject] = self.next_sid
        self.send(f"SUB {subject} {self.next_sid}\r\n")
        self.next_sid += 1

    def deaf(self, subject):
        self.send(f"UNSUB {self.sids.pop(subject)}\r\n")

    def fill(self, seconds):
        ready, _, _ = select.select([self.sock], [], [], seconds)
        if not ready:
            return False
        self.buffer += self.sock.recv(1 << 20)
        return True

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill(5)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    def exactly(self, size):
        while len(self.buffer) < size + 2:
            self.fill(5)
        data, self.buffer = self.buffer[:size], self.buffer[size + 2:]
        return data.decode()

    def read(self):
        """One protocol line and what belongs to it."""
        words = self.line().split(" ")
        if words[0] == "PING":
            self.send("PONG\r\n")
        elif words[0] in ("MSG", "HMSG"):
            sizes = 2 if words[0] == "HMSG" else 1
            subject, sid, rest = words[1], int(words[2]), words[3:]
            reply = rest[0] if len(rest) > sizes else ""
            total = int(rest[-1])
            data = self.exactly(total)
            head = int(rest[-2]) if sizes == 2 else 0
            inbox = [name for name, s in self.sids.items() if s == sid]
            message = (inbox[0] if inbox else "?", subject, reply, data[:head], data[head:])
            if message[0] == "_I.*":
                self.answers[subject] = message
            else:
                self.messages.append(message)

    def settle(self, quiet):
        """Reads until nothing has come for a while."""
        while True:
            if b"\r\n" in self.buffer:
                self.read()
            elif not self.fill(quiet):
                return

    def request(self, subject, payload=""):
        inbox = f"_I.{self.next_sid}"
        self.next_sid += 1
        self.send(f"PUB {subject} {inbox} {len(payload)}\r\n{payload}\r\n")
        end = time.time() + 5
        while inbox not in self.answers and time.time() < end:
            if b"\r\n" in self.buffer or self.fill(0.05):
                if b"\r\n" in self.buffer:
                    self.read()
        return json.loads(self.answers.pop(inbox)[4])


class Play:
    def __init__(self, client):
        self.client = client
        self.subjects = {}
        self.pin = ""
        self.flow = ""
        self.config = {}

    def show(self, message):
        inbox, subject, reply, head, payload = message
        if inbox == "E":
            event = json.loads(payload)
            for key in ("id", "timestamp", "ack_time", "pause_until", "pinned_id"):
                if key in event:
                    event[key] = "*"
            return f"E: {json.dumps(event, separators=(',', ':'))}"
        pins = re.findall(r"Nats-Pin-Id: (\S+)", head)
        if pins:
            self.pin = pins[0]
        head = re.sub(r"Nats-Pin-Id: \S+", "Nats-Pin-Id: *", head)
        head = re.sub(r"(\$JS.FC.S.C).\S+", r"\1.*", head)
        lines = [line for line in head.replace("NATS/1.0", "", 1).strip().split("\r\n") if line]
        head = " | ".join(line.strip() for line in lines)
        if reply.startswith("$JS.FC."):
            self.flow = reply
        if reply.startswith("$JS.ACK."):
            _, _, _, _, deliveries, seq, cseq, _, pending = reply.split(".")
            self.subjects[seq] = reply
            again = f" x{deliveries}" if deliveries != "1" else ""
            head = f" [{head}]" if head else ""
            return f"{inbox}: {seq}{again} c{cseq} p{pending}{head} {payload}".rstrip()
        return f"{inbox}: {head}{payload}"

    def step(self, line):
        client = self.client
        word, _, rest = line.partition(" ")
        shown = []
        if word == "stream":
            config = {"name": "S", "subjects": ["a.>"], "storage": "file", **json.loads(rest or "{}")}
            answer = client.request("$JS.API.STREAM.CREATE.S", json.dumps(config))
            assert "error" not in answer, answer
        elif word in ("consumer", "update"):
            self.config.update(json.loads(rest))
            config = {"stream_name": "S", "config": self.config}
            if self.config.get("durable_name"):
                api = "$JS.API.CONSUMER.DURABLE.CREATE.S.C"
            else:
                api = "$JS.API.CONSUMER.CREATE.S.C"
            answer = client.request(api, json.dumps(config))
            assert "error" not in answer, answer
        elif word == "put":
            subject, _, payload = rest.partition(" ")
            answer = client.request(subject, payload)
            assert "error" not in answer, answer
        elif word == "pull":
            inbox, _, payload = rest.partition(" ")
            payload = payload.replace("$PIN", self.pin)
            client.send(f"PUB $JS.API.CONSUMER.MSG.NEXT.S.C {inbox} {len(payload)}\r\n{payload}\r\n")
        elif word == "ack":
            seq, _, payload = rest.partition(" ")
            client.send(f"PUB {self.subjects[seq]} R {len(payload)}\r\n{payload}\r\n")
        elif word == "flow":
            client.send(f"PUB {self.flow} 0\r\n\r\n")
        elif word == "listen":
            client.listen(rest)
        elif word == "events":
            client.deaf("E")
            client.sids["E"] = client.next_sid
            client.send(f"SUB $JS.EVENT.*.CONSUMER.> {client.next_sid}\r\n")
            client.next_sid += 1
        elif word == "deaf":
            client.deaf(rest)
        elif word == "pass":
            client.settle(0.001)
            end = time.time() + int(rest) / 1000
            while time.time() < end:
                if client.fill(max(0, end - time.time())):
                    while b"\r\n" in client.buffer:
                        client.read()
        elif word == "remove":
            client.request("$JS.API.STREAM.MSG.DELETE.S", json.dumps({"seq": int(rest)}))
        elif word == "purge":
            client.request("$JS.API.STREAM.PURGE.S", rest or "{}")
        elif word == "unpin":
            client.request("$JS.API.CONSUMER.UNPIN.S.C", json.dumps({"group": rest}))
        elif word == "pause":
            until = time.time() + int(rest) / 1000
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until)) + f".{int(until % 1 * 1e6):06}Z"
            client.request("$JS.API.CONSUMER.PAUSE.S.C", json.dumps({"pause_until": text}))
        elif word == "reset":
            answer = client.request("$JS.API.CONSUMER.RESET.S.C", json.dumps({"seq": int(rest)}))
            shown.append("refused" if "error" in answer else f"reset {answer['reset_seq']}")
        elif word == "delete":
            client.request("$JS.API.CONSUMER.DELETE.S.C")
        elif word == "info":
            answer = client.request("$JS.API.CONSUMER.INFO.S.C")
            if "error" in answer:
                shown.append("gone")
            else:
                two = lambda pair: f"{pair['consumer_seq']}/{pair['stream_seq']}"
                shown.append(
                    f"delivered {two(answer['delivered'])} floor {two(answer['ack_floor'])}"
                    f" ack_pending {answer['num_ack_pending']} redelivered {answer['num_redelivered']}"
                    f" waiting {answer['num_waiting']} pending {answer['num_pending']}"
                    f"{' bound' if answer.get('push_bound') else ''}"
                    f"{' paused' if answer.get('paused') else ''}"
                    f"{' pinned' if (answer.get('priority_groups') or [{}])[0].get('pinned_client_id') else ''}"
                )
        elif word == "stream_info":
            state = client.request("$JS.API.STREAM.INFO.S")["state"]
            shown.append(f"messages {state['messages']} first {state['first_seq']}")
        else:
            raise SystemExit(f"what is {line!r}?")
        client.settle(QUIET_AFTER_PASS if word == "pass" else QUIET)
        messages, client.messages = client.messages, []
        # Whether an answer to one comes before a message to another depends on the weather.
        return shown + [self.show(m) for m in sorted(messages, key=lambda m: m[0])]


def play(path):
    directory = tempfile.mkdtemp()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(["nats-server", "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", directory],
                              stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                client = Client(port)
                break
            except OSError:
                time.sleep(0.05)
        out, played = [], Play(client)
        for line in open(path).read().splitlines():
            if line.startswith(">"):
                continue
            out.append(line)
            if line.startswith("!"):
                continue
            if line.startswith("== "):
                if played.config or len(out) > 1:
                    client.request("$JS.API.STREAM.DELETE.S")
                    client.settle(QUIET)
                    client.sock.close()
                    client = Client(port)
                played = Play(client)
            elif line and not line.startswith("#"):
                out += [f"> {shown}" for shown in played.step(line)]
        with open(path, "w") as file:
            file.write("\n".join(out) + "\n")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    for path in sys.argv[1:] or sorted(os.path.join(HERE, n) for n in os.listdir(HERE)):
        play(path)
