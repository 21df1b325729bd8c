// The live page: what is asked, and where on the page each answer goes.

import { bytes, count, duration, micros, NONE, parseGoDuration, parseTime, percent, rate, timeOfDay } from './format.js';
import { History, Rates } from './history.js';
import { ask, Poll } from './poller.js';
import { Plot } from './plots.js';
import { Pager, Table } from './tables.js';

/** Streams and consumers whose details are fetched without being asked for. */
const DETAILS_MAX = 2000;
/** Candidates for the busiest connections, in each direction. */
const BUSIEST = 100;
/** Lists take the server at most one part of its time in so many. */
const LISTS_SHARE = 5;
const CONSUMERS_SHOWN_MAX = 50;
const DETAIL_CHARACTERS_MAX = 200_000;
/** Older answers of /shardz are not drawn as if they were of now. */
const SHARDS_FRESH_MS = 5000;

const $ = (id) => document.getElementById(id);
const history = new History();
const rates = new Rates();

let life; // Of the server: its id and its start.
let lastVarz;
let windowSeconds = Number($('window').value);
let shardColumns = {};
let shardsAtMs = 0;
let paused = false;

const perSecond = (value) => (value === null || value === undefined ? NONE : `${rate(value)}/s`);
const bytesPerSecond = (value) => (value === null || value === undefined ? NONE : `${bytes(value)}/s`);

// ---- notices -------------------------------------------------------------------------------------------------------

const notices = new Map();

/** Shows, changes or (without a text) removes the notice called `key`. */
function notice(key, kind, text) {
  let element = notices.get(key);
  if (!text) {
    element?.remove();
    notices.delete(key);
    return;
  }
  if (!element) {
    element = document.createElement('p');
    element.className = 'notice';
    const words = document.createElement('span');
    const close = document.createElement('button');
    close.type = 'button';
    close.textContent = '×';
    close.setAttribute('aria-label', 'Dismiss');
    close.addEventListener('click', () => notice(key));
    element.append(words, close);
    element.dataset.key = key;
    $('notices').append(element);
    notices.set(key, element);
  }
  element.dataset.kind = kind;
  if (element.firstChild.textContent !== text) element.firstChild.textContent = text;
}

// ---- tiles and plots -----------------------------------------------------------------------------------------------

const TILES = ['in', 'out', 'connections', 'subscriptions', 'streams', 'loop', 'slow', 'cpu', 'memory'];
const tiles = new Map();

function tile(key, label, value, below, state = '') {
  let parts = tiles.get(key);
  if (!parts) {
    const element = document.createElement('div');
    element.className = 'tile';
    element.id = `tile-${key}`;
    // They come as answers come, and stand where they belong.
    element.style.order = TILES.indexOf(key);
    parts = { element, label: document.createElement('h3'), value: document.createElement('p'), below: document.createElement('p') };
    parts.value.className = 'value';
    parts.below.className = 'muted';
    element.append(parts.label, parts.value, parts.below);
    $('tiles').append(element);
    tiles.set(key, parts);
  }
  parts.element.dataset.state = state;
  for (const [part, text] of [[parts.label, label], [parts.value, value], [parts.below, below]]) {
    if (part.textContent !== text) part.textContent = text;
  }
}

function facts(id, list) {
  const parent = $(id);
  while (parent.childElementCount < list.length) {
    const entry = document.createElement('div');
    entry.append(document.createElement('dt'), document.createElement('dd'));
    parent.append(entry);
  }
  while (parent.childElementCount > list.length) parent.lastChild.remove();
  list.forEach(([name, value], i) => {
    const [dt, dd] = parent.children[i].children;
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== value) dd.textContent = value;
  });
}

const plots = [];
const plot = (parent, options) => plots.push(new Plot($(parent), options, history));

plot('plots-traffic', {
  title: 'Messages', format: perSecond, floor: 10,
  series: [{ column: 'in_msgs', label: 'in', color: 'in', fill: true }, { column: 'out_msgs', label: 'out', color: 'out', fill: true }],
});
plot('plots-traffic', {
  title: 'Bytes', format: bytesPerSecond, floor: 1024, binary: true,
  series: [{ column: 'in_bytes', label: 'in', color: 'in', fill: true }, { column: 'out_bytes', label: 'out', color: 'out', fill: true }],
});
plot('plots-server', { title: 'CPU', format: percent, floor: 10, small: true, series: [{ column: 'cpu', label: '', color: 'load', fill: true }] });
plot('plots-server', { title: 'Memory', format: bytes, floor: 1 << 20, binary: true, small: true, series: [{ column: 'mem', label: '', color: 'memory', fill: true }] });
plot('plots-server', { title: 'Connections', format: count, floor: 4, small: true, series: [{ column: 'connections', label: '', color: 'in', fill: true }] });
plot('plots-server', { title: 'Subscriptions', format: count, floor: 4, small: true, series: [{ column: 'subscriptions', label: '', color: 'out', fill: true }] });

