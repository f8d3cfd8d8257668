// Prometheus' text format, and what the counters say between two scrapes.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const INFINITE = { '+Inf': Infinity, Inf: Infinity, '-Inf': -Infinity };
const unescaped = (text) => text.replace(/\\(.)/g, (_, mark) => (mark === 'n' ? '\n' : mark));

/** Returns the samples of a text as `{ key, name, labels, value }`; `key` is the name with its labels. */
export function parse(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const found = line[0] === '#' ? null : LINE.exec(line);
    if (!found) continue;
    const [, name, inner = '', value] = found;
    const labels = {};
    for (const [, label, content] of inner.matchAll(LABEL)) labels[label] = unescaped(content);
    samples.push({ key: `${name}{${inner}}`, name, labels, value: INFINITE[value] ?? Number(value) });
  }
  return samples;
}

/**
 * Returns a function from a sample to its increase since an earlier scrape of a server that did not start again meanwhile.
 * A counter that fell did not begin again at 0: some of the server's processes have already removed a version.
 */
export function increases(before) {
  const old = new Map(before.map(({ key, value }) => [key, value]));
  return ({ key, value }) => Math.max(0, value - (old.get(key) ?? 0));
}

/** Returns a quantile of a histogram as Prometheus does, null if it is empty. `buckets`: bounds → cumulative counts. */
export function quantile(q, buckets) {
  const ascending = [...buckets].sort(([a], [b]) => a - b);
  const total = ascending.at(-1)?.[1];
  if (!total) return null;
  const at = ascending.findIndex(([, count]) => count >= q * total);
  const [high, upto] = ascending[at];
  const [low, below] = ascending[at - 1] ?? [0, 0];
  return high === Infinity ? low : low + (high - low) * ((q * total - below) / (upto - below));
}

/** Metrics that `tickOf` reads. */
export const NAMES = ['axon_requests_total', 'axon_rows_total', 'axon_request_seconds', 'axon_batch_rows', 'axon_queue_rows',
  'axon_worker_up', 'axon_worker_starts_total', 'axon_process_resident_bytes'];

const none = () => ({ requests: 0, refused: 0, failed: 0, rows: 0, batches: 0, batchRows: 0, seconds: new Map(), sizes: new Map() });
const add = (map, key, value) => map.set(key, (map.get(key) ?? 0) + value);
const BUSIEST = 32; // models of a tick that are kept, besides the one that is watched

function countIn(figures, name, labels, increase) {
  if (name === 'axon_requests_total') {
    figures.requests += increase;
    if (labels.status >= 500) figures.failed += increase;
    else if (labels.status >= 400) figures.refused += increase;
  } else if (name === 'axon_rows_total') figures.rows += increase;
  else if (name === 'axon_batch_rows_count') figures.batches += increase;
  else if (name === 'axon_batch_rows_sum') figures.batchRows += increase;
  else if (name === 'axon_request_seconds_bucket') add(figures.seconds, INFINITE[labels.le] ?? Number(labels.le), increase);
  else if (name === 'axon_batch_rows_bucket') add(figures.sizes, INFINITE[labels.le] ?? Number(labels.le), increase);
}

/**
 * Returns what happened between two scrapes: the figures by model (`''`: of all), and the gauges of now. A model that is
 * not there had no requests, or is among those that were left out, if `isCut` is true.
 */
export function tickOf(samples, before, time, seconds, watched = '') {
  const since = increases(before);
  const models = new Map([['', none()], [watched, none()]]);
  const still = []; // buckets that did not grow: the bounds below the first one that did
  const gauges = { queue: 0, workers: 0, up: 0, starts: 0, bytes: 0 };
  for (const sample of samples) {
    const { name, labels, value } = sample;
    if (name === 'axon_queue_rows') gauges.queue += value;
    else if (name === 'axon_worker_up') {
      gauges.workers += 1;
      gauges.up += value;
    } else if (name === 'axon_worker_starts_total') gauges.starts += value;
    else if (name === 'axon_process_resident_bytes') gauges.bytes += value;
    else if ('model' in labels || 'le' in labels) {
      const increase = since(sample);
      const { model = '' } = labels;
      if (!increase) {
        if ('le' in labels) still.push([model, name, labels]);
        continue;
      }
      if (!models.has(model)) models.set(model, none());
      for (const key of new Set(['', model])) countIn(models.get(key), name, labels, increase);
    }
  }
  for (const [model, name, labels] of still) {
    for (const key of new Set(['', model])) if (models.has(key)) countIn(models.get(key), name, labels, 0);
  }
  const busiest = [...models].sort(([, a], [, b]) => b.requests - a.requests).slice(0, BUSIEST);
  const kept = new Map([...['', watched].map((name) => [name, models.get(name)]), ...busiest]);
  return { time, seconds, models: kept, isCut: kept.size < models.size, ...gauges };
}
