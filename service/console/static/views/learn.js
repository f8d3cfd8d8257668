// The studies that were run, with their plots, and the computational graph of a small network.
import { html, useEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { send } from '../lib/api.js';
import { ago, dateTime, number, plural, shown } from '../lib/format.js';
import { FIRST_WEIGHTS, PARAMETERS, network, step } from '../lib/graph.js';
import { Failure, Loading, useGet } from '../lib/parts.js';
import '../lib/styles.js';

const ROWS = [[[0, 0], 0], [[0, 1], 1], [[1, 0], 1], [[1, 1], 0]];
const RATE = 1;
const [WIDE, TALL] = [1020, 520];
const PLACES = {
  w11: [60, 35], w12: [60, 105], x1: [60, 190], x2: [60, 330], w21: [60, 415], w22: [60, 485],
  p11: [220, 60], p12: [220, 150], b1: [220, 225], b2: [220, 295], p21: [220, 370], p22: [220, 460],
  z1: [360, 140], z2: [360, 380], v1: [490, 50], h1: [490, 140], h2: [490, 380], v2: [490, 470],
  q1: [620, 95], c: [620, 260], q2: [620, 425], o: [740, 260], p: [850, 260], y: [850, 350], L: [960, 260],
};
const figure = (value) => number(value, 3).replace('-', '−');

/** Returns how the gradient of a node comes from the nodes that use it, by the chain rule. */
function chainOf(nodes, name) {
  const parts = [...nodes.values()].flatMap((user) => user.operands.flatMap((operand, at) => (operand === name ? [[user, user.derivatives[at]]] : [])));
  if (!parts.length) return '∂L/∂L = 1';
  return `∂L/∂${name} = ${parts.map(([user]) => `∂L/∂${user.name} · ∂${user.name}/∂${name}`).join(' + ')} = ${
    parts.map(([user, derivative]) => `${figure(user.gradient)} · ${figure(derivative)}`).join(' + ')} = ${figure(nodes.get(name).gradient)}`;
}

function Nodes({ nodes, chosen, choose }) {
  const drawing = useRef();
  const names = Object.keys(PLACES);
  const move = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = names[(names.indexOf(chosen) + by + names.length) % names.length];
    choose(next);
    drawing.current.querySelector(`[data-node="${next}"]`).focus();
  };
  const edges = [...nodes.values()].flatMap(({ name, operands }) => operands.map((operand) => [operand, name]));
  const kind = (name) => (PARAMETERS.includes(name) ? 'learned' : /^[xy]/.test(name) ? 'given' : '');
  return html`<div class="scroll graph" role="group" aria-label="Drawing of the graph" tabindex="-1"><svg ref=${drawing} viewBox=${`0 0 ${WIDE} ${TALL}`}
    width=${WIDE} height=${TALL} role="group" aria-label="Computational graph; the arrow keys go from node to node" onKeyDown=${move}>
    ${edges.map(([from, to]) => {
    const [[x1, y1], [x2, y2]] = [PLACES[from], PLACES[to]];
    return html`<line class=${`edge ${from === chosen || to === chosen ? 'now' : ''}`} x1=${x1 === x2 ? x1 : x1 + 42} y1=${y1 + (x1 === x2 ? 26 * Math.sign(y2 - y1) : 0)}
      x2=${x1 === x2 ? x2 : x2 - 42} y2=${y2 - (x1 === x2 ? 26 * Math.sign(y2 - y1) : 0)} />`;
  })}
    ${names.map((name) => {
    const { value, gradient, text } = nodes.get(name);
    const [x, y] = PLACES[name];
    return html`<g key=${name} class=${`node ${kind(name)}`} data-node=${name} role="button" tabindex=${name === chosen ? 0 : -1} aria-pressed=${name === chosen}
      aria-label=${`${name}${text && ` = ${text}`}: value ${figure(value)}, gradient ${figure(gradient)}`} transform=${`translate(${x} ${y})`}
      onClick=${() => choose(name)} onPointerEnter=${() => choose(name)} onFocus=${() => choose(name)}>
      <rect x="-42" y="-26" width="84" height="52" rx="6" /><text y="-11" text-anchor="middle" class="node-name">${name}</text>
      <text y="4" text-anchor="middle">${figure(value)}</text><text y="19" text-anchor="middle" class="gradient">${figure(gradient)}</text></g>`;
  })}</svg></div>`;
}