/** Made when the first answer of /shardz has come. */
let shardPlots = false;

function makeShardPlots() {
  shardPlots = true;
  const times = (prefix, names) => names.map(([name, label, color]) => ({ column: `${prefix}_${name}`, label, color }));
  plot('plots-shards', {
    title: 'Turn', format: micros, floor: 100, log: true, small: true,
    series: times('turn', [['p50', 'p50', 'in'], ['p99', 'p99', 'load'], ['p999', 'p99.9', 'memory'], ['max', 'max', 'out']]),
  });
  plot('plots-shards', {
    title: 'Flush', format: micros, floor: 100, log: true, small: true,
    series: times('flush', [['p50', 'p50', 'in'], ['p99', 'p99', 'load'], ['max', 'max', 'out']]),
  });
  plot('plots-shards', {
    title: 'Mesh depth', format: count, floor: 4, small: true,
    series: [{ column: 'mesh_now', label: 'now', color: 'in', fill: true }, { column: 'mesh_max', label: 'max', color: 'out' }],
  });
  plot('plots-shards', { title: 'Stalls', format: perSecond, floor: 1, small: true, series: [{ column: 'stalls', label: '', color: 'warn', fill: true }] });
}

const drawPlots = () => plots.forEach((each) => each.draw(windowSeconds));

// ---- /varz ---------------------------------------------------------------------------------------------------------

const COUNTED = ['in_msgs', 'out_msgs', 'in_bytes', 'out_bytes'];

function onVarz(varz) {
  const now = parseTime(varz.now) ?? Date.now();
  const lifeNow = `${varz.server_id} ${varz.start}`;
  if (life !== undefined && life !== lifeNow) onRestart(varz);
  life = lifeNow;
  lastVarz = varz;
  if (notices.has('silent')) polls.healthz.now();
  notice('silent');
  document.body.classList.remove('stale');

  const counted = Object.fromEntries(COUNTED.map((name) => [name, varz[name]]));
  const grown = rates.update('varz', lifeNow, now, counted);
  const fresh = Date.now() - shardsAtMs < SHARDS_FRESH_MS ? shardColumns : {};
  history.push(Date.now() / 1000, {
    ...grown, ...fresh,
    cpu: varz.cpu, mem: varz.mem, connections: varz.connections, subscriptions: varz.subscriptions, slow: varz.slow_consumers,
  });

  const uptime = (now - parseTime(varz.start)) / 1000;
  const name = varz.server_name || varz.server_id || 'server';
  $('server-name').textContent = name;
  $('server-line').textContent = [`${varz.version ?? ''}`, `${varz.host}:${varz.port}`, `up ${duration(uptime)}`].join(' · ');
  $('server-line').title = `${varz.server_id}, started ${varz.start}`;
  document.title = `${perSecond(grown.in_msgs)} · ${name}`;

  const slow = varz.slow_consumers ?? 0;
  const slowBefore = history.window(windowSeconds, ['slow'])[1].find((value) => value !== null) ?? slow;
  tile('in', 'Messages in', perSecond(grown.in_msgs), bytesPerSecond(grown.in_bytes));
  tile('out', 'Messages out', perSecond(grown.out_msgs), bytesPerSecond(grown.out_bytes));
  tile('connections', 'Connections', count(varz.connections), `${count(varz.total_connections)} in all`,
    varz.max_connections > 0 && varz.connections > varz.max_connections * 0.9 ? 'warn' : '');
  tile('subscriptions', 'Subscriptions', count(varz.subscriptions), subscriptionsBelow());
  tile('cpu', 'CPU', percent(varz.cpu), `of ${count((varz.gomaxprocs ?? varz.cores) * 100)} %`);
  tile('memory', 'Memory', bytes(varz.mem), varz.jetstream?.stats ? `streams ${bytes(varz.jetstream.stats.memory)}` : 'resident');
  tile('slow', 'Slow consumers', count(slow), `${slow > slowBefore ? `+${count(slow - slowBefore)} lately · ` : ''}stalled ${count(varz.stalled_clients ?? 0)}, stale ${count(varz.stale_connections ?? 0)}`,
    slow > slowBefore ? 'warn' : '');
  drawPlots();
  showPolls();
}

