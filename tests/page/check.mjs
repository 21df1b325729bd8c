// The live page in headless Chromium: it draws, updates, survives a restart and what is missing, and shows many connections
// without freezing. `run` beside this file says what it needs and what its options are.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { Client, openMany, publishSteadily, pullSteadily } from './client.mjs';
import { poll } from './poll.mjs';
import { Front, Server } from './server.mjs';

const { values: options } = parseArgs({
  options: {
    server: { type: 'string' }, url: { type: 'string' }, connections: { type: 'string', default: '10000' },
    screenshot: { type: 'string', default: path.join(process.env.SKEIN_PAGE_TOOLS, 'page.png') },
  },
});
const CONNECTIONS = Number(options.connections);
/** What does not come within this does not come: a busy machine is slow, and nobody waits for what is there. */
const WAIT_MS = 60_000;
const CLEANUP_MS_MAX = 20_000;
/** The page may hold so many elements, however many connections, accounts and streams there are. */
const ELEMENTS_MAX = 6000;
/** Processor time of the page's own thread, as the browser counts it: the share that all its work may take. */
const WORK_SHARE_MAX = 0.5;
/** Of all processes of the browser, drawing in software included: processors that they may keep busy. */
const PROCESSORS_MAX = 1;
/** Frames, and one piece of work, by the clock: judged only where the machine is not busy with other things. */
const FRAME_P90_MS_MAX = 120;
const TASK_MS_MAX = 300;
/** Processes that want to run, for each processor. */
const LOAD_MAX = 2;
const ANSWER_BYTES_MAX = 256 * 1024;
const PICTURE_BYTES_MAX = 300 * 1024;
/** One for the README shows a minute of load, another one a few seconds. */
const PICTURE_MS = options.screenshot.startsWith(process.env.SKEIN_PAGE_TOOLS) ? 5000 : 45_000;

const { chromium } = createRequire(path.join(process.env.SKEIN_PAGE_TOOLS, 'package.json'))('playwright-core');

let failed = 0;
function check(what, held, detail = '') {
  console.log(`${held ? 'ok   ' : 'FAIL '} ${what}${detail === '' ? '' : ` (${detail})`}`);
  if (!held) failed += 1;
}

const cleanups = [];
/** What the page looked like when the run broke off. */
let lookAgain = async () => {};
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-page-'));
cleanups.push(() => fs.rmSync(scratch, { recursive: true, force: true }));

// ---- what the page says -------------------------------------------------------------------------------------------

const number = (text) => {
  const found = /([\d.,]+)\s*([kMGT]?)/.exec(text ?? '');
  return found ? Number(found[1].replaceAll(',', '')) * { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 }[found[2]] : NaN;
};
const tileOf = (page, key) => page.textContent(`#tile-${key} .value`).catch(() => undefined);

/** How many different colours each plot has, sampled: an empty canvas has one. */
const colours = (page, where) => page.$$eval(`${where} canvas`, (list) => list.map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) seen.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
  return seen.size;
}));

/** Pixels of about the colour of a series: its line, whose edges are smoothed. */
const linePixels = (page, where, variable) => page.$eval(`${where} canvas`, (canvas, name) => {
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 150 && Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 60) found += 1;
  return found;
}, variable);

// ---- the scene ----------------------------------------------------------------------------------------------------

async function makeScene(port) {
  const subscriber = await Client.connect(port, 'billing');
  subscriber.subscribe('orders.>', '', 1);
  const archive = await Client.connect(port, 'archive');
  archive.subscribe('orders.>', '', 1);
  const worker = await Client.connect(port, 'shipping');
  worker.subscribe('orders.new', 'workers', 1);
  const publisher = await Client.connect(port, 'shop');
  for (const [name, subjects] of [['ORDERS', ['orders.new']], ['EVENTS', ['events.>']]]) {
    const made = await publisher.request(`$JS.API.STREAM.CREATE.${name}`, { name, subjects, storage: 'memory', retention: 'limits', max_msgs: 100_000, num_replicas: 1 });
    if (made.error) throw new Error(`stream ${name}: ${JSON.stringify(made.error)}`);
  }
  for (const durable of ['invoices', 'parcels']) {
    const made = await publisher.request(`$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.${durable}`, { stream_name: 'ORDERS', config: { durable_name: durable, ack_policy: 'explicit' } });
    if (made.error) throw new Error(`consumer ${durable}: ${JSON.stringify(made.error)}`);
  }
  const stop = publishSteadily(publisher, ['orders.new', 'orders.paid', 'events.seen'], 3000, 128);
  return { clients: [subscriber, archive, worker, publisher], stop };
}

