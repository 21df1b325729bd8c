// Counters to rates, and what the plots remember. Knows nothing of the page or of requests.

/** How much is remembered: an hour at one sample a second. */
const SAMPLES_MAX = 3600;

/**
 * Turns counters that only grow into rates per second, by the server's own clock. A counter that went back, and
 * the first sample after `forget`, give null: there is no rate then, and never a negative one.
 */
export class Rates {
  #last = new Map();

  forget() {
    this.#last.clear();
  }

  /** `epoch` tells one life of the counters from another. `counters`: name → value. Answers name → rate or null. */
  update(key, epoch, nowMs, counters) {
    const before = this.#last.get(key);
    // Two answers of the same moment say nothing about a rate: the older one stays.
    if (before && before.epoch === epoch && nowMs - before.nowMs < 50) return before.rates;
    const rates = {};
    for (const [name, value] of Object.entries(counters)) {
      const previous = before?.epoch === epoch ? before.counters[name] : undefined;
      const grown = value - previous;
      rates[name] = grown >= 0 ? (grown * 1000) / (nowMs - before.nowMs) : null;
    }
    this.#last.set(key, { epoch, nowMs, counters, rates });
    return rates;
  }

  /** Forgets every key that was not updated to a moment since `nowMs`, so that what is gone takes no memory. */
  keepSince(nowMs) {
    for (const [key, entry] of this.#last) if (entry.nowMs < nowMs) this.#last.delete(key);
  }
}

/** Columns of equal length over time; what was not measured is null, and a gap in the plot. */
export class History {
  times = [];
  columns = new Map();
  /** Moments at which the server was another one than before. */
  restarts = [];

  push(seconds, values) {
    // Plots want time to run forwards, also where the computer's clock was set back.
    const last = this.times.at(-1);
    if (last !== undefined && seconds <= last) seconds = last + 0.001;
    this.times.push(seconds);
    for (const name of Object.keys(values)) {
      if (!this.columns.has(name)) this.columns.set(name, Array(this.times.length - 1).fill(null));
    }
    for (const [name, column] of this.columns) {
      const value = values[name];
      column.push(typeof value === 'number' && Number.isFinite(value) ? value : null);
    }
    if (this.times.length > SAMPLES_MAX + 60) {
      const surplus = this.times.length - SAMPLES_MAX;
      this.times.splice(0, surplus);
      for (const column of this.columns.values()) column.splice(0, surplus);
      this.restarts = this.restarts.filter((moment) => moment >= this.times[0]);
    }
  }

  /** The last `seconds` of the named columns, in the shape that uPlot wants. */
  window(seconds, names) {
    const since = (this.times.at(-1) ?? 0) - seconds;
    let first = this.times.length;
    while (first > 0 && this.times[first - 1] >= since) first -= 1;
    const blank = Array(this.times.length - first).fill(null);
    return [this.times.slice(first), ...names.map((name) => this.columns.get(name)?.slice(first) ?? blank)];
  }
}
