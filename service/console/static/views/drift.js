// How far the rows that a model answers have moved from training: a verdict, then each column with both distributions.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { TwoDistributions } from '../lib/charts.js';
import { ago, count, dateTime, number, percent, plural, words } from '../lib/format.js';
import { text } from '../lib/api.js';
import { Failure, Loading, poll, useGet } from '../lib/parts.js';
import { START_NAME, areSeveral, startIn } from '../lib/servers.js';

const EVERY = 5000; // ms
const LEAST_ROWS = 200;
const VERDICTS = {
  drift: ['bad', 'Drift'], no_drift: ['good', 'No drift'], too_few_rows: ['warn', 'Too few rows for a verdict'], unavailable: ['warn', 'No verdict'],
};
const SHARES = { gaps: 'missing', out_of_range: 'outside the range of training', unknown: 'categories that training did not see' };

const Window = ({ window: { began, ended, rows } }) => html`${plural(rows, 'row')}, from <time datetime=${began} title=${dateTime(began)}>${ago(began)}</time>${' to '}
  <time datetime=${ended} title=${dateTime(ended)}>${ago(ended)}</time>`;

function Verdict({ data, chosen, choose, several }) {
  const [tone, title] = VERDICTS[data.verdict] ?? ['warn', data.verdict];
  const rows = data.current?.rows ?? 0;
  const described = data.window && data[data.window];
  return html`<section class=${`notice ${tone} verdict`} aria-labelledby="verdict"><div role="status"><h2 id="verdict">${title}</h2></div><p>${data.reason}</p>
    ${described && html`<p class="muted">${data.window === 'last' ? 'The last complete window' : 'The window that still grows'}: <${Window} window=${described} />.
      Compared with ${plural(data.training_rows, 'row')} of training.</p>`}
    <p class="muted">Version ${data.version} of ${data.model}${data.columns_left_out ? `; not compared: ${plural(data.columns_left_out, 'column')} beyond the first 1,000` : ''}.${
  several ? ' Several servers answer at this address: this is the window of one of them, and the next reading may be of another.' : ''}</p>
    ${data.verdict === 'too_few_rows' && data.window !== 'last' && html`<label class="field">${count(rows)} of ${LEAST_ROWS} rows
      <progress max=${LEAST_ROWS} value=${Math.min(rows, LEAST_ROWS)}></progress></label>`}
    ${data.last && data.current && html`<div class="row" role="group" aria-label="Window">${[['last', 'Last complete'], ['current', 'Growing']].map(([name, text]) => html`
      <button class="button small" aria-pressed=${data.window === name} onClick=${() => choose(name)}>${text}</button>`)}</div>`}
    ${chosen && !data.window && html`<button class="button small" onClick=${() => choose('')}>Show the usual window</button>`}</section>`;
}

const titleOf = ({ name, kind, isPrediction }) => (isPrediction ? `${kind === name ? words(name) : name} predicted` : name); // or a target

function Variable({ of }) {
  const { kind, flagged, reasons, psi, noise, threshold, p_value: chance, rows_per_independent_row: factor } = of;
  const shares = Object.entries(SHARES).filter(([name]) => of[name]);
  const facts = [
    ['Stability index', html`${number(psi, 3)} <span class="muted">${number(noise, 3)} to expect without drift${threshold === null ? '' : `, flagged from ${number(threshold, 3)}`}</span>`],
    ...(chance === null ? [] : [['By chance', `probability ${number(chance, 2)}`]]),
    ...shares.map(([name, text]) => [words(name), html`${percent(of[name].window)} <span class="muted">${text}; ${percent(of[name].training)} in training</span>`]),
    ...(factor > 1.05 ? [['Similar rows together', `${number(factor, 3)} rows bring as much news as one`]] : []),
  ];
  return html`<section class="card stack" aria-labelledby="variable"><div class="row spread"><h2 id="variable">${titleOf(of)}</h2><span class="chip">${kind}</span></div>
    <p>${flagged ? html`<strong class="fault">Moved beyond chance</strong>: ${reasons.map((reason) => (reason === 'values' ? 'values' : SHARES[reason] ?? reason)).join(', ')}.` : 'Not moved beyond chance.'}</p>
    <${TwoDistributions} key=${of.name} of=${of} />
    <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}

function Variables({ variables }) {
  const [chosen, choose] = useState(null);
  const [search, setSearch] = useState('');
  const key = (one) => `${one.isPrediction ? 'prediction' : 'column'} ${one.name}`;
  const current = variables.find((one) => key(one) === chosen) ?? variables.find(({ flagged }) => flagged) ?? variables[0];
  const found = variables.filter((one) => titleOf(one).toLowerCase().includes(search.trim().toLowerCase()));
  const largest = Math.max(0.25, ...variables.map(({ psi }) => psi));
  return html`<div class="drift-split"><nav class="card" aria-label="Columns and predictions">${variables.length > 12 && html`<label class="field">Find a column
      <input type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} /></label>`}
    <ul class="drift-list">${found.slice(0, 200).map((one) => html`<li key=${key(one)}><button aria-current=${one === current ? 'true' : undefined} onClick=${() => choose(key(one))}>
      <span>${one.flagged ? html`<strong class="fault" title="Moved beyond chance">!</strong> ` : ''}${titleOf(one)}</span>
      <span class="meter" aria-hidden="true"><span style=${{ width: `${(100 * one.psi) / largest}%`, background: `var(--${one.flagged ? 'bad' : 'accent'})` }}></span></span>
      <span class="meter-value">${number(one.psi, 2)}</span></button></li>`)}</ul>
    ${found.length > 200 && html`<p class="muted">And ${count(found.length - 200)} that moved less.</p>`}</nav>
    <${Variable} of=${current} /></div>`;
}

/** Tells if several servers answer, each with windows of its own. */
function useSeveral() {
  const [several, set] = useState(areSeveral);
  useEffect(() => {
    let isRefused = false; // a key without the scope, or no metrics here
    return poll(async (signal) => {
      try { startIn(await text(`metrics?name%5B%5D=${START_NAME}`, { signal })); } catch ({ status }) { isRefused = status === 403 || status === 404; }
      if (!signal.aborted) set(areSeveral());
    }, () => (isRefused ? 0 : EVERY));
  }, []);
  return several;
}

/** The view of a model's drift. */
export default function DriftView({ model }) {
  const [chosen, choose] = useState('');
  const { data: found, error, reload } = useGet(`models/${encodeURIComponent(model)}/drift${chosen && `?window=${chosen}`}`, EVERY);
  const several = useSeveral();
  const shown = useRef(null); // the last document stays while that of the other window is loaded
  const data = shown.current = found ?? shown.current;
  if (error && !data) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} lines=${12} />`;
  const variables = [...data.predictions.map((one) => ({ ...one, isPrediction: true })), ...data.features]; // of many features some are left out
  return html`<div class="stack">${error && html`<${Failure} error=${error} retry=${reload} />`}<${Verdict} data=${data} chosen=${chosen} choose=${choose} several=${several} />
    ${variables.length > 0 && html`<${Variables} variables=${variables} />`}</div>`;
}