function onRestart(varz) {
  rates.forget();
  history.restarts.push(Date.now() / 1000);
  shardsAtMs = 0;
  const before = parseTime(lastVarz.now) - parseTime(lastVarz.start);
  notice('restart', 'warn',
    `The server was restarted at ${timeOfDay(parseTime(varz.start))}${varz.server_id === lastVarz.server_id ? '' : ' and has another id'}, after ${duration(before / 1000)}. Its counters began again.`);
  for (const [name, poll] of Object.entries(polls)) if (name !== 'varz') poll.now();
}

function onVarzFailure(failure, poll) {
  // Time goes on in the plots, with a gap.
  history.push(Date.now() / 1000, {});
  const silent = (Date.now() - poll.failingSince) / 1000;
  notice('silent', 'bad', `The server does not answer${silent > 2 ? ` since ${timeOfDay(poll.failingSince)} (${duration(silent)})` : ''}: ${failure.message}. What is shown is old; it is asked again every second.`);
  document.body.classList.add('stale');
  health('bad', 'no answer');
  drawPlots();
  showPolls();
}

// ---- /healthz ------------------------------------------------------------------------------------------------------

function health(state, text, title = '') {
  const pill = $('health');
  pill.dataset.state = state;
  pill.textContent = text;
  pill.title = title;
}

function onHealth(answer) {
  const well = answer.status === 'ok';
  health(well ? 'good' : 'bad', well ? 'healthy' : answer.status, answer.error ?? '');
  notice('health', 'bad', well ? '' : `The server says it is not well: ${answer.error ?? answer.status}`);
}

// ---- /subsz --------------------------------------------------------------------------------------------------------

let subscriptionsKnown;
const subscriptionsBelow = () => (subscriptionsKnown ? `${perSecond(subscriptionsKnown.num_inserts)} new, ${perSecond(subscriptionsKnown.num_removes)} gone` : '');

function onSubsz(subsz) {
  const counted = { num_inserts: subsz.num_inserts, num_removes: subsz.num_removes, num_matches: subsz.num_matches };
  subscriptionsKnown = rates.update('subsz', subsz.server_id, parseTime(subsz.now), counted);
  $('subscriptions-note').textContent = '';
  facts('subscriptions-facts', [
    ['subscriptions', count(subsz.num_subscriptions)],
    ['new', perSecond(subscriptionsKnown.num_inserts)],
    ['gone', perSecond(subscriptionsKnown.num_removes)],
    ['look-ups', perSecond(subscriptionsKnown.num_matches)],
    ['cached subjects', count(subsz.num_cache)],
    ['cache hits', percent(subsz.cache_hit_rate * 100)],
    ['largest fan-out', count(subsz.max_fanout)],
    ['mean fan-out', rate(subsz.avg_fanout)],
  ]);
}

const listeners = new Table('listeners', {
  empty: 'nobody',
  columns: [
    { label: 'Subject', text: true, cell: (s) => s.subject },
    { label: 'Queue', text: true, cell: (s) => s.qgroup ?? '' },
    { label: 'Account', text: true, cell: (s) => s.account_tag || s.account || '' },
    { label: 'Connection', cell: (s) => s.cid || 'server' },
    { label: 'Messages', cell: (s) => count(s.msgs) },
  ],
});

$('listens').addEventListener('submit', async (event) => {
  event.preventDefault();
  const subject = $('listens-subject').value.trim();
  if (!subject) return;
  const note = $('listens-note');
  try {
    const answer = await ask(`subsz?subs=1&limit=50&test=${encodeURIComponent(subject)}`);
    const list = answer.subscriptions_list ?? [];
    $('listeners').hidden = false;
    listeners.show(list);
    note.textContent = answer.total > list.length ? `${list.length} of ${count(answer.total)}` : '';
  } catch (failure) {
    note.textContent = failure.message;
  }
});

// ---- /connz --------------------------------------------------------------------------------------------------------

const connectionsPager = new Pager('connections', Number($('connections-limit').value), () => polls.connz.now());

/** Seconds since a moment, by the server's clock. */
const since = (text, now) => (parseTime(text) === undefined ? undefined : (now - parseTime(text)) / 1000);

