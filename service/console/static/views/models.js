// All models of the server: search, sort, and the problems of the store.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { text } from '../lib/api.js';
import { ago, count, dateTime, number, plural, words } from '../lib/format.js';
import { Empty, Failure, Loading, modelPath, poll, useGet } from '../lib/parts.js';
import { START_NAME, areSeveral, startIn } from '../lib/servers.js';

const EVERY = 5000; // ms
const SHOWN = 200; // rows at first; a store may have thousands
const REQUESTS = /^(axon_requests_total\{model="([^"]*)",[^}]*\}) (\S+)/gm;
const PATH = `metrics?name%5B%5D=${START_NAME}&name%5B%5D=axon_requests_total`;
const HEADLINES = ['accuracy', 'r2'];

/** Returns the main figure of a model's test part as `[name, value]`, or undefined. */
export const headline = (metrics) => {
  const names = Object.keys(metrics).filter((name) => name !== 'rows');
  const name = HEADLINES.find((known) => names.includes(known)) ?? names[0];
  return name && [name, metrics[name]];
};

/**
 * Returns the requests per second of each model between two readings of a server that did not start again meanwhile. A
 * counter that fell did not begin again at 0: some of the server's processes have already removed a version.
 */
export function ratesOf(series, before, seconds) {
  const rates = new Map();
  for (const [name, [model, n]] of series) {
    const [, then] = before.get(name) ?? [model, 0];
    rates.set(model, (rates.get(model) ?? 0) + Math.max(0, n - then) / seconds);
  }
  return rates;
}

/** Returns the requests per second of each model, by name; null while there are not two readings, one after the other. */
function useRates() {
  const [rates, setRates] = useState(null);
  useEffect(() => {
    let before = null;
    let isMeasured = false;
    let isRefused = false; // a key without the scope, or no metrics here
    return poll(async (signal) => {
      let now = null;
      try {
        const found = await text(PATH, { signal });
        now = { time: performance.now(), start: startIn(found), series: new Map() };
        for (const [, series, model, n] of found.matchAll(REQUESTS)) now.series.set(series, [model, Number(n)]);
      } catch ({ status }) { isRefused = status === 403 || status === 404; } // another fault may pass: the column is empty meanwhile
      if (signal.aborted) return;
      const passed = now && before && now.time - before.time;
      // Not while the page was hidden, and not of two servers, or of one that started again.
      isMeasured = passed > 0 && passed < 2 * EVERY && now.start === before.start && !areSeveral();
      setRates(isMeasured ? ratesOf(now.series, before.series, passed / 1000) : null);
      before = now;
    }, () => (isRefused ? 0 : isMeasured || !before || areSeveral() ? EVERY : EVERY / 3));
  }, []);
  return rates;
}

const targetText = (target) => (typeof target === 'number' ? target : Object.entries(target.weights)
  .map(([version, weight]) => `${version}: ${number(weight)} %`).join(', '));

const Aliases = ({ model }) => html`${Object.entries(model.aliases).map(([alias, target]) => html`
  <span class="chip">${alias} → ${targetText(target)}</span>`)}
  ${Object.entries(model.shadows).map(([alias, shadow]) => html`
    <span class="chip" title=${`Copies of the requests of ${alias}`}>shadow ${shadow.version}</span>`)}`;

const COLUMNS = [
  { id: 'name', title: 'Model', of: (model) => model.name },
  { id: 'task', title: 'Task', wide: true, of: (model) => model.task },
  { id: 'params', title: 'Parameters', wide: true, right: true, of: (model) => model.total_params },
  { id: 'score', title: 'Test score', right: true, of: (model) => headline(model.metrics)?.[1] ?? -Infinity },
  { id: 'published', title: 'Published', wide: true, right: true, of: (model) => model.published },
  { id: 'rate', title: 'Requests/s', right: true, of: (model, rates) => rates?.get(model.name) ?? 0 },
];

function ModelRow({ model, rates }) {
  const score = headline(model.metrics);
  return html`<tr>
    <th scope="row"><a href=${modelPath(model.name)}>${model.name}</a><span class="muted">@${model.version}</span>
      ${' '}<${Aliases} model=${model} />
      <div class="muted narrow">${model.task}, ${plural(model.total_params, 'parameter')}, ${ago(model.published)}</div></th>
    <td class="wide">${model.task}</td>
    <td class="wide right">${count(model.total_params)}</td>
    <td class="right">${score ? html`${number(score[1])} <span class="muted">${words(score[0])}</span>` : '–'}</td>
    <td class="wide right"><time datetime=${model.published} title=${dateTime(model.published)}>${ago(model.published)}</time></td>
    <td class="right rate">${rates ? number(rates.get(model.name) ?? 0, 3) : '–'}</td></tr>`;
}