/** More for the picture: other accounts, a stream on disk, workers that acknowledge, requests. Answers the clients. */
async function enliven(port) {
  const clients = [];
  const connect = async (name, user) => {
    const client = await Client.connect(port, name, user);
    clients.push(client);
    return client;
  };
  const ask = async (client, subject, value) => {
    const made = await client.request(`$JS.API.${subject}`, value);
    if (made.error) throw new Error(`${subject}: ${JSON.stringify(made.error)}`);
  };
  const wave = (mean, part, period) => (seconds) => mean * (1 + part * Math.sin((seconds / period) * 2 * Math.PI));

  const gateway = await connect('field gateway', 'sensors');
  await ask(gateway, 'STREAM.CREATE.READINGS', { name: 'READINGS', subjects: ['readings.>'], storage: 'file', retention: 'limits', max_msgs: 1_000_000, num_replicas: 1 });
  await ask(gateway, 'STREAM.CREATE.ALARMS', { name: 'ALARMS', subjects: ['alarms.>'], storage: 'file', retention: 'workqueue', num_replicas: 1 });
  for (const [stream, durable] of [['READINGS', 'dashboard'], ['READINGS', 'forecast'], ['ALARMS', 'pager']]) {
    await ask(gateway, `CONSUMER.DURABLE.CREATE.${stream}.${durable}`, { stream_name: stream, config: { durable_name: durable, ack_policy: 'explicit', max_ack_pending: 5000 } });
    pullSteadily(await connect(durable, 'sensors'), stream, durable, 250);
  }
  const stops = [publishSteadily(gateway, ['readings.hall.1', 'readings.hall.2', 'readings.roof', 'alarms.smoke'], wave(4000, 0.3, 11), 256)];
  for (const name of ['telemetry east', 'telemetry west']) {
    stops.push(publishSteadily(await connect(name, 'sensors'), ['telemetry.a', 'telemetry.b', 'telemetry.c'], wave(9000, 0.25, name.endsWith('east') ? 17 : 23), 96));
  }
  for (const name of ['plant view', 'anomalies']) (await connect(name, 'sensors')).subscribe('telemetry.>');

  for (const number of [1, 2]) {
    const service = await connect(`authorizer ${number}`, 'payments');
    service.listen((_subject, _sid, reply) => reply && service.publish(reply, '{"approved":true}'));
    service.subscribe('payments.authorize', 'authorizers');
  }
  const till = await connect('till', 'payments');
  till.subscribe('_INBOX.till', '', 1);
  const timer = setInterval(() => {
    for (let i = 0; i < 40; i += 1) till.publish('payments.authorize', '{"amount":1250}', '_INBOX.till');
  }, 20);
  for (const durable of ['invoices', 'parcels']) pullSteadily(await connect(durable), 'ORDERS', durable, durable === 'invoices' ? 500 : 200);
  cleanups.unshift(() => {
    clearInterval(timer);
    for (const stop of stops) stop();
    for (const client of clients) client.close();
  });
}

/** The picture: by rate, from the top, with streams in it. */
async function takePicture(page, port) {
  await enliven(port);
  await page.selectOption('#connections-limit', '10');
  await page.click('#connections th button:text-is("In")');
  await page.click('.notice button');
  await page.selectOption('#window', '60');
  await poll('the new streams are listed', () => page.$('#streams tbody tr:has-text("READINGS")'), WAIT_MS);
  await page.click('#streams tbody tr:has-text("READINGS")');
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.mouse.move(0, 0);
  await page.setViewportSize({ width: 1440, height: 1628 });
  await poll('the sensors are heard', async () => number(await tileOf(page, 'in')) > 8000, WAIT_MS);
  // Enough to fill the plots.
  await page.waitForTimeout(PICTURE_MS);
  await page.screenshot({ path: options.screenshot });
  const size = fs.statSync(options.screenshot).size;
  check('the picture is small enough to keep', size <= PICTURE_BYTES_MAX, `${Math.round(size / 1024)} KiB, ${options.screenshot}`);
}