const connections = new Table('connections', {
  sorted: 'rate',
  empty: 'no connections',
  onSort: () => {
    connectionsPager.offset = 0;
    polls.connz.now();
  },
  onRow: (c) => showDetail(`Connection ${c.cid}`, `connz?cid=${c.cid}&subs=detail&auth=true${c.stop ? '&state=closed' : ''}`),
  columns: [
    { label: 'Connection', sort: 'cid', text: true, cell: (c) => ({ text: c.name ? `${c.cid} · ${c.name}` : c.cid, title: c.name ?? '' }) },
    { label: 'Client', text: true, cell: (c) => ({ text: [c.lang, c.version].filter(Boolean).join(' ') || c.kind || '', title: [c.type, c.tls_version && `TLS ${c.tls_version}`].filter(Boolean).join(', ') }) },
    { label: 'Account', text: true, cell: (c) => ({ text: c.name_tag || c.account || '', title: c.authorized_user ? `user ${c.authorized_user}` : '' }) },
    { label: 'Address', text: true, cell: (c) => (c.ip ? `${c.ip}:${c.port}` : '') },
    { label: 'In', sort: 'rate', title: 'messages from the client each second', cell: (c) => ({ text: perSecond(c.rates.in_msgs), title: bytesPerSecond(c.rates.in_bytes), part: c.part_in }) },
    { label: 'Out', sort: 'rate', title: 'messages to the client each second', cell: (c) => ({ text: perSecond(c.rates.out_msgs), title: bytesPerSecond(c.rates.out_bytes), part: c.part_out }) },
    { label: 'In, total', sort: 'msgs_from', cell: (c) => count(c.in_msgs) },
    { label: 'Out, total', sort: 'msgs_to', cell: (c) => count(c.out_msgs) },
    { label: 'Bytes in', sort: 'bytes_from', cell: (c) => bytes(c.in_bytes) },
    { label: 'Bytes out', sort: 'bytes_to', cell: (c) => bytes(c.out_bytes) },
    { label: 'Pending', sort: 'pending', title: 'bytes waiting to be sent', cell: (c) => ({ text: bytes(c.pending_bytes), state: c.pending_bytes > 1 << 20 ? 'warn' : '' }) },
    { label: 'Subs', sort: 'subs', cell: (c) => count(c.subscriptions) },
    { label: 'RTT', sort: 'rtt', cell: (c) => micros(parseGoDuration(c.rtt)) },
    { label: 'Idle', sort: 'idle', cell: (c) => (c.stop ? { text: 'closed', title: `${c.stop} ${c.reason ?? ''}`, state: 'warn' } : duration(c.idle_seconds)) },
    { label: 'Up', sort: 'uptime', cell: (c) => ({ text: duration(c.up_seconds), title: c.start ?? '' }) },
  ],
});

function connzQuestion() {
  const account = $('connections-account').value.trim();
  const common = `auth=true&state=${$('connections-state').value}${account ? `&acc=${encodeURIComponent(account)}` : ''}`;
  const { offset, limit } = connectionsPager;
  if (connections.sorted !== 'rate') {
    return (signal) => ask(`connz?${common}&sort=${connections.sorted}&offset=${offset}&limit=${limit}`, signal);
  }
  return async (signal) => {
    const [from, to] = await Promise.all(['msgs_from', 'msgs_to'].map((sort) => ask(`connz?${common}&sort=${sort}&limit=${BUSIEST}`, signal)));
    const all = new Map([...(from.connections ?? []), ...(to.connections ?? [])].map((c) => [c.cid, c]));
    return { ...to, connections: [...all.values()], busiest: true };
  };
}

function onConnz(connz) {
  const now = parseTime(connz.now);
  let list = connz.connections ?? [];
  for (const c of list) {
    const counted = Object.fromEntries(COUNTED.map((name) => [name, c[name]]));
    c.rates = rates.update(`connection ${c.cid}`, `${connz.server_id} ${c.start}`, now, counted);
    c.up_seconds = since(c.start, c.stop ? parseTime(c.stop) : now);
    // It may have been active after the moment that the answer is of.
    c.idle_seconds = Math.max(since(c.last_activity, now) ?? 0, 0);
    c.rate = (c.rates.in_msgs ?? 0) + (c.rates.out_msgs ?? 0);
  }
  const total = connz.total ?? list.length;
  let note = '';
  if (connz.busiest) {
    // Where nothing moves, those that have moved most come first.
    list.sort((a, b) => b.rate - a.rate || b.in_msgs + b.out_msgs - (a.in_msgs + a.out_msgs) || a.cid - b.cid);
    if (total > list.length) note = `the busiest of those ${count(list.length)} that have moved most messages, of ${count(total)}`;
    list = connectionsPager.page(list);
  } else if (connectionsPager.show(list.length, total)) {
    polls.connz.now();
  }
  for (const side of ['in', 'out']) {
    const most = Math.max(...list.map((c) => c.rates[`${side}_msgs`] ?? 0), 0);
    for (const c of list) c[`part_${side}`] = most > 0 ? (c.rates[`${side}_msgs`] ?? 0) / most : 0;
  }
  $('connections-note').textContent = note;
  connections.show(list);
  rates.keepSince(now - 120_000);
}

for (const id of ['connections-state', 'connections-account', 'connections-limit']) {
  $(id).addEventListener('change', () => {
    connectionsPager.limit = Number($('connections-limit').value);
    connectionsPager.offset = 0;
    polls.connz.now();
  });
}