const Heading = ({ column, sort, setSort }) => {
  const turned = sort === column.id ? `-${column.id}` : column.id;
  const order = sort === column.id ? 'ascending' : sort === `-${column.id}` ? 'descending' : undefined;
  return html`<th scope="col" class=${`${column.wide ? 'wide' : ''} ${column.right ? 'right' : ''}`} aria-sort=${order}>
    <button class="sort" onClick=${() => setSort(turned)}>${column.title}<span aria-hidden="true">${
  order ? (order === 'ascending' ? ' ↑' : ' ↓') : ''}</span></button></th>`;
};

const Problems = ({ problems }) => html`<section class="notice bad" aria-labelledby="problems">
  <h2 id="problems">${plural(Object.keys(problems).length, 'problem')} in the store</h2>
  <dl class="facts">${Object.entries(problems).map(([id, reason]) => html`<div><dt class="mono">${id || 'the store'}</dt>
    <dd>${reason}</dd></div>`)}</dl></section>`;

const Nothing = () => html`<${Empty} title="No model yet">
  <p>This trains one on a table, and the server finds it within two seconds:</p>
  <pre class="mono">axon fit flowers.csv --target species</pre><//>`;

/** The list of models. The search and the order are in the address, so that a reload keeps them. */
export default function Models({ parameters }) {
  const { data, error, reload } = useGet('models', EVERY);
  const rates = useRates();
  const [search, setSearch] = useState(parameters.get('q') ?? '');
  const [sort, setSort] = useState(parameters.get('sort') ?? 'name');
  const [most, setMost] = useState(SHOWN);
  const field = useRef();
  useLayoutEffect(() => { // before the paint: a later one could write over a link that was followed
    const query = new URLSearchParams();
    if (search) query.set('q', search);
    if (sort !== 'name') query.set('sort', sort);
    history.replaceState(null, '', `#/models${query.size ? `?${query}` : ''}`);
  }, [search, sort]);
  useEffect(() => {
    const jump = (event) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault();
      field.current?.focus();
    };
    addEventListener('keydown', jump);
    return () => removeEventListener('keydown', jump);
  }, []);
  const rows = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    const found = (data?.models ?? []).filter((model) => [model.name, model.task, ...Object.keys(model.aliases)]
      .some((text) => text.toLowerCase().includes(wanted)));
    const column = COLUMNS.find(({ id }) => id === sort.replace('-', '')) ?? COLUMNS[0];
    const down = sort.startsWith('-') ? -1 : 1;
    const by = (a, b) => { // equal ones by name
      const [x, y] = [column.of(a, rates), column.of(b, rates)];
      return (x < y ? -down : x > y ? down : 0) || (a.name < b.name ? -1 : 1);
    };
    return found.sort(by);
  }, [data, search, sort, sort.endsWith('rate') && rates]);
  const total = data?.models.length ?? 0;
  return html`<div class="stack">
    <div class="row spread"><h1>Models</h1>
      <label class="field inline"><span class="visually-hidden">Search by name, task or alias</span>
        <input ref=${field} type="search" placeholder="Search ( / )" value=${search}
          onInput=${(event) => setSearch(event.target.value)} /></label></div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${data && Object.keys(data.problems).length > 0 && html`<${Problems} problems=${data.problems} />`}
    ${!data && !error && html`<${Loading} lines=${12} />`}
    ${data && total === 0 && html`<${Nothing} />`}
    ${total > 0 && html`<table class="table models">
      <caption class="visually-hidden">Models of this server</caption>
      <thead><tr>${COLUMNS.map((column) => html`<${Heading} key=${column.id} column=${column} sort=${sort} setSort=${setSort} />`)}</tr></thead>
      <tbody>${rows.slice(0, most).map((model) => html`<${ModelRow} key=${model.name} model=${model} rates=${rates} />`)}</tbody>
    </table>
    <p class="muted" role="status">${rows.length === total ? plural(total, 'model') : `${count(rows.length)} of ${plural(total, 'model')}`}${
  areSeveral() ? '. Several servers answer at this address, and each counts its own requests.' : ''}</p>
    ${rows.length > most && html`<button class="button" onClick=${() => setMost(most + 1000)}>
      Show ${count(Math.min(1000, rows.length - most))} more</button>`}`}
  </div>`;
}