function endScene(scene) {
  scene.stop();
  for (const client of scene.clients) client.close();
}

// ---- the checks ---------------------------------------------------------------------------------------------------

async function checkDraws(page) {
  await poll('a rate is shown', async () => number(await tileOf(page, 'in')) > 0, WAIT_MS);
  await poll('lines are drawn', async () => (await linePixels(page, '#plots-traffic', 'in')) > 60, WAIT_MS);
  const drawn = [...(await colours(page, '#plots-traffic')), ...(await colours(page, '#plots-server'))];
  check('each plot has a canvas with more than its ground', drawn.length === 6 && drawn.every((n) => n > 3), drawn.join(' '));
  check('the line of messages in is drawn', (await linePixels(page, '#plots-traffic', 'in')) > 60);
}

async function checkUpdates(page) {
  const varz = () => page.evaluate(() => document.getElementById('tile-connections').textContent);
  const before = await varz();
  const seen = new Set();
  await poll('numbers change under load', async () => {
    seen.add(`${await tileOf(page, 'in')} ${await tileOf(page, 'memory')} ${await tileOf(page, 'cpu')}`);
    return seen.size >= 3;
  }, WAIT_MS);
  check('numbers change under load', seen.size >= 3, `${seen.size} different`);
  return before;
}

async function checkFigures(page, url) {
  const rate = number(await tileOf(page, 'in'));
  check('the rate of messages is that of the publisher', rate > 1500 && rate < 6000, `${rate}/s, published 3,000/s`);
  await poll('the streams are listed', () => page.$eval('#streams tbody', (body) => body.textContent.includes('ORDERS')), WAIT_MS);
  await page.click('#streams tbody tr:has-text("ORDERS")');
  await poll('consumers open below their stream', () => page.$eval('#streams tbody', (body) => body.textContent.includes('invoices') && body.textContent.includes('parcels')), WAIT_MS);
  check('streams and their consumers are listed', true);
  await poll('the busy publisher is in the table', () => page.$eval('#connections tbody', (body) => body.rows[0]?.textContent.includes('·') && body.textContent.includes('shop')), WAIT_MS);
  check('connections are listed', true);
  const account = await poll('accounts are listed', () => page.$eval('#accounts tbody', (body) => body.rows[0]?.cells[0].textContent), WAIT_MS);
  check('accounts are listed, the busiest first', account === 'SHOP', account);
  await page.fill('#listens-subject', 'orders.new');
  await page.press('#listens-subject', 'Enter');
  const listeners = await poll('who listens is shown', () => page.$eval('#listeners', (table) => !table.hidden && table.tBodies[0].textContent), WAIT_MS);
  check('who listens to a subject', listeners.includes('orders.>') && listeners.includes('workers'), listeners.slice(0, 60));
  const health = await poll('health is known', () => page.$eval('#health', (pill) => pill.dataset.state === 'good' && pill.textContent), WAIT_MS);
  check('health is shown', health === 'healthy');
  await page.click('#connections tbody tr:first-child');
  await poll('details of a connection', () => page.$eval('#detail-text', (text) => text.textContent.includes('"cid"')), WAIT_MS);
  await page.click('#detail-close');
  check('details of a connection open', true);
  check('addresses are relative', (await page.$$eval('footer a', (list) => list.map((a) => a.href))).every((href) => href.startsWith(url)));
}

