// What the server does now and did in the last minutes, from its metrics.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { text } from '../lib/api.js';
import { LineChart } from '../lib/charts.js';
import { bytes, count, number, plural, seconds } from '../lib/format.js';
import { NAMES, parse, quantile, tickOf } from '../lib/metrics.js';
import { Failure, Loading, poll } from '../lib/parts.js';
import { START_NAME, areSeveral, startIn } from '../lib/servers.js';

const EVERY = 2000; // ms
const KEPT = 300_000; // ms
const PATH = `metrics?${[...NAMES, START_NAME].map((name) => `name%5B%5D=${name}`).join('&')}`;

// Kept while the page is open, so that a look at another view loses nothing.
const ticks = [];
let last = null;

function take(found, watched, began) {
  const time = performance.now();
  const [samples, start] = [parse(found), startIn(found)];
  if (last) {
    const passed = time - last.time;
    if (passed <= 2.5 * Math.max(EVERY, last.took) && start === last.start && !areSeveral()) ticks.push(tickOf(samples, last.samples, time, passed / 1000, watched));
    else ticks.push({ time: last.time + 1, models: null }); // the page was hidden, or these are counts of another start: nobody knows when these requests came
    const first = ticks.findIndex((tick) => tick.time - 1000 * (tick.seconds ?? 0) >= time - KEPT);
    ticks.splice(0, first < 0 ? ticks.length : first);
  }
  last = { samples, start, time, took: time - began };
}

/** Scrapes again and again while the page is seen, and keeps the figures of one model. Returns the last error. */
function useScrapes(model) {
  const watched = useRef();
  watched.current = model;
  const [state, setState] = useState({ error: null }); // another object after each scrape, so that the figures are drawn
  useEffect(() => poll(async (signal) => {
    const began = performance.now();
    try {
      take(await text(PATH, { signal }), watched.current, began);
      setState({ error: null });
    } catch (error) {
      if (!signal.aborted) setState({ error });
    }
  }, (took) => Math.max(EVERY / 4, EVERY - took)), []);
  return state;
}

const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' });
const timeText = (time) => clock.format(performance.timeOrigin + time);
const rate = (value) => `${number(value, 3)}/s`;

const CHARTS = [
  ['Requests', rate, [['answered', (f, s) => (f.requests - f.refused - f.failed) / s], ['refused (4xx)', (f, s) => f.refused / s], ['failed (5xx)', (f, s) => f.failed / s]]],
  ['Time of a request', seconds, [['p50', (f) => quantile(0.5, f.seconds)], ['p95', (f) => quantile(0.95, f.seconds)], ['p99', (f) => quantile(0.99, f.seconds)]]],
  ['Rows', rate, [['predicted', (f, s) => f.rows / s]]],
  ['Rows of a batch', (value) => number(value, 3), [['mean', (f) => (f.batches ? f.batchRows / f.batches : null)], ['p95', (f) => quantile(0.95, f.sizes)]]],
];
const NOTHING = { requests: 0, refused: 0, failed: 0, rows: 0, batches: 0, batchRows: 0, seconds: new Map(), sizes: new Map() };

const Tile = ({ name, value, note, isBad }) => html`<div class=${`tile ${isBad ? 'bad' : ''}`}><dt>${name}</dt><dd>${value}</dd>${note && html`<dd class="muted">${note}</dd>`}</div>`;

function Tiles({ now, total }) {
  const began = now.starts - now.workers;
  return html`<dl class="tiles"><${Tile} name="Workers" value=${`${count(now.up)} of ${count(now.workers)}`} isBad=${now.up < now.workers || !now.workers}
      note=${began > 0 ? `${plural(began, 'restart')} so far` : 'none restarted'} />
    <${Tile} name="Rows that wait" value=${count(now.queue)} />
    <${Tile} name="Requests" value=${count(total((figures) => figures.requests))} note="of the last five minutes at most" />
    <${Tile} name="Refused, failed" value=${`${count(total((figures) => figures.refused))}, ${count(total((figures) => figures.failed))}`} isBad=${total((figures) => figures.failed) > 0} note="4xx, 5xx" />
    <${Tile} name="Memory" value=${bytes(now.bytes)} note="of all processes, shared pages in each" /></dl>`;
}

/** The view of the running server. */
export default function LiveView() {
  const [model, setModel] = useState('');
  const { error } = useScrapes(model);
  const shown = ticks.filter(({ models }) => models);
  const now = shown.at(-1);
  if (areSeveral()) {
    return html`<h1>Live</h1>${error && html`<${Failure} error=${error} />`}<div class="notice warn" role="status"><h2>Several servers answer at this address</h2>
      <p>Each counts its own requests, and the console reads one of them at a time. Open one server by its own address, or watch all of them in Prometheus.</p></div>`;
  }
  if (!now) return html`<h1>Live</h1>${error ? html`<${Failure} error=${error} />` : html`<${Loading} lines=${12} />`}`;
  const names = [...new Set(shown.flatMap(({ models }) => [...models.keys()]))].filter(Boolean).sort();
  const figures = ({ models, isCut }) => models && (models.get(model) ?? (isCut ? null : NOTHING)); // null: not known
  const total = (of) => shown.reduce((sum, tick) => sum + of(figures(tick) ?? NOTHING), 0);
  const x = ticks.map(({ time }) => time);
  return html`<div class="stack"><div class="row spread"><h1>Live</h1><label class="field inline">Model
      <select value=${model} onChange=${(event) => setModel(event.target.value)}><option value="">all</option>${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label></div>
    ${error && html`<${Failure} error=${error} />`}
    <${Tiles} now=${now} total=${total} />
    <div class="charts">${CHARTS.map(([label, format, series]) => html`<div class="card"><${LineChart} label=${label} format=${format} formatX=${timeText} x=${x}
      series=${series.map(([name, of]) => ({ name, values: ticks.map((tick) => figures(tick) && of(figures(tick), tick.seconds)) }))} /></div>`)}
      <div class="card"><${LineChart} label="Queue" format=${(value) => plural(Math.round(value), 'row')} formatX=${timeText} x=${x}
        series=${[{ name: 'waiting', values: ticks.map(({ models, queue }) => (models ? queue : null)) }]} /></div></div>
    <p class="muted">Measured every two seconds while this page is seen; the last five minutes. Percentiles are interpolated within the buckets of the histogram, as Prometheus does.</p></div>`;
}