function Graph() {
  const [weights, setWeights] = useState(FIRST_WEIGHTS);
  const [steps, setSteps] = useState(0);
  const [row, setRow] = useState(3);
  const [chosen, choose] = useState('z1');
  const nodes = useMemo(() => network(weights, ...ROWS[row]), [weights, row]);
  const all = ROWS.map(([x, y]) => network(weights, x, y));
  const loss = all.reduce((sum, graph) => sum + graph.get('L').value, 0) / ROWS.length;
  const learn = (times) => {
    let next = weights;
    for (let i = 0; i < times; i += 1) next = step(next, ROWS, RATE);
    setWeights(next);
    setSteps(steps + times);
  };
  const { value, text } = nodes.get(chosen);
  return html`<section class="card stack" aria-labelledby="graph"><h2 id="graph">A network as a graph of small operations</h2>
    <p class="prose">Two inputs, two hidden units with tanh, one output, XOR. Forward, each node computes its value (black) from the nodes to its left. Backward, each node
      passes its gradient (coloured) on, multiplied by its own derivative: how much faster or slower the loss L grows if the node grows. One pass backward gives the
      gradients of all nine learned numbers, and a step of gradient descent subtracts them.</p>
    <div class="row" role="group" aria-label="Row">${ROWS.map(([[a, b], y], at) => html`<button class="button small" aria-pressed=${at === row} onClick=${() => setRow(at)}>
      (${a}, ${b}) → ${y} <span class="muted">p = ${figure(all[at].get('p').value)}</span></button>`)}</div>
    <${Nodes} nodes=${nodes} chosen=${chosen} choose=${choose} />
    <p class="reading mono" aria-live="polite">${chosen}${text && ` = ${text}`} = ${figure(value)}<br />${chainOf(nodes, chosen)}</p>
    <div class="row">${[1, 10, 100].map((times) => html`<button class="button" onClick=${() => learn(times)}>${plural(times, 'step')}</button>`)}
      <button class="button" onClick=${() => { setWeights(FIRST_WEIGHTS); setSteps(0); }}>Begin again</button>
      <span role="status">After ${plural(steps, 'step')} the mean loss of the four rows is ${figure(loss)}.</span></div>
    <details><summary>All nodes as a table</summary><div class="scroll" role="group" tabindex="0" aria-label="Nodes"><table class="table"><thead><tr><th scope="col">Node</th>
      <th scope="col">Computed as</th><th scope="col" class="right">Value</th><th scope="col" class="right">Gradient</th></tr></thead><tbody>${[...nodes.values()].map((node) => html`
      <tr><th scope="row">${node.name}</th><td>${node.text}</td><td class="right">${figure(node.value)}</td><td class="right">${figure(node.gradient)}</td></tr>`)}</tbody></table></div></details>
  </section>`;
}

/** The plot of a study. The request for an image alone could not send an API key. */
function Plot({ name, about }) {
  const [state, setState] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    let url = null;
    send(`studies/${name}/plot`, { signal: stop.signal }, (response) => response.blob()).then((blob) => {
      url = URL.createObjectURL(blob);
      setState({ url });
    }).catch((error) => stop.signal.aborted || setState({ error }));
    return () => { stop.abort(); if (url) URL.revokeObjectURL(url); };
  }, [name]);
  if (state.error) return html`<${Failure} error=${state.error} />`;
  return html`<div class="study-plot">${state.url && html`<img src=${state.url} alt=${about} />`}</div>`;
}

const cell = (value) => (typeof value === 'number' ? number(value) : value === null ? '' : typeof value === 'boolean' ? (value ? 'yes' : 'no') : value);

function Results({ name }) {
  const { data, error, reload } = useGet(`studies/${name}`);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} lines=${8} />`;
  return html`<p class="prose">${data.explanation}</p><${Plot} name=${name} about=${`Plot: ${data.verdict}`} />
    ${data.tables.map(({ title, rows }) => {
    const columns = Object.keys(rows[0] ?? {});
    const isText = (column) => rows.some((row) => typeof row[column] === 'string');
    return html`<details><summary>${title}</summary><div class="scroll" role="group" tabindex="0" aria-label=${title}><table class="table"><thead><tr>${columns.map((column) => html`
      <th scope="col" class=${isText(column) ? '' : 'right'}>${column}</th>`)}</tr></thead><tbody>${rows.map((row) => html`<tr>${columns.map((column) => html`
      <td class=${isText(column) ? '' : 'right'}>${cell(row[column])}</td>`)}</tr>`)}</tbody></table></div></details>`;
  })}
    ${data.diagrams.map(({ title, mermaid }) => html`<details><summary>${title}, as Mermaid</summary><pre tabindex="0">${mermaid}</pre></details>`)}`;
}

function Study({ study, open, toggle }) {
  const { name, about, claim, holds, verdict, ran, quick, seed } = study;
  return html`<section class="card study" aria-labelledby=${`study-${name}`}><h3 id=${`study-${name}`}><button class="sort" aria-expanded=${open} onClick=${toggle}>
      <span aria-hidden="true">${open ? '▾' : '▸'}</span> ${about}</button></h3>
    <p class="prose">${claim}</p>
    <p class="muted"><strong class=${holds ? 'held' : 'fault'}>${holds ? 'It held.' : 'It did not hold in this run.'}</strong> ${verdict}</p>
    <p class="muted">${name}, run <time datetime=${ran} title=${dateTime(ran)}>${ago(ran)}</time>${quick ? ', quick' : ''}${typeof seed === 'number' ? `, seed ${shown(seed)}` : ''}</p>
    ${open && html`<div class="stack"><${Results} name=${name} /></div>`}</section>`;
}

function Studies({ first }) {
  const { data, error, reload } = useGet('studies');
  const [open, setOpen] = useState(() => new Set(first ? [first] : []));
  if (error && !data) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} lines=${8} />`;
  const toggle = (name) => () => setOpen((old) => { const next = new Set(old); if (!next.delete(name)) next.add(name); return next; });
  return html`${Object.entries(data.problems).map(([name, reason]) => html`<p class="notice warn">${name}: ${reason}</p>`)}
    ${data.studies.length ? data.studies.map((study) => html`<${Study} key=${study.name} study=${study} open=${open.has(study.name)} toggle=${toggle(study.name)} />`)
    : html`<div class="card stack"><p>No study was published to this store. These commands run all of them in about a minute, or one of them:</p>
      <pre>axon study all --publish\naxon study xor --publish</pre></div>`}`;
}

/** The view for whoever wants to understand networks. */
export default function LearnView({ parameters }) {
  return html`<div class="stack"><h1>Learn</h1><${Graph} />
    <h2>Studies: the ideas behind these models, run here</h2><${Studies} first=${parameters.get('study')} /></div>`;
}
