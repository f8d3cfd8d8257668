// A form from the columns of a model: the answer and its reasons while a slider moves, the request as code, and CSV.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { post, unknownText } from '../lib/api.js';
import { Contributions, Probabilities, chance, hasChances } from '../lib/charts.js';
import { Form, rowOf, typicalRow } from '../lib/fields.js';
import { bytes, number, plural, resolved, shown } from '../lib/format.js';
import { latest, useReturns } from '../lib/latest.js';
import { Copy, Failure, Loading, exactly, useGet } from '../lib/parts.js';
import { scoreCsv } from '../lib/score-csv.js';
import { curlText, inferText, pythonText } from '../lib/snippets.js';

const SETTLED = 250; // ms without a change, after which reasons are asked for
const TOLD_FAULTS = 100;

/** Returns the answer of a version to a row, its reasons (those of `output`, one of several targets), and what was wrong. */
function useAnswer(version, row, level, output) {
  const [state, setState] = useState({});
  const asks = useMemo(() => {
    const place = `models/${encodeURIComponent(version)}/explain`;
    const keep = (name) => (answer, error, given) => setState((old) => ({ ...old, [`${name}Error`]: error, ...(!error && { [name]: answer, [`${name}Of`]: given }) }));
    const predict = async ([given, intervals]) => {
      const began = performance.now();
      return { ...await post('predict', { model: version, instances: [given], intervals }), level: intervals, took: performance.now() - began };
    };
    const explain = ([given, target]) => post(place, { instances: [given], output: target });
    return { predict: latest(predict, keep('answer')), explain: latest(explain, keep('reasons')) };
  }, [version]);
  useEffect(() => () => Object.values(asks).forEach(({ stop }) => stop()), [asks]);
  const returns = useReturns();
  useEffect(() => { asks.predict([row, level]); }, [asks, row, level, returns]);
  useEffect(() => {
    const timer = setTimeout(() => asks.explain([row, output]), SETTLED);
    return () => clearTimeout(timer);
  }, [asks, row, output, returns]);
  return state;
}

/** Tells if an answer is of an earlier row, and no newer one came for a while: while a slider moves, some row is always ahead. */
function useLate(isOld, answer) {
  const [late, setLate] = useState(null);
  useEffect(() => {
    const timer = isOld && setTimeout(() => setLate(answer), SETTLED);
    return () => clearTimeout(timer);
  }, [isOld, answer]);
  return isOld && late === answer;
}

const faultsOf = (error) => new Map((error?.errors ?? []).filter(({ column }) => column).map(({ column, message }) => [column, message]));

/** Returns a note at each column whose cell has a category that training did not see, unless the cell changed meanwhile. */
const notesOf = (answer, [given] = [], row) => new Map((answer?.unknown.columns ?? []).filter(([name]) => given[name] === row[name])
  .map(([name]) => [name, 'Training did not see this category.']));

const LEVELS = [0.8, 0.9, 0.95];
const percent = (level) => `${100 * level} %`;
const SHOWN_TARGETS = 20;
const interval = (bounds, { std }) => bounds.map((bound) => resolved(bound, std)).join(' to ');

/** Returns the statistics of one of several targets, or of the only one. */
const targetOf = ({ target, targets }, name) => target.targets?.[targets.indexOf(name)] ?? target;

/** Returns the name and the value of each of several targets, as text; of many, the first ones. */
const named = ({ target, targets }, values) => targets.slice(0, SHOWN_TARGETS).map((name, at) => [name, resolved(values[at], target.targets[at].std)]);

/** Returns the interval of an answer, or the set of labels, as a text; nothing if it was not asked for. */
function covering({ target }, { level, intervals, sets }) {
  if ((!intervals && !sets) || Array.isArray(intervals?.[0][0])) return ''; // those of several targets stand beside these
  const told = intervals ? interval(intervals[0], target) : sets[0].map(shown).join(', ');
  return `${percent(level)} ${intervals ? 'interval' : 'set'}: ${told}`;
}

