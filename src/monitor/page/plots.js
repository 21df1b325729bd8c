// Plots over time, drawn by uPlot. Knows which columns of the history to draw, and not where they come from.
/* global uPlot */

const HEIGHT = 190;
const HEIGHT_SMALL = 130;
const SYNC = 'skein';
/** A page that was just opened shows the little there is in this much room, and not at the edge of an hour. */
const SPAN_MIN_SECONDS = 30;
const POWERS_OF_TEN = Array.from({ length: 10 }, (_, power) => 10 ** power);
/** Round numbers where a kilobyte is 1,024 bytes. */
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Colours stand in the style sheet, where light and dark are told apart. */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Plot {
  #uplot;
  #root;
  #canvas;
  #values = [];
  #visible = true;
  #data;

  /**
   * `series`: `{ column, label, color, fill? }`; `format` spells a value; `floor` is the least upper end of the axis; `log`
   * draws on a logarithmic axis from 1, `binary` on one of powers of two.
   */
  constructor(parent, { title, series, format, floor = 1, log = false, small = false, binary = false }, history) {
    Object.assign(this, { series, format, floor, log, binary, height: small ? HEIGHT_SMALL : HEIGHT, history });
    this.#root = document.createElement('figure');
    this.#root.className = 'plot';
    const caption = document.createElement('figcaption');
    const name = document.createElement('h3');
    name.textContent = title;
    const legend = document.createElement('ul');
    for (const { label, color: hue } of series) {
      const item = document.createElement('li');
      item.dataset.color = hue;
      const value = document.createElement('output');
      item.append(label, ' ', value);
      legend.append(item);
      this.#values.push(value);
    }
    caption.append(name, legend);
    this.#canvas = document.createElement('div');
    this.#canvas.className = 'canvas';
    this.#canvas.style.setProperty('--plot-height', `${this.height}px`);
    this.#root.append(caption, this.#canvas);
    parent.append(this.#root);

    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    new IntersectionObserver(([entry]) => {
      this.#visible = entry.isIntersecting;
      if (this.#visible) this.draw();
    }, { rootMargin: '100px' }).observe(this.#root);
  }

  /** Draws the last `seconds` of the history, if it can be seen. */
  draw(seconds = this.seconds) {
    this.seconds = seconds;
    this.#tell();
    if (!this.#visible || !seconds || document.hidden) return;
    const data = this.history.window(seconds, this.series.map(({ column }) => column));
    // A logarithm has no zero.
    if (this.log) for (let i = 1; i < data.length; i += 1) data[i] = data[i].map((v) => (v === null ? null : Math.max(v, 1)));
    this.#data = data;
    if (this.#uplot) this.#uplot.setData(data);
    else this.#make();
  }

  /** With other colours, everything is drawn anew. */
  recolor() {
    this.#uplot?.destroy();
    this.#uplot = undefined;
    this.draw();
  }

  #resize() {
    const width = this.#canvas.clientWidth;
    if (this.#uplot && width > 0 && width !== this.#uplot.width) this.#uplot.setSize({ width, height: this.height });
  }

  #make() {
    const width = this.#canvas.clientWidth;
    if (width === 0) return;
    const axis = {
      stroke: color('muted'),
      grid: { stroke: color('grid'), width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    };
    this.#uplot = new uPlot({
      width,
      height: this.height,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: true, range: () => this.#times() },
        y: this.log
          ? { distr: 3, range: (_, _min, max) => [1, 10 ** Math.ceil(Math.log10(Math.max(max ?? 0, this.floor) * 1.05))] }
          : { range: (_, _min, max) => [0, Math.max((max ?? 0) * 1.12, this.floor)] },
      },
      axes: [
        { ...axis, size: 30, gap: 8, space: 70, values: (_, splits, _axis, _space, step) => splits.map((s) => clock(s, step)) },
        {
          ...axis,
          size: 64,
          gap: 6,
          space: 32,
          values: (_, splits) => splits.map((v) => (v === null ? '' : this.format(v))),
          ...(this.binary ? { incrs: BINARY_STEPS } : {}),
          ...(this.log ? { splits: (_, _index, _min, max) => POWERS_OF_TEN.filter((power) => power <= max), filter: (_, splits) => splits } : {}),
        },
      ],
      series: [
        {},
        ...this.series.map(({ color: hue, fill }) => ({
          stroke: color(hue),
          width: 1.6,
          fill: fill ? `${color(hue)}22` : undefined,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [() => this.#tell()], drawAxes: [(u) => this.#drawRestarts(u)] },
    }, this.#data, this.#canvas);
  }

  #times() {
    const { times } = this.history;
    const last = times.at(-1) ?? Date.now() / 1000;
    const first = Math.min(times[0] ?? last, last - SPAN_MIN_SECONDS);
    return [Math.max(last - (this.seconds ?? 60), first), last];
  }

  #drawRestarts(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = color('warn');
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const moment of this.history.restarts) {
      // In the middle of a pixel, where it is sharp.
      const x = Math.floor(u.valToPos(moment, 'x', true)) + (devicePixelRatio % 2) / 2;
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** The values under the cursor, or else the last ones. */
  #tell() {
    const at = this.#uplot?.cursor.idx;
    this.series.forEach(({ column }, i) => {
      const values = this.history.columns.get(column);
      const value = at === null || at === undefined ? values?.at(-1) : this.#data[i + 1][at];
      this.#values[i].textContent = this.format(value);
    });
  }
}

/** Seconds only where the axis has room to tell them apart. */
function clock(seconds, step) {
  const time = new Date(seconds * 1000);
  const two = (n) => String(n).padStart(2, '0');
  const minutes = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return step < 60 ? `${minutes}:${two(time.getSeconds())}` : minutes;
}
