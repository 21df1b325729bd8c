// The server under test, and, for one that does not serve the page, a server of the test's own in front of it.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { poll } from './poll.mjs';

const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };
const POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** A server process that keeps its ports when it is started again. */
export class Server {
  port = -1;
  monitorPort = -1;

  constructor(command, folder) {
    this.command = command;
    this.folder = folder;
  }

  async start() {
    const config = path.join(this.folder, 'server.conf');
    fs.writeFileSync(config, `
      host: 127.0.0.1
      port: ${this.port}
      http: "127.0.0.1:${this.monitorPort}"
      server_name: "broker-1"
      max_connections: 100000
      jetstream { store_dir: "${this.folder}/store", max_file_store: 4GB, max_memory_store: 256MB }
      accounts {
        SHOP { jetstream: enabled, users: [{ user: shop, password: shop }] }
        SENSORS { jetstream: enabled, users: [{ user: sensors, password: sensors }] }
        PAYMENTS { users: [{ user: payments, password: payments }] }
      }
      no_auth_user: shop
    `);
    this.log = '';
    const [program, ...first] = this.command.split(' ');
    this.process = spawn(program, [...first, '-c', config], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (text) => (this.log += text));
    await poll('the server says that it is ready', () => /Server is ready/.test(this.log), 60_000, () => this.log);
    this.port = Number(/Listening for client connections on .*:(\d+)/.exec(this.log)[1]);
    this.monitorPort = Number(/Starting http monitor on .*:(\d+)/.exec(this.log)[1]);
  }

  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    await this.ended;
  }
}

/**
 * Serves the page's files below a base path, an invented /shardz, and forwards the rest. `dropped` answers nothing to
 * these paths; `without` says 404.
 */
export class Front {
  without = new Set();
  requests = [];
  #began = Date.now();

  constructor(top, monitorPort, base) {
    this.files = path.join(top, 'src/monitor/page');
    this.monitorPort = monitorPort;
    this.base = base;
  }

  async listen() {
    this.server = http.createServer((request, response) => this.#answer(request, response));
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}${this.base}/`;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }

  #answer(request, response) {
    const url = new URL(request.url, 'http://localhost');
    const below = url.pathname.startsWith(`${this.base}/`) ? url.pathname.slice(this.base.length) : undefined;
    this.requests.push(`${below}${url.search}`);
    if (below === '/') return this.#file(response, 'index.html');
    if (below?.startsWith('/page/')) return this.#file(response, path.basename(below));
    if (below === undefined || this.without.has(below)) {
      response.writeHead(404, { 'content-type': 'text/plain' });
      return response.end('404 page not found\n');
    }
    if (below === '/shardz') return this.#shardz(response);
    const onward = http.request({ port: this.monitorPort, host: '127.0.0.1', path: below + url.search }, (answer) => {
      response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] });
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    return onward.end();
  }

  #file(response, name) {
    const file = path.join(this.files, name);
    const type = TYPES[path.extname(name)];
    if (!type || !fs.existsSync(file)) {
      response.writeHead(404);
      return response.end();
    }
    response.writeHead(200, { 'content-type': `${type}${type === 'image/svg+xml' ? '' : '; charset=utf-8'}`, 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff' });
    return response.end(fs.readFileSync(file));
  }

  /** Two shards whose numbers move as if they worked. */
  #shardz(response) {
    const seconds = (Date.now() - this.#began) / 1000;
    const wave = (mean, part, period, phase) => Math.round(mean * (1 + part * Math.sin((seconds / period) * 2 * Math.PI + phase)));
    const shards = [0, 1].map((shard) => ({
      shard,
      core: shard + 2,
      cpu_seconds: seconds * (0.42 + 0.2 * shard) + 0.5 * Math.sin(seconds / 4 + shard),
      turns: Math.round(seconds * 21_000 * (shard + 1)),
      turn_time_us: { p50: wave(14, 0.2, 19, shard), p99: wave(88, 0.3, 13, shard), p999: wave(260, 0.4, 11, shard), max: wave(1400, 0.5, 17, shard) },
      connections: 5000 + shard, subscriptions: 5200 + shard,
      in_msgs: Math.round(seconds * 4000), out_msgs: Math.round(seconds * 9000), in_bytes: Math.round(seconds * 512_000), out_bytes: Math.round(seconds * 1_152_000),
      mesh_depth: { now: wave(3, 0.9, 7, shard), max: wave(21, 0.4, 9, shard) },
      stalls: Math.floor(seconds / 20),
      slow_consumers: 0,
      streams: 2 - shard, consumers: 3 - shard,
      flushes: Math.round(seconds * 900),
      flush_time_us: { p50: wave(105, 0.1, 15, shard), p99: wave(230, 0.2, 11, shard), max: wave(900, 0.5, 21, shard) },
      store_backlog_bytes: wave(24_000, 0.8, 5, shard),
    }));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ server_id: 'NAINVENTED', now: new Date().toISOString(), window_seconds: 10, shards }));
  }
}
