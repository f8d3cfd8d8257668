// What a model answers over the plane of two columns, beside another model of the same columns.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { post, unknownText } from '../lib/api.js';
import { chance, colourOf, hasChances, rgbOf, useTheme } from '../lib/charts.js';
import { Form, rangeOf, rowOf, typicalRow } from '../lib/fields.js';
import { resolved, shown } from '../lib/format.js';
import { latest, useReturns } from '../lib/latest.js';
import { Empty, Failure, Loading, exactly, modelPath, useGet } from '../lib/parts.js';
import { COLOURS, coloursOf, coordinate, gridRows, pixels, points, sideFor, widened } from '../lib/surface.js';

const NAMED = 16; // classes of a legend
const place = (id) => `models/${encodeURIComponent(id)}`;
const isPlane = ({ kind }) => kind === 'numeric';

/** Asks a version about all points of the plane, in one request; a server with a lower limit gets fewer points. */
async function ask({ version, columns, row, x, y, ranges }) {
  for (let side = sideFor(columns.length); ; side >>= 1) {
    try {
      return { side, ...await post('predict', { model: version, instances: gridRows({ columns, row, x, y, ranges, side }) }) };
    } catch (error) {
      if (error.status !== 413 || side < 12) throw error;
    }
  }
}

function usePlane(question) {
  const [state, setState] = useState({});
  const asks = useMemo(() => latest(ask, (answer, error, asked) => setState((old) => ({ answer: error ? old.answer : { ...answer, asked }, error }))), []);
  useEffect(() => asks.stop, []);
  const returns = useReturns();
  useEffect(() => { asks(question); }, [question, returns]);
  return { ...state, retry: () => asks(question) };
}

function Legend({ classes, colours, values }) {
  if (!classes) {
    const told = (value) => resolved(value, values[1] - values[0], 3);
    return html`<p class="row legend"><span>${told(values[0])}</span><span class="scale" aria-hidden="true"></span><span>${told(values[1])}</span></p>`;
  }
  const present = classes.length <= COLOURS ? classes.map((_, at) => at) : [...colours.keys()]; // of many the largest areas first
  const rest = present.length - NAMED;
  return html`<ul class="row legend">${present.slice(0, NAMED).map((at) => html`<li class="key"><span class="swatch" style=${{ background: colourOf(colours.get(at) ?? at) }}></span>${
    shown(classes[at])}</li>`)}${rest > 0 && html`<li class="key muted">and ${rest} more</li>`}</ul>
    ${colours.size > COLOURS && html`<p class="muted">The plane has ${colours.size} classes, and ${COLOURS} colours: a line divides two classes.</p>`}`;
}

/** Returns the answer with the values of one of several targets alone. */
const ofTarget = (answer, targets, target) => (targets ? { ...answer, predictions: answer.predictions.map((values) => values[targets.indexOf(target)]) } : answer);

