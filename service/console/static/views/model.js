// One model version: its network, weights, columns, training and card, and other versions beside it.
import { html, useEffect, useState } from '../vendor/preact.js';
import { get } from '../lib/api.js';
import { ago, count, dateTime, dayText, number, percent, plural, resolved, shares, shown, words } from '../lib/format.js';
import { Markdown } from '../lib/markdown.js';
import { NetworkDrawing } from '../lib/network-drawing.js';
import { Failure, Loading, exactly, modelPath, useGet } from '../lib/parts.js';
import { Curve, Distribution } from '../lib/small-charts.js';

const SHOWN_COLUMNS = 40;
const PARTS = ['train', 'validation', 'test'];

const Section = ({ id, title, children, wide }) => html`<section class=${`card ${wide ? 'wide-card' : ''}`} aria-labelledby=${id}>
  <h2 id=${id}>${title}</h2>${children}</section>`;

const Facts = ({ facts }) => html`<dl class="facts">${facts.filter(([, value]) => value !== null && value !== undefined)
  .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** Returns the number of members and how many have which share in the answer. */
function membersText({ members = 1, member_weights: weights }) {
  if (members < 2) return null;
  const times = new Map();
  for (const share of shares(weights ?? [])) times.set(share, (times.get(share) ?? 0) + 1);
  return `${count(members)}, weighted ${weights ? [...times].map(([share, n]) => `${n} × ${share}`).join(', ') : 'equally'}`;
}

function About({ model }) {
  const { training, target, data } = model;
  const classes = model.classes?.map(shown);
  const listed = (names) => `${names.slice(0, 12).join(', ')}${names.length > 12 ? `, and ${count(names.length - 12)} more` : ''}`;
  return html`<${Section} id="about" title="About">
    <${Facts} facts=${[
    ['Version', `${model.version}; ${plural(model.versions.length, 'version')} in the store`],
    ['Predicts', classes ? `${target.name}: ${listed(classes)}`
      : model.targets ? `${count(model.targets.length)} numbers: ${listed(model.targets)}` : `${target.name}, a number`],
    ['Parameters', count(model.total_params)],
    ['Members', membersText(model.architecture)],
    ['Columns', count(model.columns.length)],
    ['Published', html`<time datetime=${model.published} title=${dateTime(model.published)}>${ago(model.published)}</time>`],
    ['Trained', training.engine ? `${training.engine}, ${plural(training.epochs_run ?? 0, 'epoch')}` : null],
    ['Rows', data.rows ? `${count(data.rows)} of ${data.name}` : null],
    ['Answers', model.batch_invariant ? 'the same to the last bit in any batch' : 'not checked to be the same in any batch'],
    ['Digest', html`<span class="mono" title=${model.digest}>${model.digest.slice(0, 19)}…</span>`],
  ]} /><//>`;
}

const namesOf = (parts) => [...new Set(parts.flatMap((part) => Object.keys(part ?? {})))].filter((name) => name !== 'targets');

/** The metrics of each of several targets, in one part of the data. */
function TargetMetrics({ part, figures, areShares }) {
  const targets = Object.entries(figures);
  const names = namesOf(targets.map(([, own]) => own));
  return html`<h3>By target, ${part}</h3><div class="scroll" tabindex="0" role="group" aria-label="Metrics by target"><table class="table"><thead><tr><th scope="col">Target</th>${names.map((name) => html`
    <th scope="col" class="right">${words(name)}</th>`)}</tr></thead>
    <tbody>${targets.slice(0, SHOWN_COLUMNS).map(([target, own]) => html`<tr><th scope="row">${target}</th>${names.map((name) => html`
      <td class="right">${number(own[name])}</td>`)}</tr>`)}</tbody></table></div>
    <p class="muted">${targets.length > SHOWN_COLUMNS ? `The first ${SHOWN_COLUMNS} of ${count(targets.length)} targets. ` : ''}${areShares ? 'Above are the means of the targets.' : 'In the unit of each target; above, errors are in its standard deviations.'}</p>`;
}

function Metrics({ metrics, architecture }) {
  const parts = PARTS.filter((part) => metrics[part]);
  const last = parts.findLast((part) => metrics[part].targets);
  const names = namesOf(parts.map((part) => metrics[part]));
  if (!names.length) return html`<p class="muted">The checkpoint has no metrics.</p>`;
  return html`<table class="table"><thead><tr><th scope="col">Metric</th>${parts.map((part) => html`
    <th scope="col" class="right">${words(part)}</th>`)}</tr></thead>
    <tbody>${names.map((name) => html`<tr><th scope="row">${words(name)}</th>${parts.map((part) => html`
      <td class="right">${number(metrics[part][name])}</td>`)}</tr>`)}</tbody></table>
    ${last && html`<${TargetMetrics} part=${last} figures=${metrics[last].targets} areShares=${architecture.output === 'logistic'} />`}`;
}

