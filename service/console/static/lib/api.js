// Requests to the server: the API key, errors, and waiting while the server is away.

const KEY = 'axon.key';
const MOST_WAIT = 8; // seconds between two tries
const LOADING = 10_000; // ms for which a server that is up may not be ready
// Limits in ms, since a server or network that hangs closes no connection: the request is then as good as lost.
const PROBE = 5_000;
const GET = 20_000; // until an answer begins
const POST = 60_000; // the server's own deadline, 30 s by default, comes first
const BODY = 120_000; // for a large answer over a slow network

/** Events: `key` (a key is needed, or there is another one) and `connection` (lost, restored, next try). */
export const events = new EventTarget();
const tell = (name) => events.dispatchEvent(new Event(name));

/** The state of the connection: `lost`, and the seconds until the next try. */
export const connection = { lost: false, wait: 0 };

let kept = null; // the key, where the browser keeps no data of sites: until the page is left

/** The API key of this tab, which ends with the tab. `refused`: why a key cannot be used, or nothing. */
export const apiKey = {
  needed: document.documentElement.dataset.keys === 'needed',
  refused: '',
  get value() {
    try { return sessionStorage.getItem(KEY); } catch { return kept; }
  },
  set value(given) {
    apiKey.refused = /[^ -~]/.test(given ?? '') ? 'A key has letters, digits and marks of ASCII alone: copy the key again.' : '';
    if (!apiKey.refused) { // no header can hold another character, and fetch would fail as if the server were away
      kept = given;
      try {
        if (given) sessionStorage.setItem(KEY, given);
        else sessionStorage.removeItem(KEY);
      } catch { /* `kept` holds it */ }
    }
    tell('key');
  },
};

/** An error answer. `status` is 0 if there is no answer. */
export class ApiError extends Error {
  constructor(status, { title = '', detail = '', errors = [] } = {}) {
    super(detail || title || `The server answered ${status}.`);
    Object.assign(this, { status, title, detail: this.message, errors });
  }
}

const address = (path) => new URL(path, document.baseURI);
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

let hurry = () => {};
let returning = null;

/** Tries to reach the server now, not only after the wait. */
export const tryNow = () => hurry();

/** Waits for the server, with longer and longer pauses. */
function untilBack() {
  returning ??= (async () => {
    let up = null;
    for (let wait = 0.5; ; wait = Math.min(2 * wait, up ? 1 : MOST_WAIT)) {
      Object.assign(connection, { lost: true, wait });
      tell('connection');
      await Promise.race([sleep(wait), new Promise((done) => { hurry = done; })]);
      try {
        const { ok } = await fetch(address('health/ready'), { cache: 'no-store', signal: AbortSignal.timeout(PROBE) });
        up ??= performance.now();
        if (ok || performance.now() - up > LOADING) break;
      } catch { up = null; }
    }
    returning = null;
    Object.assign(connection, { lost: false, wait: 0 });
    tell('connection');
  })();
  return returning;
}

/** Waits until the server answers; true if it did not answer at once. */
export const restored = () => fetch(address('health/live'), { cache: 'no-store', signal: AbortSignal.timeout(PROBE) }).then(() => false, () => untilBack().then(() => true));

/** Returns a document; a whole number beyond 2^53, such as a label of 64 bits, as the text that stands there. */
const parsed = (text) => JSON.parse(text, /(?<![\d.])\d{16}/.test(text)
  ? (_, value, { source } = {}) => (Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? source : value) : undefined);
const json = async (response) => parsed(await response.text());

const NONE = { cells: 0, columns: [] };

/** Returns how many cells of a request had a category that training did not see, and of which columns, as far as told. */
export function unknownIn({ headers }) {
  const cells = Number(headers.get('X-Axon-Unknown-Categories'));
  return cells ? { cells, columns: (headers.get('X-Axon-Unknown-Columns') ?? '').split(', ').filter(Boolean).map((part) => {
    const [name, n] = part.split('=');
    return [decodeURIComponent(name), Number(n)];
  }) } : NONE;
}

/** Writes the number of such cells by column. */
export function unknownText({ cells, columns }) {
  const named = columns.map(([name, n]) => `${n} of ${name}`);
  const rest = columns.reduce((left, [, n]) => left - n, cells);
  return `Training did not see the categories of ${cells === 1 ? '1 cell' : `${cells} cells`}${
    named.length ? `: ${named.join(', ')}${rest ? `, and ${rest} more` : ''}` : ''}.`;
}

async function problemOf(response) {
  let document = {};
  try { document = await response.json(); } catch { /* an answer of a proxy: the status says it */ }
  if (typeof document.error === 'string') document = { detail: document.error };
  if (response.status === 401) {
    apiKey.needed = true;
    apiKey.refused = apiKey.value ? 'The server does not know this key.' : '';
    tell('key');
  }
  return new ApiError(response.status, document);
}

async function ask(path, { patient = false, headers = {}, ...options }, read) {
  for (;;) {
    const key = apiKey.value;
    const limit = new AbortController();
    const end = () => limit.abort();
    let timer = setTimeout(end, options.method === 'POST' ? POST : GET);
    try {
      const response = await fetch(address(path), {
        ...options, headers: key ? { ...headers, 'X-API-Key': key } : headers, cache: 'no-store',
        signal: AbortSignal.any([limit.signal, ...(options.signal ? [options.signal] : [])]),
      });
      clearTimeout(timer);
      timer = setTimeout(end, BODY);
      if (!response.ok) throw await problemOf(response);
      return await read(response);
    } catch (error) {
      if (error instanceof ApiError || options.signal?.aborted) throw error;
      if (error instanceof SyntaxError) throw new ApiError(200, { detail: `The answer to ${path} is not JSON: does a proxy answer?` });
      const back = untilBack();
      if (!patient) throw new ApiError(0, { title: 'No answer', detail: 'The server does not answer.' });
      await back;
      options.signal?.throwIfAborted();
    } finally { clearTimeout(timer); }
  }
}

/** Sends a request and returns what `read` makes of the `Response`; throws an ApiError for an error answer. */
export const send = (path, options, read) => ask(path, options, read);

/** Returns the JSON answer to a GET; waits while the server is away. */
export const get = (path, options = {}) => ask(path, { patient: true, ...options }, json);

/** Returns the answer to a GET as text. */
export const text = (path, { accept = 'text/plain', ...options } = {}) =>
  ask(path, { patient: true, headers: { Accept: accept }, ...options }, (response) => response.text());

/** Posts an object as JSON, or a text or Blob as it is, and returns the JSON answer with the unknown categories. */
export function post(path, body, { headers = {}, ...options } = {}) {
  const plain = typeof body === 'string' || body instanceof Blob;
  return ask(path, {
    method: 'POST',
    body: plain ? body : JSON.stringify(body),
    headers: plain ? headers : { 'Content-Type': 'application/json', ...headers },
    ...options,
  }, async (response) => ({ ...await json(response), unknown: unknownIn(response) }));
}