// ---- /accstatz -----------------------------------------------------------------------------------------------------

let accountList = [];
const accountsPager = new Pager('accounts', 10, () => showAccounts());
const accounts = new Table('accounts', {
  sorted: 'rate',
  onSort: () => showAccounts(),
  onRow: (a) => showDetail(`Account ${a.name || a.acc}`, `accountz?acc=${encodeURIComponent(a.acc)}`),
  columns: [
    { label: 'Account', text: true, sort: 'name', cell: (a) => ({ text: a.name || a.acc, title: a.acc }) },
    { label: 'In', sort: 'rate', title: 'messages from its clients each second', cell: (a) => ({ text: perSecond(a.rates.in_msgs), title: bytesPerSecond(a.rates.in_bytes) }) },
    { label: 'Out', sort: 'rate', title: 'messages to its clients each second', cell: (a) => ({ text: perSecond(a.rates.out_msgs), title: bytesPerSecond(a.rates.out_bytes) }) },
    { label: 'Connections', sort: 'conns', cell: (a) => count(a.conns) },
    { label: 'Subs', sort: 'num_subscriptions', cell: (a) => count(a.num_subscriptions) },
    { label: 'Slow', sort: 'slow_consumers', cell: (a) => ({ text: count(a.slow_consumers), state: a.slow_consumers > 0 ? 'warn' : '' }) },
  ],
});

const ACCOUNT_ORDER = {
  name: (a, b) => a.acc.localeCompare(b.acc),
  rate: (a, b) => b.rate - a.rate || b.conns - a.conns || a.acc.localeCompare(b.acc),
};

function onAccstatz(answer) {
  const now = parseTime(answer.now);
  accountList = answer.account_statz ?? [];
  for (const a of accountList) {
    // What the server has received, its clients have sent.
    const counted = { in_msgs: a.received?.msgs, in_bytes: a.received?.bytes, out_msgs: a.sent?.msgs, out_bytes: a.sent?.bytes };
    a.rates = rates.update(`account ${a.acc}`, answer.server_id, now, counted);
    a.rate = (a.rates.in_msgs ?? 0) + (a.rates.out_msgs ?? 0);
  }
  $('accounts-note').textContent = accountList.length > 1 ? count(accountList.length) : '';
  showAccounts();
  const names = accountList.slice(0, 50).map((a) => a.acc).sort();
  const known = $('account-names');
  if (known.childElementCount !== names.length || names.some((name, i) => known.children[i].value !== name)) {
    known.replaceChildren(...names.map((name) => Object.assign(document.createElement('option'), { value: name })));
  }
}

function showAccounts() {
  const order = ACCOUNT_ORDER[accounts.sorted] ?? ((a, b) => b[accounts.sorted] - a[accounts.sorted] || a.acc.localeCompare(b.acc));
  accounts.show(accountsPager.page([...accountList].sort(order)));
}

// ---- /jsz ----------------------------------------------------------------------------------------------------------

let streamList = [];
let streamsWanted = false;
let streamsTotal = 0;
const streamsOpen = new Set();
const streamsPager = new Pager('streams', 15, () => showStreams());
const sum = (list, field) => list.reduce((total, entry) => total + (entry[field] ?? 0), 0);
const of = (row, stream, consumer) => (row.rowKind === 'child' ? consumer(row) : stream(row));

const streams = new Table('streams', {
  sorted: 'rate',
  empty: 'no streams',
  onSort: () => showStreams(),
  onRow: (row) => {
    if (row.rowKind === 'child') return;
    if (!streamsOpen.delete(row.key)) streamsOpen.add(row.key);
    showStreams();
  },
  columns: [
    { label: 'Stream', text: true, sort: 'name', cell: (r) => of(r, (s) => ({ text: `${streamsOpen.has(s.key) ? '▾' : '▸'} ${s.name}`, title: `${s.config?.retention ?? ''} ${s.config?.storage ?? ''}, created ${s.created}` }), (c) => ({ text: c.more ?? `↳ ${c.name}`, title: c.config?.filter_subject ?? '' })) },
    { label: 'Account', text: true, cell: (r) => of(r, (s) => s.account, (c) => c.config?.durable_name ? 'durable' : c.more ? '' : 'ephemeral') },
    { label: 'Subjects', text: true, cell: (r) => of(r, (s) => ({ text: shortList(s.config?.subjects) || (s.mirror ? `mirror of ${s.mirror.name}` : ''), title: (s.config?.subjects ?? []).slice(0, 50).join(' ') }), (c) => c.config?.filter_subject ?? shortList(c.config?.filter_subjects)) },
    { label: 'Messages', sort: 'messages', cell: (r) => of(r, (s) => count(s.messages), () => '') },
    { label: 'Bytes', sort: 'bytes', cell: (r) => of(r, (s) => bytes(s.bytes), () => '') },
    { label: 'Rate', sort: 'rate', title: 'stored each second; of a consumer, delivered', cell: (r) => perSecond(r.rates?.done) },
    { label: 'Consumers', sort: 'consumers', cell: (r) => of(r, (s) => count(s.consumers), () => '') },
    { label: 'Pending', sort: 'pending', title: 'not yet delivered', cell: (r) => count(r.pending) },
    { label: 'Unacknowledged', sort: 'unacknowledged', cell: (r) => count(r.unacknowledged) },
    { label: 'Redelivered', sort: 'redelivered', cell: (r) => ({ text: count(r.redelivered), state: r.redelivered > 0 ? 'warn' : '' }) },
    { label: 'Waiting', title: 'pulls that wait', cell: (r) => count(r.waiting) },
    { label: 'Last', title: 'sequence of the last message', cell: (r) => ({ text: count(r.last_seq), title: r.last_ts ?? '' }) },
  ],
});

