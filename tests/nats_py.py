"""One client of nats-py: connects as told in JSON (first argument), asks and answers, and says how that went.

Prints `in` when a message has come back, `refused` when the server did not let it in, `missing` without nats-py.
"""

import asyncio
import json
import ssl
import sys

try:
    import nats
    import nkeys  # noqa: F401  what nats-py signs with
except ImportError as error:
    print("missing", error)
    sys.exit(0)


async def main(how):
    options = {key: value for key, value in how.items() if key not in ("url", "ca", "cert", "key")}
    if "ca" in how:
        options["tls"] = ssl.create_default_context(cafile=how["ca"])
        if "cert" in how:
            options["tls"].load_cert_chain(how["cert"], how["key"])
    errors = []

    async def noted(error):
        errors.append(error)

    try:
        client = await nats.connect(how["url"], allow_reconnect=False, error_cb=noted, **options)
    except Exception as error:
        print("refused", type(error).__name__, error, errors)
        return

    async def answer(message):
        await message.respond(message.data + b"!")

    await client.subscribe("py.echo", cb=answer)
    response = await client.request("py.echo", b"hello", timeout=5)
    print("in" if response.data == b"hello!" else response.data)
    await client.close()


asyncio.run(main(json.loads(sys.argv[1])))
