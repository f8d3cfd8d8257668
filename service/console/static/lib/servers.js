// Which server answers: behind a load balancer the figures of one scrape may be another server's than those of the next.

const KEPT = 300_000; // ms
const START = /^axon_start_time_seconds(?:\{\})? (\S+)/m;

/** Name of the metric that `startIn` reads. */
export const START_NAME = 'axon_start_time_seconds';

let last = null;
let alternated = -Infinity;

/**
 * Returns the time at which the server started that wrote a text of metrics, null if there is none. A server that starts
 * again starts later, so an earlier time than the last one is that of another server.
 */
export function startIn(text) {
  const found = START.exec(text);
  if (!found) return null;
  const start = Number(found[1]);
  if (last !== null && start < last) alternated = performance.now();
  last = start;
  return start;
}

/** Tells if several servers answered by turns in the last five minutes. */
export const areSeveral = () => performance.now() - alternated < KEPT;
