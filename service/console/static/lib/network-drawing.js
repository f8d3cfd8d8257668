// The drawing of a network: units and weights of a small one, layers of a large one. Each part can be read by pointing
// at it, or with the arrow keys.
import { html, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { count, number, plural, shares } from './format.js';

const MOST_UNITS = 24; // in one column of a drawing with units
const MOST_LINKS = 1200;
const ROOM = 30; // px between two units, one below the other
const MARGIN = 28;

const nameOf = (names, at, prefix) => (names ? String(names[at]) : `${prefix} ${at + 1}`);
const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** Returns the values of one member in a tensor; all values if there is one member. */
function memberOf(tensor, member, members) {
  if (!tensor?.values || members === 1) return tensor?.values;
  const size = tensor.values.length / members;
  return tensor.values.slice(member * size, (member + 1) * size);
}

/** Groups the layers by Linear: what stands before the first one, and each Linear with what follows. */
function stagesOf(layers) {
  const before = [];
  const stages = [];
  for (const layer of layers) {
    if (layer.kind === 'linear') stages.push({ linear: layer, after: [] });
    else (stages.at(-1)?.after ?? before).push(layer);
  }
  return { before, stages };
}

const isSmall = ({ stages }) => {
  const widths = [stages[0].linear.in_features, ...stages.map(({ linear }) => linear.out_features)];
  const links = stages.reduce((sum, { linear }) => sum + linear.in_features * linear.out_features, 0);
  return stages.every(({ linear }) => linear.tensors.every((tensor) => tensor.values))
    && Math.max(...widths) <= MOST_UNITS && links <= MOST_LINKS;
};

/** Returns the columns of units and the parameters of a small network, in the order of the arrow keys. */
function unitsOf(network, { before, stages }, member) {
  const columns = [stages[0].linear.in_features, ...stages.map(({ linear }) => linear.out_features)];
  const outputs = network.outputs?.slice(-columns.at(-1)); // one unit for two classes gives the second one
  const unitName = (column, at) => {
    if (column === 0) return nameOf(network.inputs, at, 'input');
    if (column === stages.length) return nameOf(outputs, at, 'output');
    return `unit ${at + 1} of layer ${column}`;
  };
  const parts = []; // { column, unit, from, value, text }; `from` is null for what belongs to the unit itself
  // Frequencies are no values of units, also if there are as many: only a layer from units to the same units has such values.
  const isOf = ({ in_features: from, out_features: to }, column) => from === columns[column] && to === columns[column];
  const own = (layer, column) => isOf(layer, column) && layer.tensors.forEach((tensor) => {
    const values = memberOf(tensor, member, network.members);
    if (!tensor.learned || !values || values.length !== columns[column]) return;
    values.forEach((value, unit) => parts.push({
      column, unit, from: null, value, text: `${tensor.name} of ${layer.type}, ${unitName(column, unit)}: ${number(value)}`,
    }));
  });
  before.forEach((layer) => own(layer, 0));
  stages.forEach(({ linear, after }, stage) => {
    const find = (name) => memberOf(linear.tensors.find((tensor) => tensor.name === name), member, network.members);
    const [weights, biases] = [find('weight'), find('bias')];
    for (let unit = 0; unit < linear.out_features; unit += 1) {
      const to = unitName(stage + 1, unit);
      if (biases) {
        parts.push({ column: stage + 1, unit, from: null, isBias: true, value: biases[unit], text: `Bias of ${to}: ${number(biases[unit])}` });
      }
      for (let from = 0; from < linear.in_features; from += 1) {
        const value = weights[unit * linear.in_features + from];
        parts.push({ column: stage + 1, unit, from, value, text: `Weight ${unitName(stage, from)} → ${to}: ${number(value)}` });
      }
    }
    after.forEach((layer) => own(layer, stage + 1));
  });
  return { columns, parts, unitName };
}

const functions = (layers) => layers.map((layer) => layer.type).join(', ');

/** Draws each unit and each weight. */
function Units({ network, stages: all, member, width, current }) {
  const { columns, parts, unitName } = useMemo(() => unitsOf(network, all, member), [network, member]);
  const narrow = width < 520;
  const side = narrow ? 64 : 132; // px for names on either side
  const tallest = Math.max(...columns);
  const height = 2 * MARGIN + ROOM * (tallest - 1);
  const x = (column) => side + (column * (width - 2 * side)) / (columns.length - 1);
  const y = (column, unit) => height / 2 + ROOM * (unit - (columns[column] - 1) / 2);
  const largest = largestOf(parts, columns.length);
  const tone = (value) => (value < 0 ? 'negative' : 'positive');
  const strength = ({ column, value }) => Math.abs(value) / (largest[column] || 1);
  const radius = narrow ? 7 : 9;
  return html`<svg viewBox=${`0 0 ${width} ${height + 22}`} width=${width} height=${height + 22} aria-hidden="true">
    ${parts.map((part, at) => part.from !== null && html`<g data-part=${at}>
      <line class=${`link ${tone(part.value)} ${at === current ? 'now' : ''}`}
        x1=${x(part.column - 1)} y1=${y(part.column - 1, part.from)} x2=${x(part.column)} y2=${y(part.column, part.unit)}
        stroke-width=${0.6 + 4.4 * strength(part)} stroke-opacity=${at === current ? 1 : 0.2 + 0.7 * strength(part)} />
      <line class="hit" x1=${x(part.column - 1)} y1=${y(part.column - 1, part.from)} x2=${x(part.column)} y2=${y(part.column, part.unit)} /></g>`)}
    ${columns.map((units, column) => Array.from({ length: units }, (_, unit) => {
    const at = parts.findIndex((part) => part.column === column && part.unit === unit && part.isBias);
    const bias = parts[at];
    return html`<circle class=${`unit ${bias ? tone(bias.value) : ''} ${at >= 0 && at === current ? 'now' : ''}`} data-part=${at < 0 ? undefined : at}
      data-name=${unitName(column, unit)} cx=${x(column)} cy=${y(column, unit)} r=${radius}
      stroke-width=${bias ? 1.2 + 2.8 * strength(bias) : 1.2} />`;
  }))}
    ${[0, columns.length - 1].map((column) => Array.from({ length: columns[column] }, (_, unit) => html`
      <text class="label" x=${x(column) + (column ? 1 : -1) * (radius + 6)} y=${y(column, unit)} dy="0.35em"
        text-anchor=${column ? 'start' : 'end'}>${short(unitName(column, unit), narrow ? 7 : 17)}</text>`))}
    ${columns.map((_, column) => html`<text class="label muted" x=${x(column)} y=${height + 14} text-anchor="middle">${
    column === 0 ? (all.before.length && !narrow ? functions(all.before) : 'inputs')
      : column === columns.length - 1 ? network.output
        : short(functions(all.stages[column - 1].after), narrow ? 9 : 30)}</text>`)}
  </svg>`;
}

/** Returns the largest absolute value of the links and biases that lead to each column. */
function largestOf(parts, columns) {
  const largest = Array.from({ length: columns }, () => 0);
  for (const { column, value } of parts) largest[column] = Math.max(largest[column], Math.abs(value));
  return largest;
}

/** Returns a sentence about each layer of a large network, in the order of the arrow keys. */
const layersOf = (network) => network.layers.map((layer) => ({
  layer,
  text: [`${layer.name}: ${layer.type}, ${count(layer.in_features)} → ${count(layer.out_features)}`,
    layer.params ? plural(layer.params, 'parameter') : 'no parameters',
    ...layer.tensors.filter((tensor) => tensor.learned).map((tensor) =>
      `${tensor.name} ${tensor.shape.join(' × ')} from ${number(tensor.minimum)} to ${number(tensor.maximum)}, standard deviation ${number(tensor.std)}`),
  ].join('; '),
}));

/** Draws each layer as a bar as tall as the layer is wide, on a logarithmic scale. */
function Layers({ network, stages: { before, stages: linears }, width, current }) {
  const parts = layersOf(network);
  const at = (layer) => network.layers.indexOf(layer);
  const step = Math.max(92, (width - 40) / linears.length);
  const across = Math.max(width, 40 + step * linears.length);
  const tall = (n) => 18 + 15 * Math.log2(n + 1);
  const height = 40 + tall(Math.max(linears[0].linear.in_features, ...linears.map(({ linear }) => linear.out_features)));
  const bar = (n, left, layer) => html`<g data-part=${layer === undefined ? undefined : layer}>
    <rect class=${`layer ${layer === current && layer !== undefined ? 'now' : ''}`} x=${left} y=${(height - tall(n)) / 2} width="22" height=${tall(n)} rx="4" />
    <text class="label" x=${left + 11} y=${(height - tall(n)) / 2 - 5} text-anchor="middle">${count(n)}</text></g>`;
  return html`<div class="scroll" tabindex="0" role="group" aria-label="All layers"><svg viewBox=${`0 0 ${across} ${height + 26}`} width=${across} height=${height + 26} aria-hidden="true">
    ${linears.map(({ linear, after }, i) => {
    const [left, right] = [30 + step * i, 8 + step * (i + 1)];
    const [from, to] = [tall(linear.in_features) / 2, tall(linear.out_features) / 2];
    const middle = height / 2;
    return html`<g data-part=${at(linear)}><polygon class=${`flow ${at(linear) === current ? 'now' : ''}`}
        points=${`${left},${middle - from} ${right},${middle - to} ${right},${middle + to} ${left},${middle + from}`} />
      <text class="label" x=${(left + right) / 2} y=${middle} dy="0.35em" text-anchor="middle">${short(count(linear.params), 11)}</text></g>
      ${after.map((layer, n) => html`<text class=${`label muted ${at(layer) === current ? 'now' : ''}`} data-part=${at(layer)}
        x=${right + 11} y=${height + 12 + 12 * n} text-anchor="middle">${n < 2 ? short(layer.type, 13) : ''}</text>`)}`;
  })}
    ${bar(linears[0].linear.in_features, 8, before.length ? at(before[0]) : undefined)}
    ${linears.map(({ linear, after }, i) => bar(linear.out_features, 8 + step * (i + 1), after.length ? at(after[0]) : at(linear)))}
  </svg></div><span class="visually-hidden">${parts.length} layers</span>`;
}

/** The drawing of a network, and a line about the part that is pointed at. */
export function NetworkDrawing({ network }) {
  const box = useRef();
  const [width, setWidth] = useState(0);
  const [member, setMember] = useState(0);
  const [current, setCurrent] = useState(-1);
  const [hovered, setHovered] = useState('');
  useLayoutEffect(() => {
    setWidth(box.current.clientWidth); // before the first paint, so that nothing jumps
    const watch = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const all = useMemo(() => stagesOf(network.layers), [network]);
  const small = useMemo(() => isSmall(all), [all]);
  const parts = useMemo(() => (small ? unitsOf(network, all, member).parts : layersOf(network)), [network, member]);
  const drawn = parts.length * (small ? network.members : 1);
  const rest = network.total_params - drawn;
  const about = small
    ? `${plural(network.members > 1 ? parts.length : Math.min(parts.length, network.total_params), 'parameter')}: each line is a weight, each ring a bias.${
      rest > 0 && network.members === 1 ? ` ${count(rest)} more, of the input stage, are in the table below.` : ''}`
    : `${plural(network.total_params, 'parameter')} in ${plural(network.layers.length, 'layer')}.`;
  const point = (event) => {
    const { part } = event.target.closest('[data-part]')?.dataset ?? {};
    setCurrent(part === undefined ? -1 : Number(part));
    setHovered(part === undefined ? event.target.dataset?.name ?? '' : '');
  };
  const move = (event) => {
    const next = { ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1,
      PageDown: current + 10, PageUp: current - 10, Home: 0, End: parts.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    setCurrent(Math.min(Math.max(next, 0), parts.length - 1));
  };
  const text = parts[current]?.text ?? hovered;
  const weights = network.member_weights && shares(network.member_weights);
  return html`<figure class="network">
    ${network.members > 1 && small && html`<label class="field inline">Member
      <select value=${member} onChange=${(event) => { setMember(Number(event.target.value)); setCurrent(-1); }}>
        ${Array.from({ length: network.members }, (_, n) => html`<option value=${n}>${n + 1} of ${network.members}${weights ? `, weight ${weights[n]}` : ''}</option>`)}
      </select></label>`}
    <div ref=${box} class="drawing" tabindex="0" role="application" aria-label=${`Drawing of the network: ${about} Read it part by part with the arrow keys.`}
      onPointerMove=${point} onPointerLeave=${() => { setCurrent(-1); setHovered(''); }} onKeyDown=${move}>
      ${width > 0 && html`<${small ? Units : Layers} network=${network} stages=${all} member=${member} width=${width} current=${current} />`}
    </div>
    <figcaption><output class="reading" aria-live="polite">${text || 'Point at a part, or use the arrow keys, to read it.'}</output>
      <span class="muted">${about}</span></figcaption>
  </figure>`;
}
