// Small charts of a model's page: a distribution as bars, and a learning curve.
import { html } from '../vendor/preact.js';
import { count, number, percent, shown, words } from './format.js';

/** Returns bars as `{ from, to, share, height }`: of numbers as densities, of categories as shares. */
function barsOf({ counts, edges, minimum, maximum, categories }) {
  const total = counts.reduce((sum, n) => sum + n, 0) || 1;
  const bounds = [minimum, ...(edges ?? []), maximum].map((edge) => (typeof edge === 'string' ? Date.parse(edge) : edge));
  const isDensity = !categories && bounds.every((edge, i) => Number.isFinite(edge) && (!i || edge >= bounds[i - 1]))
    && bounds.at(-1) > bounds[0];
  const span = isDensity ? bounds.at(-1) - bounds[0] : counts.length;
  const least = span / 60; // a bin of one value would be an endless spike
  const bars = counts.map((n, i) => {
    const [from, to] = isDensity ? [bounds[i] - bounds[0], bounds[i + 1] - bounds[0]] : [i, i + 1];
    return { from: from / span, to: to / span, share: n / total, height: n / Math.max(to - from, least) };
  });
  const highest = Math.max(...bars.map(({ height }) => height)) || 1;
  return bars.map((bar) => ({ ...bar, height: bar.height / highest }));
}

/** Draws a distribution as bars. */
export function Distribution({ of, label = 'Distribution in training', width = 140, height = 30 }) {
  const bars = barsOf(of);
  const most = bars.reduce((best, bar, i) => (bar.share > bars[best].share ? i : best), 0);
  const where = of.categories ? shown(of.categories[most] ?? 'all others') : `bin ${most + 1} of ${bars.length}`;
  return html`<svg class="bars" viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} role="img"
    aria-label=${`${label}: ${percent(bars[most].share)} in ${where}`}>
    ${bars.map(({ from, to, height: share }) => html`<rect x=${Math.min(width * from, width - 2)} width=${Math.max(width * (to - from) - 1, 2)}
      y=${height - Math.max(height * share, share ? 1 : 0)} height=${Math.max(height * share, share ? 1 : 0)} />`)}</svg>`;
}

/** Draws measures over epochs, and marks the best epoch. */
export function Curve({ history, names, best, width = 460, height = 200 }) {
  const epochs = Math.max(...names.map((name) => history[name].length));
  const values = names.flatMap((name) => history[name]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [left, bottom, top] = [52, 26, 8];
  const x = (i) => left + ((width - left - 8) * i) / Math.max(epochs - 1, 1);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low || 1);
  const last = names.map((name) => `${words(name)} ${number(history[name][best - 1] ?? history[name].at(-1))}`);
  return html`<figure class="curve"><svg viewBox=${`0 0 ${width} ${height}`} role="img"
      aria-label=${`Over ${count(epochs)} epochs; at the best one, ${best || 'the last'}: ${last.join(', ')}`}>
    ${[high, (high + low) / 2, low].map((value) => html`<line class="grid" x1=${left} x2=${width - 8} y1=${y(value)} y2=${y(value)} />
      <text class="label muted" x=${left - 6} y=${y(value)} dy="0.35em" text-anchor="end">${number(value, 3)}</text>`)}
    ${best > 0 && html`<line class="mark" x1=${x(best - 1)} x2=${x(best - 1)} y1=${top} y2=${height - bottom} />
      <text class="label" x=${x(best - 1)} y=${height - 8} text-anchor=${best > epochs * 0.8 ? 'end' : best < epochs * 0.2 ? 'start' : 'middle'}>best: ${best}</text>`}
    ${names.map((name, i) => html`<polyline class=${`line c${i}`} points=${history[name].map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' ')} />`)}
    </svg><figcaption>${names.map((name, i) => html`<span class="key"><span class=${`swatch c${i}`}></span>${words(name)}</span>`)}</figcaption></figure>`;
}