function Plane({ model, detail, columns, row, x, y, ranges, inner, marks, target }) {
  const version = exactly(detail);
  // The frame and the dots are those of the axes that were asked about, also if the answer for newer axes fails.
  const question = useMemo(() => ({ version, columns, row, x, y, ranges, inner, marks }), [version, columns, row, x, y, ranges, inner, marks]);
  const { answer: whole, error, retry } = usePlane(question);
  const theme = useTheme();
  const canvas = useRef();
  const [chosen, choose] = useState(null);
  const { classes, targets } = detail;
  const answer = useMemo(() => whole && ofTarget(whole, targets, target), [whole, targets, target]);
  const found = useMemo(() => answer && points(answer, classes), [answer, classes]);
  const colours = useMemo(() => found && coloursOf(found), [found]);
  const side = answer?.side ?? 0;
  useEffect(() => {
    if (!found) return;
    const eight = Array.from({ length: COLOURS }, (_, at) => rgbOf(colourOf(at)));
    const rgb = new Map([...colours].map(([at, colour]) => [at, classes ? eight[colour] : rgbOf('var(--accent)')]));
    const border = colours.size > COLOURS && rgbOf('var(--text)');
    const image = new ImageData(pixels(found, side, rgbOf('var(--raised)'), rgb, border), side, side);
    Object.assign(canvas.current, { width: side, height: side });
    canvas.current.getContext('2d').putImageData(image, 0, 0);
  }, [found, theme]);
  if (!found) return html`<section class="card plane"><h2>${model}</h2>${error ? html`<${Failure} error=${error} retry=${retry} />` : html`<div class="square"></div>`}</section>`;
  const { ranges: [xs, ys], inner: frame, marks: dots } = answer.asked;
  const at = chosen ?? Math.floor(side / 2) * (side + 1);
  const [i, j] = [at % side, Math.floor(at / side)];
  const limit = (n) => Math.max(0, Math.min(side - 1, n));
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    choose(limit(Math.floor((side * (event.clientX - box.left)) / box.width)) + side * limit(Math.floor((side * (box.bottom - event.clientY)) / box.height)));
  };
  const move = (event) => {
    const [right, up] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!right && !up) return;
    event.preventDefault();
    choose(limit(i + right) + side * limit(j + up));
  };
  const here = found[at];
  const values = classes ? [] : [Math.min(...answer.predictions), Math.max(...answer.predictions)];
  const mark = (value, [low, high]) => resolved(value, high - low, 3);
  const told = classes ? `${shown(classes[here.at])}${hasChances(detail) ? `, ${chance(here.value)}` : ''}` : resolved(here.value, values[1] - values[0], 4);
  const share = (value, [low, high]) => (100 * (value - low)) / (high - low);
  const box = frame && { left: `${share(frame[0][0], xs)}%`, right: `${100 - share(frame[0][1], xs)}%`, bottom: `${share(frame[1][0], ys)}%`, top: `${100 - share(frame[1][1], ys)}%` };
  return html`<section class="card plane" aria-label=${model}><h2><a href=${modelPath(model)}>${model}</a>${targets && html` <span class="muted">${target}</span>`}</h2>
    ${error && html`<p class="fault" role="alert">${error.message}</p>`}
    <div class="axes"><span class="y-name">${answer.asked.y}</span><span class="y-top">${mark(ys[1], ys)}</span><span class="y-low">${mark(ys[0], ys)}</span>
      <div class="square" role="application" tabindex="0" aria-label=${`Answers of ${model} over ${answer.asked.x} and ${answer.asked.y}; the arrow keys move the point`}
        onPointerMove=${point} onPointerDown=${point} onKeyDown=${move}><canvas ref=${canvas} aria-hidden="true"></canvas>
        ${box && html`<span class="range" style=${box}></span>`}
        ${dots.map(([mx, my]) => html`<span class="dot" style=${{ left: `${share(mx, xs)}%`, bottom: `${share(my, ys)}%` }}></span>`)}
        <span class="cursor" style=${{ left: `${(100 * (i + 0.5)) / side}%`, bottom: `${(100 * (j + 0.5)) / side}%` }}></span></div>
      <span class="x-low">${mark(xs[0], xs)}</span><span class="x-name">${answer.asked.x}</span><span class="x-top">${mark(xs[1], xs)}</span></div>
    <p class="reading" aria-live=${chosen === null ? 'off' : 'polite'}>${mark(coordinate(xs, i, side), xs)}, ${mark(coordinate(ys, j, side), ys)}: ${told}</p>
    <${Legend} classes=${classes} colours=${colours} values=${values} />
    ${answer.unknown.cells > 0 && html`<p class="muted">${unknownText(answer.unknown)}</p>`}</section>`;
}

/** The plane of another model, if the other model has the same columns. */
function Beside({ id, columns, ...rest }) {
  const { data, error, reload } = useGet(place(id));
  if (error) return html`<section class="card plane"><${Failure} error=${error} retry=${reload} /></section>`;
  if (!data) return html`<section class="card plane"><${Loading} /></section>`;
  const names = ({ columns: given }) => given.map(({ name }) => name).sort().join('\n');
  if (names(data) !== names({ columns })) return html`<section class="card plane"><h2>${id}</h2><p>${id} has other columns.</p></section>`;
  const { target } = rest;
  if (target ? !(data.targets ?? [data.target.name]).includes(target) : data.targets) return html`<section class="card plane"><h2>${id}</h2><p>${id} has other targets.</p></section>`;
  return html`<${Plane} model=${id} detail=${data} columns=${data.columns} ...${rest} />`;
}

const Choice = ({ name, value, options, change }) => html`<label class="field">${name}<select value=${value} onChange=${(event) => change(event.target.value)}>
  ${options.map(([option, text = option]) => html`<option key=${option} value=${option}>${text}</option>`)}</select></label>`;