function Learning({ training }) {
  const history = Object.entries(training.history).filter(([, values]) => values.length > 1).map(([name]) => name);
  if (!history.length) return html`<p class="muted">No history of epochs: there was one step, or the model was imported.</p>`;
  const losses = history.filter((name) => name.endsWith('loss'));
  const groups = [losses, ...history.filter((name) => !losses.includes(name)).map((name) => [name])].filter((names) => names.length);
  return html`<div class="curves">${groups.slice(0, 4).map((names) => html`
    <${Curve} history=${training.history} names=${names} best=${training.best_epoch ?? 0} />`)}</div>`;
}

const widthsOf = (layer) => `${count(layer.in_features)} → ${count(layer.out_features)}`;

const layerRow = (layer) => html`<tr><th scope="row" class="mono">${layer.name}</th><td>${layer.type}<div class="muted narrow">${widthsOf(layer)}</div></td>
  <td class="right wide word">${widthsOf(layer)}</td><td class="right">${count(layer.params)}</td>
  <td class="right wide">${count(layer.multiply_adds)}</td></tr>`;

const Layers = ({ layers }) => html`<table class="table"><thead><tr><th scope="col">Layer</th><th scope="col">Type</th>
  <th scope="col" class="right wide">Widths</th><th scope="col" class="right">Parameters</th><th scope="col" class="right wide">Multiply-adds</th></tr></thead>
  <tbody>${layers.map(layerRow)}</tbody>
  <tfoot><tr><th scope="row">Total</th><td></td><td class="wide"></td><td class="right">${count(layers.reduce((sum, { params }) => sum + params, 0))}</td>
    <td class="right wide">${count(layers.reduce((sum, layer) => sum + layer.multiply_adds, 0))}</td></tr></tfoot></table>`;

function Weights({ layers }) {
  const tensors = layers.flatMap((layer) => layer.tensors.map((tensor) => [`${layer.name}.${tensor.name}`, tensor]));
  if (!tensors.length) return html`<p class="muted">The network has no tensors.</p>`;
  return html`<table class="table"><thead><tr><th scope="col">Tensor</th><th scope="col">Distribution</th>
    <th scope="col" class="right wide">Mean</th><th scope="col" class="right">Std. deviation</th><th scope="col" class="right wide">Range</th></tr></thead>
    <tbody>${tensors.map(([name, tensor]) => html`<tr><th scope="row"><span class="mono">${name}</span>
        <div class="muted">${tensor.shape.join(' × ')}${tensor.learned ? '' : ', measured'}${tensor.zeros ? `, ${plural(tensor.zeros, 'zero')}` : ''}</div></th>
      <td><${Distribution} label="Distribution of the weights" of=${{ counts: tensor.counts, edges: tensor.edges.slice(1, -1), minimum: tensor.edges[0], maximum: tensor.edges.at(-1) }} /></td>
      <td class="right wide">${number(tensor.mean)}</td><td class="right">${number(tensor.std)}</td>
      <td class="right wide word">${number(tensor.minimum)} to ${number(tensor.maximum)}</td></tr>`)}</tbody></table>`;
}

function seenOf(column, counted) {
  if (column.categories) return `${plural(column.categories.length, 'category', 'categories')}: ${column.categories.slice(0, 4).join(', ')}${column.categories.length > 4 ? ', …' : ''}`;
  const [low, high] = ['minimum', 'maximum'].map((end) => counted?.[end] ?? column[end]);
  const told = (value) => (typeof value === 'string' ? value.replace('T00:00:00Z', '')
    : column.kind === 'date' ? dayText(value, column.parts.includes('hour')) : resolved(value, high - low, 4));
  return low === null ? 'range unknown' : `${told(low)} to ${told(high)}`;
}

function Columns({ model, training }) {
  const [all, showAll] = useState(false);
  const shownColumns = all ? model.columns : model.columns.slice(0, SHOWN_COLUMNS);
  const rows = (counted) => counted.counts.reduce((sum, n) => sum + n, counted.gaps) || 1;
  return html`<table class="table columns"><thead><tr><th scope="col">Column</th><th scope="col">In training</th>
    <th scope="col">Distribution</th><th scope="col" class="right wide">Missing</th></tr></thead>
    <tbody>${shownColumns.map((column, at) => {
    const counted = training.columns?.[at];
    return html`<tr><th scope="row">${column.name}<div class="muted">${column.kind}</div></th><td>${seenOf(column, counted)}</td>
      <td>${counted ? html`<${Distribution} of=${counted} />` : html`<span class="muted">unknown</span>`}</td>
      <td class="right wide">${counted ? percent(counted.gaps / rows(counted)) : '–'}</td></tr>`;
  })}</tbody></table>
    ${shownColumns.length < model.columns.length && html`<button class="button" onClick=${() => showAll(true)}>
      Show all ${count(model.columns.length)} columns</button>`}
    ${training.predictions && html`<h3>Predictions</h3><table class="table"><tbody>${training.predictions.map((counted) => html`
      <tr><th scope="row">${model.targets ? counted.name : words(counted.name)}</th><td><${Distribution} label="Distribution of the predictions" of=${counted} width=${200} /></td></tr>`)}</tbody></table>`}`;
}

const settingText = (value) => (value === null ? 'none' : typeof value === 'object' ? JSON.stringify(value) : String(value));

