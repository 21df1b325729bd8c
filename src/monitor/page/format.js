// Numbers and times as an operator reads them. Knows nothing of the page or of the server.

const SI = ['', 'k', 'M', 'G', 'T', 'P'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
export const NONE = '–';

const known = (value) => typeof value === 'number' && Number.isFinite(value);

function scaled(value, step, units, gap) {
  let unit = 0;
  let size = Math.abs(value);
  // 999.5 would be rounded to 1000 of the smaller unit.
  while (size >= step * 0.9995 && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  const digits = unit === 0 && Number.isInteger(value) ? 0 : size < 10 ? 2 : size < 100 ? 1 : 0;
  return `${value < 0 ? '-' : ''}${size.toFixed(digits)}${units[unit] ? gap + units[unit] : ''}`;
}

/** 12345 → "12.3 k" */
export function count(value) {
  if (!known(value)) return NONE;
  if (Math.abs(value) < 10000 && Number.isInteger(value)) return value.toLocaleString('en-US');
  return scaled(value, 1000, SI, ' ');
}

/** Rates: never more than three digits, never a fraction of a fraction. */
export function rate(value) {
  if (!known(value)) return NONE;
  if (value !== 0 && Math.abs(value) < 0.05) return '<0.1';
  return Math.abs(value) < 100 ? String(Math.round(value * 10) / 10) : scaled(value, 1000, SI, ' ');
}

export function bytes(value) {
  return known(value) ? scaled(value < 1024 ? Math.round(value) : value, 1024, BINARY, ' ') : NONE;
}

/** Microseconds. */
export function micros(value) {
  if (!known(value)) return NONE;
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1e3).toPrecision(3)} ms`;
  return `${(value / 1e6).toPrecision(3)} s`;
}

export function percent(value) {
  return known(value) ? `${value < 10 ? value.toFixed(1) : Math.round(value)} %` : NONE;
}

/** Seconds → "3 d 4 h", the two largest units. */
export function duration(seconds) {
  if (!known(seconds) || seconds < 0) return NONE;
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const whole = Math.floor(seconds);
  const first = parts.findIndex(([size]) => whole >= size);
  if (first < 0) return `${whole} s`;
  const [size, unit] = parts[first];
  const text = `${Math.floor(whole / size)} ${unit}`;
  const next = parts[first + 1];
  const rest = next ? Math.floor((whole % size) / next[0]) : 0;
  return rest ? `${text} ${rest} ${next[1]}` : text;
}

/** "19.351185ms", as Go spells durations → microseconds. */
export function parseGoDuration(text) {
  const units = { ns: 1e-3, 'µs': 1, 'μs': 1, us: 1, ms: 1e3, s: 1e6, m: 6e7, h: 3.6e9 };
  let sum;
  for (const [, number, unit] of String(text ?? '').matchAll(/([\d.]+)(ns|[µμu]s|ms|s|m|h)/g)) {
    sum = (sum ?? 0) + Number(number) * units[unit];
  }
  return sum;
}

/** RFC 3339 → milliseconds since 1970, with their fraction; undefined for anything else. */
export function parseTime(text) {
  const whole = Date.parse(text);
  if (Number.isNaN(whole)) return undefined;
  const fraction = /\.\d{3}(\d+)/.exec(text);
  return whole + (fraction ? Number(`0.${fraction[1]}`) : 0);
}

export function timeOfDay(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString([], { hour12: false });
}
