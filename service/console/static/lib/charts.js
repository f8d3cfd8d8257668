// Charts of several views: bars of probabilities and of reasons, lines over time, two distributions over each other.
import { html, useEffect, useState } from '../vendor/preact.js';
import { number, percent, shown } from './format.js';
import './styles.js';

/** Writes a probability with a fixed number of decimals, so that nothing moves while it changes. */
export const chance = (share) => `${(100 * share).toFixed(1)} %`;

/** Tells if a model gives probabilities, and not a label alone. */
export const hasChances = ({ architecture }) => !['step', 'argmax'].includes(architecture.output);

/** Returns the colour of a class, by number; there are eight. */
export const colourOf = (at) => `var(--c${at % 8})`;

/** Returns a number that grows whenever the theme changes, so that a canvas is drawn again. */
export function useTheme() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const next = () => setTurn((n) => n + 1);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const watch = new MutationObserver(next);
    watch.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    dark.addEventListener('change', next);
    return () => { watch.disconnect(); dark.removeEventListener('change', next); };
  }, []);
  return turn;
}

/** Returns a CSS colour as `[red, green, blue]`. */
export function rgbOf(colour) {
  const probe = document.createElement('span');
  probe.style.color = colour;
  document.body.append(probe);
  const dot = new OffscreenCanvas(1, 1).getContext('2d');
  dot.fillStyle = getComputedStyle(probe).color;
  probe.remove();
  dot.fillRect(0, 0, 1, 1);
  return [...dot.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

const Meter = ({ name, text, from = 0, to, colour, marked }) => html`<li class=${marked ? 'marked' : ''}>
  <span class="meter-name">${name}</span><span class="meter" aria-hidden="true">
    <span style=${{ left: `${100 * from}%`, width: `${100 * (to - from)}%`, background: colour }}></span></span>
  <span class="meter-value">${text}</span></li>`;

/** Bars of probabilities by class; of many classes the most probable ones. */
export function Probabilities({ classes, values, predicted, most = 12 }) {
  const places = classes.map((_, at) => at);
  if (classes.length > most) places.sort((a, b) => values[b] - values[a]).length = most;
  return html`<ol class="meters">${places.map((at) => html`<${Meter} key=${at} name=${shown(classes[at])} to=${values[at]}
      text=${chance(values[at])} colour=${colourOf(at)} marked=${classes[at] === predicted} />`)}</ol>
    ${classes.length > most && html`<p class="muted">The ${most} most probable of ${classes.length} classes.</p>`}`;
}

/** Bars of contributions, to the left of the middle if they are negative. */
export function Contributions({ reasons, most = 10 }) {
  const largest = Math.max(...reasons.map(({ contribution }) => Math.abs(contribution))) || 1;
  return html`<ol class="meters reasons">${reasons.slice(0, most).map(({ column, cell, contribution }) => {
    const end = 0.5 + contribution / largest / 2;
    return html`<${Meter} key=${column} name=${html`${column} <span class="muted">${shown(typeof cell === 'number' ? number(cell, 6) : cell)}</span>`}
      from=${Math.min(end, 0.5)} to=${Math.max(end, 0.5)} colour=${`var(--${contribution < 0 ? 'negative' : 'positive'})`}
      text=${`${contribution > 0 ? '+' : ''}${number(contribution, 3)}`} />`;
  })}</ol>${reasons.length > most && html`<p class="muted">The ${most} largest of ${reasons.length} columns.</p>`}`;
}

/** Returns the least of 1, 2 and 5 times a power of ten that is not below a number. */
export function niceAbove(x) {
  if (!(x > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 5, 10].find((step) => step * power >= x * 0.999) * power;
}

/** Lines over `x`, with a cursor for the pointer and the arrow keys; a null in the values is a gap. */
export function LineChart({ label, series, x, format = number, formatX = number }) {
  const [chosen, choose] = useState(null);
  const last = x.length - 1;
  const at = chosen === null ? last : Math.min(chosen, last);
  const top = niceAbove(Math.max(0, ...series.flatMap(({ values }) => values)));
  const across = (i) => (1000 * (x[i] - x[0])) / (x[last] - x[0] || 1);
  const path = (values) => values.map((value, i) => (value === null ? '' : `${i && values[i - 1] !== null ? 'L' : 'M'}${across(i).toFixed(1)},${
    (100 - (100 * value) / top).toFixed(2)}h0`)).join('') || 'M0,0';
  const told = (value) => (value === null || value === undefined ? '–' : format(value));
  const point = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    const place = x[0] + ((x[last] - x[0]) * (event.clientX - left)) / width;
    choose(x.reduce((best, time, i) => (Math.abs(time - place) < Math.abs(x[best] - place) ? i : best), 0));
  };
  const move = (event) => {
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(last, next)));
  };
  return html`<figure class="plot"><figcaption><strong>${label}</strong>${series.map(({ name, values }, i) => html`<span class="key">
      <span class="swatch" style=${{ background: colourOf(i) }}></span>${name} <b>${told(values[at])}</b></span>`)}</figcaption>
    ${last < 1 ? html`<div class="plot-area empty-plot muted">Waiting for figures</div>` : html`
    <div class="plot-area" role="slider" tabindex="0" aria-label=${label} aria-valuemin="0" aria-valuemax=${last} aria-valuenow=${at}
      aria-valuetext=${`${formatX(x[at])}: ${series.map(({ name, values }) => `${name} ${told(values[at])}`).join(', ')}`}
      onPointerMove=${point} onPointerLeave=${() => choose(null)} onKeyDown=${move} onBlur=${() => choose(null)}>
      <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
        ${[0, 50, 100].map((y) => html`<path class="grid" d=${`M0,${y}H1000`} />`)}
        ${series.map(({ values }, i) => html`<path class=${`line c${i}`} d=${path(values)} />`)}
        ${chosen !== null && html`<path class="mark" d=${`M${across(at)},0V100`} />`}</svg>
      <span class="plot-top muted" aria-hidden="true">${format(top)}</span></div>`}
    <div class="plot-axis muted" aria-hidden="true"><span>${last > 0 && formatX(x[0])}</span><span>${last > 0 && formatX(x[at])}</span></div></figure>`;
}