function Level({ detail, level, choose }) {
  const levels = LEVELS.filter((one) => one <= (detail.intervals?.highest_level ?? 0));
  return levels.length > 0 && html`<div class="field inline"><label for="level">${detail.classes ? 'Set of labels' : 'Interval'}</label>
    <select id="level" value=${level ?? ''} onChange=${({ target }) => choose(Number(target.value) || undefined)}><option value="">none</option>
      ${levels.map((one) => html`<option value=${one}>${percent(one)}</option>`)}</select></div>`;
}

function Answer({ detail, answer, error, isOld }) {
  if (!answer) return error ? html`<p class="fault" role="alert">${error.message}</p>` : html`<${Loading} />`;
  const [prediction] = answer.predictions;
  const values = hasChances(detail) && answer.probabilities?.[0];
  const { targets } = detail;
  return html`${error && html`<p class="fault" role="alert">${error.message}</p>`}
    <div class=${error || isOld ? 'stale' : ''}>${targets ? html`<table class="table"><thead><tr><th scope="col">Target</th><th scope="col" class="right">Value</th>
        ${answer.intervals && html`<th scope="col" class="right">${percent(answer.level)} interval</th>`}</tr></thead>
      <tbody>${named(detail, prediction).map(([name, value], at) => html`<tr><th scope="row">${name}</th><td class="right">${value}</td>
        ${answer.intervals && html`<td class="right">${interval(answer.intervals[0][at], detail.target.targets[at])}</td>`}</tr>`)}</tbody></table>
      ${targets.length > SHOWN_TARGETS && html`<p class="muted">The first ${SHOWN_TARGETS} of ${targets.length} targets.</p>`}`
    : html`<p class="prediction">${detail.classes ? shown(prediction) : resolved(prediction, detail.target.std)}${' '}
      <span class="muted">${detail.target.name}</span></p>`}
    ${covering(detail, answer) && html`<p>${covering(detail, answer)}</p>`}
    ${values && html`<${Probabilities} classes=${detail.classes} values=${values} predicted=${prediction} />`}
    <p class="muted">${answer.model}@${answer.version}, ${number(answer.took, 2)} ms with the way there and back.${
  answer.unknown.cells > 0 ? ` ${unknownText(answer.unknown)}` : ''}</p></div>`;
}

const isOld = (of, ...asked) => asked.some((part, at) => of?.[at] !== part);

function Reasons({ detail, reasons, error, isOld }) {
  if (error && (error.status !== 422 || !reasons)) return html`<p class="muted">${error.message}</p>`;
  if (!reasons) return html`<${Loading} />`;
  const [{ output, value, base, reasons: found, kind }] = reasons.explanations;
  const named = output !== undefined && output !== null;
  const told = (share) => resolved(share, reasons.scale === 'value' ? targetOf(detail, output).std : 0, 3);
  const against = { typical: 'a typical row', rows: 'rows of training', centre: 'the middle of the columns' }[reasons.background] ?? 'the background';
  return html`<div class=${isOld ? 'stale' : ''}><p class="muted">${reasons.scale === 'value' ? 'Value' : 'Probability'}${named ? ` of ${shown(output)}` : ''}:${' '}
      ${told(base)} for ${against}, ${told(value)} for this one${kind === 'sampled' ? ', sampled' : ''}.</p>
    <${Contributions} reasons=${found} /></div>`;
}

const FORMS = { curl: ['curl', curlText], python: ['Python', pythonText], oip: ['Open Inference Protocol', inferText] };

function Code({ model, row, columns, level, classes }) {
  const [form, setForm] = useState('curl');
  const text = FORMS[form][1](model, row, { columns, level, classes });
  return html`<section class="card" aria-labelledby="code"><h2 id="code">The same request as code</h2>
    <div class="row spread"><div class="row" role="group" aria-label="Language">${Object.entries(FORMS).map(([name, [title]]) => html`
      <button class="button small" aria-pressed=${name === form} onClick=${() => setForm(name)}>${title}</button>`)}</div>
      <${Copy} key=${form} text=${text} /></div>
    <pre class="code" tabindex="0" role="group" aria-label="Code"><code>${text}</code></pre>
    ${level && form === 'oip' && html`<p class="muted">This protocol has no place for ${classes ? 'sets of labels' : 'intervals'}.</p>`}</section>`;
}