async function checkShards(page, expected) {
  const shown = await page.$eval('#panel-shards', (panel) => !panel.hidden);
  if (!shown && !expected) return console.log('skip  shards: this server has no /shardz');
  const rows = await poll('shards are listed', () => page.$eval('#shards tbody', (body) => body.rows.length), WAIT_MS);
  await poll('their plots are drawn', async () => {
    await page.$eval('#panel-shards', (panel) => panel.scrollIntoView());
    const drawn = await colours(page, '#plots-shards');
    return drawn.length === 4 && drawn.every((n) => n > 3);
  }, WAIT_MS);
  check('shards have a row each and their plots', rows >= 1, `${rows} rows`);
  const load = await poll('their load is known', () => page.$eval('#shards tbody', (body) => /\d/.test(body.rows[0].cells[1].textContent) && body.rows[0].cells[1].textContent), WAIT_MS);
  return check('the load of a shard', /^\d+(\.\d)? %$/.test(load), load);
}

async function checkWithout(page, front) {
  front.without.add('/shardz');
  await page.reload();
  await poll('it works without /shardz', async () => number(await tileOf(page, 'in')) > 0 && (await page.$eval('#panel-shards', (panel) => panel.hidden)), WAIT_MS);
  check('it works without /shardz', true);
  front.without.add('/jsz');
  front.without.add('/connz');
  await poll('what fails is named', async () => /connz/.test(await page.textContent('#polls')) && /cannot be shown/.test(await page.textContent('#connections-note')), WAIT_MS);
  check('an endpoint that fails is named, the rest goes on', number(await tileOf(page, 'in')) > 0);
  front.without.clear();
  await page.reload();
}

async function checkRestart(page, server, state) {
  const negative = await watchForNegative(page);
  endScene(state.scene);
  await server.stop();
  await poll('that nothing answers is said', () => page.$('.notice[data-key="silent"]'), WAIT_MS);
  check('it says that the server does not answer', /does not answer/.test(await page.textContent('.notice[data-key="silent"]')));
  check('what is old looks old', await page.evaluate(() => document.body.classList.contains('stale')));
  await server.start();
  state.scene = await makeScene(server.port);
  // What is out of sight is not drawn, and the checks before have scrolled.
  await page.$eval('#plots-traffic', (plots) => plots.scrollIntoView({ block: 'center' }));
  await poll('that it was restarted is said', () => page.$('.notice[data-key="restart"]'), WAIT_MS);
  check('it says that the server was restarted', /restarted at/.test(await page.textContent('.notice[data-key="restart"]')), await page.textContent('.notice[data-key="restart"] span'));
  await poll('plots go on', async () => number(await tileOf(page, 'in')) > 1000 && !(await page.$('.notice[data-key="silent"]')), WAIT_MS);
  await poll('the restart is marked in the plots', async () => (await linePixels(page, '#plots-traffic', 'warn')) > 20, WAIT_MS);
  check('plots go on, with the restart marked', true);
  const found = await negative();
  check('no rate was negative', found === '', found);
}

/** Watches the page for a number below zero until it is asked. */
async function watchForNegative(page) {
  await page.evaluate(() => {
    window.negative = '';
    window.negativeWatch = setInterval(() => {
      const found = /(^|\s|>)-\d[\d.,]*\s*[kMG]?(i?B)?\/s/.exec(document.body.innerText);
      if (found) window.negative = found[0];
    }, 100);
  });
  return () => page.evaluate(() => {
    clearInterval(window.negativeWatch);
    return window.negative;
  });
}