const shortList = (list) => (list?.length > 2 ? `${list.slice(0, 2).join(' ')} +${list.length - 2}` : (list ?? []).join(' '));

const streamsDetailed = () => streamsWanted || streamsTotal <= DETAILS_MAX;

function jszQuestion() {
  if (!streamsDetailed()) return (signal) => ask('jsz', signal);
  return async (signal) => {
    const answer = await ask('jsz?accounts=true&streams=true&consumers=true&config=true', signal);
    return { ...answer, detailed: true };
  };
}

function onJsz(jsz) {
  const off = Boolean(jsz.disabled);
  $('panel-streams').dataset.off = off;
  if (off) {
    $('streams-note').textContent = 'JetStream is off';
    facts('streams-facts', []);
    tile('streams', 'Streams', 'off', 'JetStream is not enabled');
    streamList = [];
    showStreams();
    return;
  }
  const now = parseTime(jsz.now);
  streamsTotal = (jsz.streams ?? 0) + (jsz.consumers ?? 0);
  const api = rates.update('jsz', jsz.server_id, now, { total: jsz.api?.total, errors: jsz.api?.errors });
  const limit = (used, most) => (most > 0 && most < 2 ** 53 ? `${bytes(used)} of ${bytes(most)}` : bytes(used));
  facts('streams-facts', [
    ['streams', count(jsz.streams)],
    ['consumers', count(jsz.consumers)],
    ['messages', count(jsz.messages)],
    ['on disk', limit(jsz.storage, jsz.config?.max_storage)],
    ['in memory', limit(jsz.memory, jsz.config?.max_memory)],
    ['requests', perSecond(api.total)],
    ['errors', `${count(jsz.api?.errors)}${api.errors ? ` (${perSecond(api.errors)})` : ''}`],
  ]);
  tile('streams', 'Streams', count(jsz.streams), `${count(jsz.messages)} messages`,
    jsz.config?.max_storage > 0 && jsz.storage > jsz.config.max_storage * 0.9 ? 'warn' : '');
  $('streams-load').hidden = streamsDetailed();
  $('streams-note').textContent = streamsDetailed() ? '' : 'too many to fetch them all the time';
  if (jsz.detailed) streamList = (jsz.account_details ?? []).flatMap((account) => (account.stream_detail ?? []).map((s) => toStream(s, account, jsz.server_id, now)));
  else if (!streamsDetailed()) streamList = [];
  showStreams();
}

function toStream(s, account, serverId, now) {
  const key = `${account.id ?? account.name}/${s.name}`;
  const state = s.state ?? {};
  const list = (s.consumer_detail ?? []).map((c) => ({
    ...c,
    rowKind: 'child',
    pending: c.num_pending, unacknowledged: c.num_ack_pending, redelivered: c.num_redelivered, waiting: c.num_waiting,
    last_seq: c.delivered?.stream_seq, last_ts: c.delivered?.last_active,
    rates: rates.update(`consumer ${key}/${c.name}`, `${serverId} ${c.created}`, now, { done: c.delivered?.consumer_seq }),
  }));
  const stored = rates.update(`stream ${key}`, `${serverId} ${s.created}`, now, { done: state.last_seq });
  return {
    key, name: s.name, account: account.name, config: s.config, created: s.created, mirror: s.mirror, list,
    messages: state.messages, bytes: state.bytes, consumers: state.consumer_count, last_seq: state.last_seq, last_ts: state.last_ts,
    rates: stored, rate: stored.done ?? 0,
    pending: sum(list, 'pending'), unacknowledged: sum(list, 'unacknowledged'), redelivered: sum(list, 'redelivered'), waiting: sum(list, 'waiting'),
  };
}

