"""The server under test as a child process on a directory."""

import asyncio
import os
import re
import signal
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def default_binary():
    """`NATS_SERVER_BIN`, else what was built here."""
    named = os.environ.get("NATS_SERVER_BIN")
    built = [os.path.join(TOP, "target", kind, "skein") for kind in ("release", "debug")]
    return named or next((path for path in built if os.path.exists(path)), built[0])


class Server:
    """A running server."""

    def __init__(self, binary, store, settings="", flags=()):
        self.folder = tempfile.mkdtemp(prefix="durability-")
        config = os.path.join(self.folder, "server.conf")
        with open(config, "w") as file:
            file.write(f'server_name: durability\njetstream {{\n  store_dir: "{store}"\n  {settings}\n}}\n')
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [binary, "-a", "127.0.0.1", "-p", "-1", "-c", config, *flags], stdout=log, stderr=log
            )
        self.port = 0

    async def ready(self, patience=60):
        for _ in range(int(patience / 0.01)):
            text = self.log_text()
            listening = re.search(r"Listening for client connections on .*:(\d+)", text)
            if listening and "Server is ready" in text:
                self.port = int(listening.group(1))
                return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{text}")
            await asyncio.sleep(0.01)
        raise RuntimeError(f"the server is not ready after {patience} s:\n{self.log_text()}")

    def log_text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def clean(self):
        """Ends it if it runs, and removes its log."""
        if self.process.poll() is None:
            self.kill()
        for name in os.listdir(self.folder):
            os.remove(os.path.join(self.folder, name))
        os.rmdir(self.folder)