/** Notes the time between frames, and pieces of work that were longer than 50 ms. */
const watchFrames = (page) => page.evaluate(() => {
  window.frames = [];
  window.tasks = [];
  let last = performance.now();
  const frame = (now) => {
    window.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' });
});

const framesOf = async (page) => {
  const frames = await page.evaluate(() => window.frames.sort((a, b) => a - b));
  const at = (part) => Math.round(frames[Math.floor((frames.length - 1) * part)]);
  return { p50: at(0.5), p90: at(0.9), worst: at(1), count: frames.length };
};

/** What this machine gives to a page that does nothing, just now. */
async function framesOfEmptyPage(page) {
  const empty = await page.context().newPage();
  await watchFrames(empty);
  await empty.waitForTimeout(4000);
  const frames = await framesOf(empty);
  await empty.close();
  await page.bringToFront();
  return frames;
}

async function checkMany(browser, page, session, port, sizes) {
  console.log(`      opening ${CONNECTIONS} connections`);
  const clients = await openMany(port, CONNECTIONS);
  cleanups.unshift(() => clients.forEach((client) => client.close()));
  await poll('all connections are counted', async () => number(await tileOf(page, 'connections')) >= CONNECTIONS * 0.995, 60_000);
  check(`${CONNECTIONS} connections are counted`, true, await tileOf(page, 'connections'));
  sizes.clear();

  await watchFrames(page);
  const whole = await browser.newBrowserCDPSession();
  const processorSeconds = async () => (await whole.send('SystemInfo.getProcessInfo')).processInfo.reduce((total, { cpuTime }) => total + cpuTime, 0);
  const metrics = async () => Object.fromEntries((await session.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  const before = await metrics();
  const began = performance.now();
  const burntBefore = await processorSeconds();
  await page.selectOption('#connections-limit', '100');
  const rows = () => page.$eval('#connections tbody', (body) => body.rows.length);
  const first = () => page.$eval('#connections tbody', (body) => body.rows[0]?.cells[0].textContent);
  const pageLabel = () => page.textContent('#connections-page');
  await poll('a hundred rows', async () => (await rows()) === 100, WAIT_MS);
  for (const label of ['Connection', 'Subs', 'Pending', 'In, total', 'Up']) {
    await page.click(`#connections th button:text-is("${label}")`);
    await poll(`sorted by ${label}`, async () => (await page.$eval('#connections th[aria-sort]', (head) => head.textContent)) === label && (await rows()) === 100, WAIT_MS);
  }
  await page.click('#connections th button:text-is("Connection")');
  await poll('the first page', async () => /^1–100 of/.test(await pageLabel()), WAIT_MS);
  const firstShown = await first();
  await page.click('#connections-next');
  await poll('the second page', async () => /^101–200 of/.test(await pageLabel()) && (await first()) !== firstShown, WAIT_MS);
  check('the table is sorted and paged by the server', true, await pageLabel());
  // Scrolled from end to end meanwhile, for five seconds at least.
  for (let step = 0; step < 25; step += 1) {
    await page.mouse.wheel(0, step % 10 < 5 ? 400 : -400);
    await page.waitForTimeout(200);
  }
  const after = await metrics();
  const seconds = (performance.now() - began) / 1000;
  const processors = ((await processorSeconds()) - burntBefore) / seconds;
  const { tasks, elements } = await page.evaluate(() => ({ tasks: window.tasks, elements: document.querySelectorAll('*').length }));
  const frames = await framesOf(page);
  const empty = await framesOfEmptyPage(page);
  const longest = Math.round(Math.max(0, ...tasks));
  const share = (after.TaskDuration - before.TaskDuration) / seconds;
  check('the page holds a bounded number of elements', elements < ELEMENTS_MAX, elements);
  const load = os.loadavg()[0] / os.cpus().length;
  const told = `p50 ${frames.p50} ms, p90 ${frames.p90} ms, worst ${frames.worst} ms, of ${frames.count}; an empty page: p50 ${empty.p50} ms, p90 ${empty.p90} ms, worst ${empty.worst} ms`;
  if (load <= LOAD_MAX) {
    check('frames come', frames.p90 <= FRAME_P90_MS_MAX, told);
    check('no piece of work holds the page up', longest <= TASK_MS_MAX, `${tasks.length} above 50 ms, longest ${longest} ms`);
  } else {
    console.log(`skip  frames are not judged, ${load.toFixed(1)} processes wait for each processor (${told}; longest piece of work ${longest} ms)`);
  }
  check('the browser keeps at most a processor busy', processors <= PROCESSORS_MAX, processors.toFixed(2));
  check('its thread rests half of the time', share <= WORK_SHARE_MAX, `${(share * 100).toFixed(1)} % of a processor, in scripts ${(((after.ScriptDuration - before.ScriptDuration) / seconds) * 100).toFixed(1)} %`);
  const largest = [...sizes.entries()].sort((a, b) => b[1] - a[1])[0];
  check('no answer holds more than a page of connections', largest[1] <= ANSWER_BYTES_MAX, `${largest[0]}: ${largest[1]} bytes`);
  return clients;
}

async function checkLooks(browser, url) {
  for (const [scheme, width] of [['dark', 1440], ['light', 390], ['dark', 390]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    await page.goto(url);
    await poll('it draws', async () => number(await tileOf(page, 'connections')) >= 0 && (await page.$$('canvas')).length >= 2, WAIT_MS);
    const { ground, overflow } = await page.evaluate(() => ({
      ground: getComputedStyle(document.body).backgroundColor,
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    }));
    const [r, g, b] = ground.match(/\d+/g).map(Number);
    check(`${scheme}, ${width} wide: its colours`, (r + g + b < 384) === (scheme === 'dark'), ground);
    check(`${scheme}, ${width} wide: nothing sticks out`, overflow <= 0, `${overflow} px`);
    await page.waitForTimeout(3000);
    await page.screenshot({ path: path.join(process.env.SKEIN_PAGE_TOOLS, `page-${scheme}-${width}.png`), fullPage: width < 500 });
    await context.close();
  }
}

// ---- the run ------------------------------------------------------------------------------------------------------

async function main() {
  const state = {};
  let server;
  let front;
  let url = options.url;
  if (!url) {
    server = new Server(options.server ?? 'nats-server', scratch);
    await server.start();
    cleanups.unshift(() => server.stop('SIGKILL'));
    if (options.server) {
      url = `http://127.0.0.1:${server.monitorPort}/`;
    } else {
      front = new Front(process.env.SKEIN_TOP, server.monitorPort, '/some/base');
      url = await front.listen();
      cleanups.unshift(() => front.close());
    }
    state.scene = await makeScene(server.port);
    cleanups.unshift(() => endScene(state.scene));
  }

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || undefined, args: ['--no-sandbox'] });
  cleanups.unshift(() => browser.close());
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, colorScheme: 'light' });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  lookAgain = () => page.screenshot({ path: path.join(process.env.SKEIN_PAGE_TOOLS, 'failed.png') });
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const complaints = [];
  const foreign = [];
  const sizes = new Map();
  const origin = new URL(url).origin;
  page.on('console', (message) => {
    // A browser calls each request that fails an error; those are made to fail here, and checked for themselves.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) foreign.push(request.url());
  });
  page.on('response', async (response) => {
    const body = await response.body().catch(() => undefined);
    if (!body) return;
    const name = response.url().slice(url.length);
    if (!name.startsWith('page/')) sizes.set(name, Math.max(body.length, sizes.get(name) ?? 0));
  });
  const answer = await page.goto(url);
  check('the page is served with its policy', /default-src 'self'/.test(answer.headers()['content-security-policy'] ?? ''), answer.headers()['content-security-policy'] ?? 'none');

  if (server) {
    await checkDraws(page);
    await checkUpdates(page);
    await checkFigures(page, url);
    await checkShards(page, Boolean(front));
    if (front) await checkWithout(page, front);
    await poll('it draws again', async () => number(await tileOf(page, 'in')) > 0, WAIT_MS);
    await checkRestart(page, server, state);
    if (CONNECTIONS > 0) await checkMany(browser, page, session, server.port, sizes);
    await takePicture(page, server.port);
  } else {
    await poll('a figure is shown', async () => number(await tileOf(page, 'connections')) >= 0, WAIT_MS);
    await poll('plots are drawn', async () => (await colours(page, '#plots-server')).every((n) => n > 3), WAIT_MS);
    check('it draws', true);
  }
  await checkLooks(browser, url);
  check('no complaints on the console', complaints.length === 0, complaints.slice(0, 3).join(' | '));
  check('no request to another origin', foreign.length === 0, foreign.slice(0, 3).join(' '));
}

try {
  await main();
} catch (error) {
  check('the run came to its end', false, error.stack);
  await lookAgain().catch(() => {});
} finally {
  for (const cleanup of cleanups) {
    try {
      // A browser that does not end is killed when this process does.
      await Promise.race([cleanup(), new Promise((resolve) => setTimeout(resolve, CLEANUP_MS_MAX))]);
    } catch (error) {
      console.log(`      ${error.message}`);
    }
  }
}
console.log(failed === 0 ? 'the page holds' : `${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