const Settings = ({ training }) => html`<details><summary>Settings of the run</summary>
  <${Facts} facts=${Object.entries(training).filter(([name]) => name !== 'history').map(([name, value]) => [words(name), settingText(value)])} /></details>`;

const COMPARED = [
  ['Published', (model) => dateTime(model.published)],
  ['Parameters', (model) => count(model.total_params)],
  ['Layers', (model) => (model.architecture.layer_sizes ?? ['sequence']).join(' – ')],
  ['Activation', (model) => model.architecture.activation ?? '–'],
  ['Members', (model) => model.architecture.members ?? 1],
  ['Engine', (model) => model.training.engine ?? '–'],
  ['Best epoch', (model) => `${model.training.best_epoch ?? '–'} of ${model.training.epochs_run ?? '–'}`],
  ['Rows', (model) => count(model.data.rows)],
];

function Versions({ model }) {
  const others = model.versions.filter((version) => version !== model.version).reverse();
  const [chosen, choose] = useState(others.slice(0, 1));
  const [loaded, setLoaded] = useState({ [model.version]: model });
  const [error, setError] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    setError(null);
    chosen.filter((version) => !loaded[version]).forEach((version) => get(`models/${encodeURIComponent(exactly({ ...model, version }))}`, { signal: stop.signal })
      .then((found) => setLoaded((old) => ({ ...old, [version]: found })), (fault) => stop.signal.aborted || setError(fault)));
    return () => stop.abort();
  }, [chosen]);
  if (!others.length) return html`<p class="muted">This is the only version.</p>`;
  const beside = [model.version, ...chosen].filter((version) => loaded[version]).map((version) => loaded[version]);
  const names = namesOf(beside.map((one) => one.metrics.test));
  const toggle = (version) => choose(chosen.includes(version) ? chosen.filter((one) => one !== version) : [...chosen, version]);
  return html`<fieldset class="row"><legend class="muted">Beside version ${model.version}</legend>
      ${others.slice(0, 24).map((version) => html`<label class="check"><input type="checkbox" checked=${chosen.includes(version)}
        onChange=${() => toggle(version)} />${version}</label>`)}</fieldset>
    ${error && html`<${Failure} error=${error} />`}
    <div class="scroll" tabindex="0" role="group" aria-label="Versions side by side"><table class="table"><thead><tr><th scope="col">Version</th>${beside.map((one) => html`
      <th scope="col" class="right"><a href=${modelPath(exactly(one))}>${one.version}</a></th>`)}</tr></thead>
      <tbody>${COMPARED.map(([name, of]) => html`<tr><th scope="row">${name}</th>${beside.map((one) => html`<td class="right">${of(one)}</td>`)}</tr>`)}
      ${names.map((name) => html`<tr><th scope="row">${words(name)}, test</th>${beside.map((one) => html`
        <td class="right">${number(one.metrics.test?.[name])}</td>`)}</tr>`)}</tbody></table></div>`;
}

/** Shows data, or their fault. */
const When = ({ of, children }) => (of.data ? children(of.data)
  : of.error && html`<${Failure} error=${of.error} retry=${of.reload} />`);

/** The overview of a model version. */
export default function ModelView({ model: id }) {
  const model = useGet(`models/${encodeURIComponent(id)}`);
  const place = model.data && `models/${encodeURIComponent(exactly(model.data))}`; // not `id`: a version may come meanwhile
  const network = useGet(place && `${place}/network`);
  const training = useGet(place && `${place}/training`);
  if (model.error) return html`<${Failure} error=${model.error} retry=${model.reload} />`;
  const settled = ({ data, error }) => data || error; // all at once, so that nothing jumps
  if (![model, network, training].every(settled)) return html`<${Loading} lines=${16} />`;
  return html`<div class="cards">
    <${About} model=${model.data} />
    <${Section} id="metrics" title="Metrics"><${Metrics} ...${model.data} /><//>
    <${Section} id="network" title="Network" wide><${When} of=${network}>${(data) => html`<${NetworkDrawing} network=${data} />`}<//><//>
    <${Section} id="learning" title="Learning curve" wide><${When} of=${training}>${(data) => html`<${Learning} training=${data} />`}<//>
      <${Settings} training=${model.data.training} /><//>
    <${Section} id="columns" title="Columns" wide><${When} of=${training}>${(data) => html`<${Columns} model=${model.data} training=${data} />`}<//><//>
    <${Section} id="layers" title="Layers" wide><${When} of=${network}>${(data) => html`<${Layers} layers=${data.layers} />`}<//><//>
    <${Section} id="weights" title="Weights" wide><${When} of=${network}>${(data) => html`<${Weights} layers=${data.layers} />`}<//><//>
    <${Section} id="versions" title="Versions side by side" wide><${Versions} key=${model.data.version} model=${model.data} /><//>
    <${Section} id="card" title="Model card" wide><${When} of=${training}>${(data) => (data.card
    ? html`<details><summary>Read the card</summary><${Markdown} text=${data.card} /></details>`
    : html`<p class="muted">There is no model card beside the checkpoint.</p>`)}<//><//>
  </div>`;
}