/** Returns how far the scoring of a file is, and functions to begin and to end it. */
function useScoring(version, level) {
  const [job, setJob] = useState(null);
  const stop = useRef(null);
  const begin = async (file) => {
    stop.current?.abort();
    const own = stop.current = new AbortController();
    const { signal } = own;
    const set = (news) => stop.current === own && setJob((old) => ({ ...old, ...news }));
    setJob({ name: file.name, size: file.size, bytes: 0, rows: 0, faults: 0, running: true });
    try {
      const { blob, rows, faults, unknown } = await scoreCsv(file, { version, level, signal, progress: set });
      set({ running: false, rows, unknown, told: [...faults].sort(([a], [b]) => a - b), url: URL.createObjectURL(blob) });
    } catch (error) { set({ running: false, error: signal.aborted ? null : error, cancelled: signal.aborted }); }
  };
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => () => job?.url && URL.revokeObjectURL(job.url), [job?.url]);
  return { job, begin, cancel: () => stop.current?.abort() };
}

function Scoring({ model, version, level, classes, scoring: { job, begin, cancel } }) {
  const input = useRef();
  const [over, setOver] = useState(false);
  useLayoutEffect(() => { // before the page shows the chosen level, so that a file gets the level that is shown
    const isFile = (event) => event.dataTransfer?.types.includes('Files');
    const drag = (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      setOver(event.type === 'dragover');
      if (event.type === 'drop' && event.dataTransfer.files.length) begin(event.dataTransfer.files[0]);
    };
    const names = ['dragover', 'dragleave', 'drop'];
    names.forEach((name) => addEventListener(name, drag));
    return () => names.forEach((name) => removeEventListener(name, drag));
  }, [model, level]);
  const told = job?.told ?? [];
  return html`<section class=${`card drop ${over ? 'over' : ''}`} aria-labelledby="csv"><h2 id="csv">A whole table</h2>
    <p class="muted">Drop a CSV file on this page, or choose one. Its first line names the columns. You get it back with the answers${level ? ` and ${percent(level)} ${classes ? 'sets' : 'intervals'}` : ''} beside each row.</p>
    <div class="row"><button class="button" onClick=${() => input.current.click()}>Choose a CSV file</button>
      <input ref=${input} type="file" accept=".csv,.tsv,.txt,text/csv" hidden onChange=${({ target }) => {
    if (target.files.length) begin(target.files[0]);
    target.value = '';
  }} />
      ${job?.running && html`<button class="button" onClick=${cancel}>Cancel</button>`}
      ${job?.url && html`<a class="button primary" href=${job.url} download=${`${job.name.replace(/\.[^.]*$/, '')}-${model}.csv`}>Download ${plural(job.rows, 'row')}</a>`}</div>
    ${job?.running && html`<label class="field">${job.name}: ${plural(job.rows, 'row')} of ${bytes(job.size)}
      <progress max=${job.size || 1} value=${job.bytes}></progress></label>`}
    <div role="status">${job?.url && html`<p>${job.name}: ${plural(job.rows - told.length, 'row')} scored by ${version}${
      told.length ? `; ${plural(told.length, 'row')} could not be scored` : ''}.${job.unknown.cells > 0 ? ` ${unknownText(job.unknown)}` : ''}</p>`}
      ${job?.cancelled && html`<p>${job.name} was cancelled after ${plural(job.rows, 'row')}.</p>`}</div>
    ${job?.error && html`<${Failure} error=${job.error} />`}
    ${told.length > 0 && html`<table class="table"><caption class="visually-hidden">Rows that could not be scored</caption><thead><tr>
      <th scope="col">Row</th><th scope="col">Reason</th></tr></thead><tbody>${told.slice(0, TOLD_FAULTS).map(([row, reason]) => html`<tr><th scope="row">${row}</th>
      <td>${reason}</td></tr>`)}</tbody></table>${told.length > TOLD_FAULTS && html`<p class="muted">The file names all ${told.length}.</p>`}`}</section>`;
}