function showStreams() {
  const wanted = $('streams-find').value.trim().toLowerCase();
  const matches = (s) => !wanted || s.key.toLowerCase().includes(wanted) || (s.config?.subjects ?? []).some((subject) => subject.toLowerCase().includes(wanted));
  const byName = (a, b) => a.key.localeCompare(b.key);
  const order = streams.sorted === 'name' ? byName : (a, b) => (b[streams.sorted] ?? 0) - (a[streams.sorted] ?? 0) || byName(a, b);
  const page = streamsPager.page(streamList.filter(matches).sort(order));
  let room = CONSUMERS_SHOWN_MAX;
  streams.show(page.flatMap((s) => {
    if (!streamsOpen.has(s.key)) return [s];
    const shown = [...s.list].sort((a, b) => b.pending - a.pending).slice(0, room);
    room -= shown.length;
    const left = s.list.length - shown.length;
    return [s, ...shown, ...(left > 0 ? [{ rowKind: 'child', more: `and ${count(left)} more consumers` }] : [])];
  }));
}

$('streams-find').addEventListener('input', () => {
  streamsPager.offset = 0;
  showStreams();
});
$('streams-load').addEventListener('click', () => {
  streamsWanted = true;
  polls.jsz.now();
});

// ---- /shardz -------------------------------------------------------------------------------------------------------

const times = (values) => (values ? `${micros(values.p50)} / ${micros(values.p99)}` : NONE);

const shards = new Table('shards', {
  columns: [
    { label: 'Shard', text: true, cell: (s) => (s.core === undefined ? s.shard : `${s.shard} · core ${s.core}`) },
    { label: 'Load', title: 'CPU time of its thread', cell: (s) => ({ text: percent(s.load), part: (s.load ?? 0) / 100 }) },
    { label: 'Turns', cell: (s) => perSecond(s.rates.turns) },
    { label: 'Turn p50 / p99', cell: (s) => times(s.turn_time_us) },
    { label: 'p99.9', cell: (s) => micros(s.turn_time_us?.p999) },
    { label: 'max', cell: (s) => micros(s.turn_time_us?.max) },
    { label: 'Connections', cell: (s) => count(s.connections) },
    { label: 'Subs', cell: (s) => count(s.subscriptions) },
    { label: 'In', cell: (s) => ({ text: perSecond(s.rates.in_msgs), title: bytesPerSecond(s.rates.in_bytes) }) },
    { label: 'Out', cell: (s) => ({ text: perSecond(s.rates.out_msgs), title: bytesPerSecond(s.rates.out_bytes) }) },
    { label: 'Mesh', title: 'batches waiting from other shards: now / most', cell: (s) => (s.mesh_depth ? `${count(s.mesh_depth.now)} / ${count(s.mesh_depth.max)}` : NONE) },
    { label: 'Stalls', cell: (s) => ({ text: perSecond(s.rates.stalls), title: `${count(s.stalls)} in all`, state: s.rates.stalls > 0 ? 'warn' : '' }) },
    { label: 'Slow', cell: (s) => count(s.slow_consumers) },
    { label: 'Streams', cell: (s) => ({ text: count(s.streams), title: `${count(s.consumers)} consumers` }) },
    { label: 'Flushes', cell: (s) => perSecond(s.rates.flushes) },
    { label: 'Flush p50 / p99', cell: (s) => times(s.flush_time_us) },
    { label: 'Backlog', title: 'accepted and not yet durable', cell: (s) => bytes(s.store_backlog_bytes) },
  ],
});

function onShardz(answer) {
  const now = parseTime(answer.now);
  const list = answer.shards ?? [];
  $('panel-shards').hidden = false;
  if (!shardPlots) makeShardPlots();
  for (const s of list) {
    const { cpu_seconds, turns, in_msgs, out_msgs, in_bytes, out_bytes, stalls, flushes } = s;
    s.rates = rates.update(`shard ${s.shard}`, answer.server_id, now, { cpu_seconds, turns, in_msgs, out_msgs, in_bytes, out_bytes, stalls, flushes });
    s.load = s.rates.cpu_seconds === null ? undefined : s.rates.cpu_seconds * 100;
  }
  const most = (field) => list.reduce((max, s) => (field(s) > (max ?? -1) ? field(s) : max), null);
  shardColumns = {
    mesh_now: most((s) => s.mesh_depth?.now),
    mesh_max: most((s) => s.mesh_depth?.max),
    stalls: list.some((s) => s.rates.stalls !== null) ? list.reduce((total, s) => total + (s.rates.stalls ?? 0), 0) : null,
  };
  for (const name of ['p50', 'p99', 'p999', 'max']) {
    shardColumns[`turn_${name}`] = most((s) => s.turn_time_us?.[name]);
    shardColumns[`flush_${name}`] = most((s) => s.flush_time_us?.[name]);
  }
  shardsAtMs = Date.now();
  tile('loop', 'Loop, p99', micros(shardColumns.turn_p99), `at most ${micros(shardColumns.turn_max)}`);
  $('shards-note').textContent = answer.window_seconds ? `plots show the slowest shard; times are of the last ${answer.window_seconds} s` : '';
  shards.show(list);
}