/** Writes the edges of bins, with so many digits that neighbours differ. */
export function edgeTexts(edges, digits = 3) {
  const texts = edges.map((edge) => (typeof edge === 'string' ? edge.replace(/T00:00:00Z$/, '') : number(edge, digits)));
  return digits < 15 && texts.some((text, at) => at && text === texts[at - 1]) ? edgeTexts(edges, digits + 1) : texts;
}

/** Returns a sentence for each bin of a distribution. */
function binsOf({ edges, categories, training }) {
  const texts = categories ? [] : edgeTexts(edges);
  return training.map((_, at) => {
    if (categories) return shown(categories[at] ?? 'all others');
    if (!texts.length) return 'all';
    if (at === 0) return `up to ${texts[0]}`;
    return at === texts.length ? `above ${texts.at(-1)}` : `${texts[at - 1]} to ${texts[at]}`;
  });
}

/** The shares of training and of a window by bin, over each other, as columns of equal width; and as a table. */
export function TwoDistributions({ of }) {
  const { training, window } = of;
  const bins = binsOf(of);
  const top = Math.max(...training, ...window) || 1;
  const width = 100 / training.length;
  const bar = (share, at, name) => html`<rect class=${name} x=${at * width + width * 0.08} width=${width * 0.84}
    y=${100 - (100 * share) / top} height=${(100 * share) / top} />`;
  return html`<figure class="plot"><figcaption><span class="key"><span class="swatch training"></span>training</span>
      <span class="key"><span class="swatch window"></span>window</span></figcaption>
    <div class="plot-area tall"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Share of rows by bin; the table below has the figures">
      ${training.map((share, at) => bar(share, at, 'training'))}${window.map((share, at) => bar(share, at, 'window'))}</svg>
      <span class="plot-top muted">${percent(top)}</span></div>
    <div class="plot-axis muted"><span>${bins[0]}</span><span>${bins.at(-1)}</span></div>
    <details><summary>Shares by bin</summary><table class="table"><thead><tr><th scope="col">Bin</th><th scope="col" class="right">Training</th>
      <th scope="col" class="right">Window</th></tr></thead><tbody>${bins.map((bin, at) => html`<tr><th scope="row">${bin}</th>
      <td class="right">${percent(training[at])}</td><td class="right">${percent(window[at])}</td></tr>`)}</tbody></table></details></figure>`;
}
