// As much of a NATS client as makes a scene: connections, subscriptions, messages, streams.

import net from 'node:net';

export class Client {
  /** Answers when the server has answered CONNECT with a PONG. */
  static async connect(port, name, user = '') {
    const client = new Client();
    client.socket = net.connect({ port, host: '127.0.0.1' });
    client.socket.setNoDelay(true);
    client.socket.on('error', () => {});
    let seen = '';
    await new Promise((resolve, reject) => {
      client.socket.once('close', () => reject(new Error('closed before it was let in')));
      const onData = (data) => {
        seen += data.toString('latin1');
        if (!client.said && seen.includes('\r\n')) {
          client.said = true;
          client.socket.write(`CONNECT ${JSON.stringify({ name, ...(user && { user, pass: user }), lang: 'test', version: '1', verbose: false, headers: true, no_responders: false })}\r\nPING\r\n`);
        }
        if (seen.includes('PONG\r\n')) {
          client.socket.off('data', onData);
          resolve();
        }
      };
      client.socket.on('data', onData);
    });
    client.socket.on('data', (data) => {
      // What comes is only counted, but a PING has to be answered.
      if (data.includes('PING\r\n')) client.socket.write('PONG\r\n');
    });
    return client;
  }

  subscribe(subject, queue = '', sid = 1) {
    this.socket.write(`SUB ${subject} ${queue} ${sid}\r\n`);
  }

  publish(subject, payload, reply = '') {
    return this.socket.write(`PUB ${subject} ${reply} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`);
  }

  /** Asks, and answers with the first JSON that comes back. */
  async request(subject, value) {
    const inbox = `_INBOX.${Math.random().toString(36).slice(2)}`;
    return new Promise((resolve, reject) => {
      let seen = '';
      const late = setTimeout(() => reject(new Error(`no answer to ${subject}`)), 10_000);
      const onData = (data) => {
        seen += data.toString('latin1');
        const found = new RegExp(`MSG ${inbox} 99 (\\d+)\\r\\n`).exec(seen);
        if (!found || seen.length < found.index + found[0].length + Number(found[1])) return;
        clearTimeout(late);
        this.socket.off('data', onData);
        const begin = found.index + found[0].length;
        resolve(JSON.parse(seen.slice(begin, begin + Number(found[1]))));
      };
      this.socket.on('data', onData);
      this.socket.write(`SUB ${inbox} 99\r\nUNSUB 99 1\r\n`);
      this.publish(subject, JSON.stringify(value), inbox);
    });
  }

  /** Calls `onMessage(subject, sid, reply)` for each message that comes from now on. */
  listen(onMessage) {
    let held = Buffer.alloc(0);
    this.socket.on('data', (data) => {
      held = held.length ? Buffer.concat([held, data]) : data;
      for (;;) {
        const end = held.indexOf('\r\n');
        if (end < 0) return;
        const words = held.toString('latin1', 0, end).split(' ');
        const isMessage = words[0] === 'MSG' || words[0] === 'HMSG';
        const whole = isMessage ? end + 2 + Number(words.at(-1)) + 2 : end + 2;
        if (held.length < whole) return;
        // A reply stands between the number and the size, or the sizes of headers and all.
        if (isMessage) onMessage(words[1], Number(words[2]), words.length > (words[0] === 'MSG' ? 4 : 5) ? words[3] : '');
        held = held.subarray(whole);
      }
    });
  }

  close() {
    this.socket.destroy();
  }
}

/** Pulls from a consumer, and acknowledges, until the client is closed. */
export function pullSteadily(client, stream, consumer, batch) {
  const inbox = `_INBOX.pull.${Math.random().toString(36).slice(2)}`;
  const ask = () => client.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify({ batch, expires: 5_000_000_000 }), inbox);
  let left = batch;
  client.listen((_subject, sid, reply) => {
    if (sid !== 7) return;
    if (reply) {
      client.publish(reply, '+ACK');
      left -= 1;
    }
    // A message that asks for nothing says that the request has ended.
    if (!reply || left === 0) {
      left = batch;
      ask();
    }
  });
  client.subscribe(inbox, '', 7);
  ask();
}

/** Opens many quiet connections with a subscription each, a few at a time. */
export async function openMany(port, total, atOnce = 100) {
  const clients = [];
  let next = 0;
  const opener = async () => {
    while (next < total) {
      const number = next;
      next += 1;
      const client = await Client.connect(port, `quiet ${number}`);
      client.subscribe(`quiet.${number}`);
      clients.push(client);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, opener));
  return clients;
}

/** Publishes about `rate` messages a second, or as many as `rate(seconds)` says, until it is stopped. */
export function publishSteadily(client, subjects, rate, size) {
  const payload = 'x'.repeat(size);
  const rateAt = typeof rate === 'function' ? rate : () => rate;
  const began = performance.now();
  let sent = 0;
  let due = 0;
  let before = began;
  const timer = setInterval(() => {
    const now = performance.now();
    const current = rateAt((now - began) / 1000);
    due += ((now - before) / 1000) * current;
    before = now;
    // A publisher that was held up does not catch up with a burst.
    sent = Math.max(sent, due - current / 2);
    client.socket.cork();
    while (sent < due) {
      client.publish(subjects[Math.floor(sent) % subjects.length], payload);
      sent += 1;
    }
    client.socket.uncork();
  }, 20);
  return () => clearInterval(timer);
}