// ---- details, polling, choices -------------------------------------------------------------------------------------

async function showDetail(title, path) {
  const dialog = $('detail');
  $('detail-title').textContent = title;
  $('detail-text').textContent = '…';
  dialog.showModal();
  try {
    const text = JSON.stringify(await ask(path), null, 2);
    $('detail-text').textContent = text.length > DETAIL_CHARACTERS_MAX ? `${text.slice(0, DETAIL_CHARACTERS_MAX)}\n…` : text;
  } catch (failure) {
    $('detail-text').textContent = failure.message;
  }
}
$('detail-close').addEventListener('click', () => $('detail').close());

/** What fails besides /varz is said where it would stand. */
const noteOf = (id) => (failure) => {
  // Where nothing answers, that is said once, above.
  if (failure.status !== 0) $(id).textContent = `cannot be shown: ${failure.message}`;
  showPolls();
};

const polls = {
  varz: new Poll({ everyMs: 1000, inBackground: true, question: () => (signal) => ask('varz', signal), onAnswer: onVarz, onFailure: onVarzFailure }),
  shardz: new Poll({
    everyMs: 1000, inBackground: true, question: () => (signal) => ask('shardz', signal), onAnswer: onShardz,
    onFailure: ({ status }) => {
      if (status === 404) $('panel-shards').hidden = true;
      else showPolls();
    },
  }),
  healthz: new Poll({ everyMs: 5000, question: () => (signal) => ask('healthz', signal), onAnswer: onHealth, onFailure: ({ status, message }) => health('bad', status ? `health: ${status}` : 'no answer', message) }),
  subsz: new Poll({ everyMs: 2000, question: () => (signal) => ask('subsz', signal), onAnswer: onSubsz, onFailure: noteOf('subscriptions-note') }),
  connz: new Poll({ everyMs: 2000, share: LISTS_SHARE, question: connzQuestion, onAnswer: onConnz, onFailure: noteOf('connections-note') }),
  accstatz: new Poll({ everyMs: 2000, share: LISTS_SHARE, question: () => (signal) => ask('accstatz?unused=true', signal), onAnswer: onAccstatz, onFailure: noteOf('accounts-note') }),
  jsz: new Poll({ everyMs: 2000, share: LISTS_SHARE, question: jszQuestion, onAnswer: onJsz, onFailure: noteOf('streams-note') }),
};

function showPolls() {
  const failing = Object.entries(polls).filter(([name, poll]) => poll.failingSince && name !== 'shardz').map(([name]) => name);
  const text = failing.length ? `no answer to: ${failing.join(', ')}` : `last answer ${timeOfDay(Date.now())}`;
  if ($('polls').textContent !== text) $('polls').textContent = text;
}

$('window').addEventListener('change', () => {
  windowSeconds = Number($('window').value);
  drawPlots();
});

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  $('pause').textContent = paused ? 'Go on' : 'Pause';
  for (const poll of Object.values(polls)) {
    if (paused) poll.stop();
    else poll.start();
  }
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden || paused) return;
  drawPlots();
  for (const [name, poll] of Object.entries(polls)) if (name !== 'varz') poll.now();
});

// Colours: the system's, or what was chosen here. A browser may forbid to remember it.
const THEMES = { auto: 'Auto', light: 'Light', dark: 'Dark' };
let theme = 'auto';
try {
  theme = localStorage.getItem('skein-theme') ?? 'auto';
} catch {
  // It is not remembered.
}

function setTheme(name) {
  theme = name in THEMES ? name : 'auto';
  document.documentElement.dataset.theme = theme;
  $('theme').textContent = THEMES[theme];
  plots.forEach((each) => each.recolor());
}

$('theme').addEventListener('click', () => {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(theme) + 1) % names.length]);
  try {
    localStorage.setItem('skein-theme', theme);
  } catch {
    // It is not remembered.
  }
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plots.forEach((each) => each.recolor()));
setTheme(theme);

for (const poll of Object.values(polls)) poll.start();