function Examples({ detail, typical, choose }) {
  const { examples = [], examples_kind: kind } = detail.data;
  const rows = examples.filter((row) => row && !Array.isArray(row));
  if (!rows.length) return html`<button class="button small" onClick=${() => choose(typical)}>Typical row</button>`;
  const name = kind === 'rows' ? 'Row' : 'Typical row';
  return rows.slice(0, 8).map((row, at) => html`<button class="button small" onClick=${() => choose(rowOf(detail.columns, row, typical))}>${name} ${at + 1}</button>`);
}

function Trial({ model, detail }) {
  const typical = useMemo(() => typicalRow(detail), [detail]);
  const [row, setRow] = useState(typical);
  const version = exactly(detail);
  const training = useGet(`models/${encodeURIComponent(version)}/training`);
  const distributions = useMemo(() => (training.data || training.error ? new Map(training.data?.columns?.map((counted) => [counted.name, counted])) : null), [training.data, training.error]);
  const room = (bars, most) => ({ minHeight: `${10 + 1.75 * Math.min(bars, most)}em` }); // so that nothing jumps when the answers come
  const [level, setLevel] = useState();
  const { targets } = detail;
  const [target, setTarget] = useState(targets?.[0]);
  const state = useAnswer(version, row, level, target);
  const isLate = useLate(isOld(state.answerOf, row, level), state.answer);
  const scoring = useScoring(version, level);
  const [said, say] = useState('');
  useEffect(() => {
    const timer = setTimeout(() => {
      if (!state.answer || state.answerError) return;
      const [prediction] = state.answer.predictions;
      const values = hasChances(detail) && state.answer.probabilities?.[0];
      say([targets ? named(detail, prediction).map((pair) => pair.join(' ')).join(', ') : shown(prediction), values && chance(Math.max(...values)), covering(detail, state.answer)].filter(Boolean).join(', '));
    }, 2 * SETTLED);
    return () => clearTimeout(timer);
  }, [state.answer]);
  return html`<div class="stack"><div class="trial">
    <section class="card" aria-labelledby="row"><div class="row spread"><h2 id="row">A row</h2>
        <div class="row" role="group" aria-label="Examples"><${Examples} detail=${detail} typical=${typical} choose=${setRow} /></div></div>
      <${Form} columns=${detail.columns} row=${row} typical=${typical} faults=${faultsOf(state.answerError)} notes=${notesOf(state.answer, state.answerOf, row)} distributions=${distributions}
        change=${(name, cell) => setRow((old) => ({ ...old, [name]: cell }))} /></section>
    <div class="stack answers"><section class="card" aria-labelledby="answer" style=${room((detail.classes ?? targets)?.length ?? 0, 12)}><div class="row spread"><h2 id="answer">Answer</h2>
        <${Level} detail=${detail} level=${level} choose=${setLevel} /></div>
        <${Answer} detail=${detail} answer=${state.answer} error=${state.answerError} isOld=${isLate} />
        <p class="visually-hidden" aria-live="polite">${said}</p></section>
      <section class="card" aria-labelledby="reasons" style=${room(detail.columns.length, 10)}><div class="row spread"><h2 id="reasons">Reasons</h2>
        ${targets && html`<div class="field inline"><label for="target">Target</label><select id="target" value=${target} onChange=${(event) => setTarget(event.target.value)}>
          ${targets.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></div>`}</div>
        <${Reasons} detail=${detail} reasons=${state.reasons} error=${state.reasonsError} isOld=${isOld(state.reasonsOf, row, target)} /></section></div></div>
    <${Code} model=${model} row=${row} columns=${detail.columns} level=${level} classes=${detail.classes} />
    <${Scoring} model=${model} version=${version} level=${level} classes=${detail.classes} scoring=${scoring} /></div>`;
}

/** The view in which a model is tried. */
export default function TryView({ model }) {
  const { data, error, reload } = useGet(`models/${encodeURIComponent(model)}`);
  if (error && !data) return html`<${Failure} error=${error} retry=${reload} />`;
  return data ? html`<${Trial} model=${model} detail=${data} />` : html`<${Loading} lines=${12} />`;
}