function Planes({ model, detail, models, parameters }) {
  const numeric = detail.columns.filter(isPlane);
  const typical = useMemo(() => typicalRow(detail), [detail]);
  const others = useMemo(() => [...detail.versions.filter((version) => version !== detail.version).map((version) => `${detail.name}@${version}`),
    ...models.filter((one) => one.name !== detail.name && one.columns === detail.columns.length && one.task === detail.task).map(({ name }) => name)], [detail, models]);
  const known = (wanted, fallback) => (numeric.some(({ name }) => name === wanted) ? wanted : fallback);
  const [axes, setAxes] = useState(() => ({ x: known(parameters.get('x'), numeric[0].name), y: known(parameters.get('y'), numeric[1].name) }));
  const [beside, setBeside] = useState(() => parameters.get('beside') ?? ['perceptron', 'linear'].map((end) => `${detail.name}-${end}`).find((name) => others.includes(name)) ?? '');
  const [row, setRow] = useState(typical);
  const { x, y } = axes;
  const { targets } = detail;
  const [target, setTarget] = useState(() => targets && (targets.includes(parameters.get('target')) ? parameters.get('target') : targets[0]));
  const inner = useMemo(() => [x, y].map((name) => {
    const column = numeric.find((one) => one.name === name);
    return rangeOf(column) ?? [column.mean - 1, column.mean + 1];
  }), [x, y, detail]);
  const ranges = useMemo(() => inner.map(widened), [inner]);
  const isKnown = [x, y].every((name) => typeof numeric.find((one) => one.name === name).minimum === 'number'); // not if imported
  useLayoutEffect(() => { // at once, as in the list of models
    history.replaceState(null, '', `${modelPath(model, 'decision')}?${new URLSearchParams({ x, y, beside, ...(target && { target }) })}`);
  }, [model, x, y, beside, target]);
  const turn = (name) => (chosen) => setAxes(name === 'x' ? { x: chosen, y: chosen === y ? x : y } : { x: chosen === x ? y : x, y: chosen });
  const marks = useMemo(() => {
    const both = [x, y].map((name) => numeric.find((one) => one.name === name));
    return (detail.data.examples ?? []).filter(Boolean).map((one) => rowOf(both, one)).map((cells) => [cells[x], cells[y]])
      .filter((cells) => cells.every((cell) => typeof cell === 'number'));
  }, [x, y, detail]);
  const common = { row, x, y, ranges, inner: isKnown && inner, marks, target };
  const rest = detail.columns.filter(({ name }) => name !== x && name !== y);
  const names = numeric.map(({ name }) => [name]);
  return html`<div class="stack"><div class="row choices"><${Choice} name="Across" value=${x} options=${names} change=${turn('x')} />
      <${Choice} name="Up" value=${y} options=${names} change=${turn('y')} />
      ${targets && html`<${Choice} name="Target" value=${target} options=${targets.map((name) => [name])} change=${setTarget} />`}
      ${others.length > 0 && html`<${Choice} name="Beside" value=${beside} options=${[['', 'nothing'], ...others.map((name) => [name])]} change=${setBeside} />`}</div>
    <div class="planes"><${Plane} key=${model} model=${model} detail=${detail} columns=${detail.columns} ...${common} />
      ${beside && html`<${Beside} key=${beside} id=${beside} columns=${detail.columns} ...${common} />`}</div>
    <p class="muted">A colour is as strong as the answer is certain. ${isKnown ? 'The dashed frame is the range of training' : 'The range of training is not known'}${marks.length
      ? `, and the dots are ${detail.data.examples_kind === 'rows' ? 'rows of training' : 'typical rows'}` : ''}.</p>
    ${rest.length > 0 && html`<details class="card"><summary>The other columns, which stay the same over the plane</summary>
      <${Form} columns=${rest} row=${row} typical=${typical} change=${(name, cell) => setRow((old) => ({ ...old, [name]: cell }))} /></details>`}</div>`;
}

/** The view of decisions over a plane. */
export default function DecisionView({ model, parameters }) {
  const { data, error, reload } = useGet(place(model));
  const list = useGet('models');
  const failed = error ?? list.error;
  if (failed && !(data && list.data)) return html`<${Failure} error=${failed} retry=${() => { reload(); list.reload(); }} />`;
  if (!data || !list.data) return html`<${Loading} lines=${12} />`;
  if (data.columns.filter(isPlane).length < 2) {
    return html`<${Empty} title="A plane needs two columns of numbers"><p>This model has ${data.columns.filter(isPlane).length || 'none'}.</p><//>`;
  }
  return html`<${Planes} model=${model} detail=${data} models=${list.data.models} parameters=${parameters} />`;
}
