// Numbers, times and cells as texts for people.

const counts = new Intl.NumberFormat('en');
const moments = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });
const passed = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** Writes a number with a few significant digits, or with all of those before the point: `0.9667`, `1,234`, `3.2e-7`. */
export function number(x, digits = 4) {
  if (x === null || x === undefined || Number.isNaN(x)) return '–';
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return counts.format(x + 0); // + 0: a negative zero is 0
  const size = Math.abs(x);
  const whole = Math.floor(Math.log10(size)) + 1; // digits before the point
  if ((whole > 9 && whole > digits) || size < 1e-4) return Number(x.toPrecision(digits)).toExponential().replace('e+', 'e');
  return x.toLocaleString('en', { maximumSignificantDigits: Math.max(digits, whole) });
}

/** Writes a number with a few digits, or with so many that two differ that are a thousandth of `spread` apart. */
export function resolved(x, spread, digits = 6) {
  const needed = spread > 0 ? Math.floor(Math.log10(Math.abs(x))) - Math.floor(Math.log10(spread)) + 4 : 0;
  return number(x, Math.max(digits, Math.min(needed, 15)));
}

/** Writes a whole number with thousands separators. */
export const count = (n) => (n === null || n === undefined ? '–' : counts.format(n));

/** Writes a count with its noun: `1 row`, `1,234 rows`. */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Writes a share as a percentage. */
export const percent = (x, digits = 3) => `${number(100 * x, digits)} %`;

/** Writes weights as percentages of their sum. */
export const shares = (weights, sum = weights.reduce((a, b) => a + b, 0)) => weights.map((weight) => percent(weight / sum));

/** Writes a number of bytes. */
export function bytes(n) {
  const step = n < 1000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), 4);
  return `${number(n / 1000 ** step, 3)} ${['B', 'kB', 'MB', 'GB', 'TB'][step]}`;
}

/** Writes a duration in seconds: `1.2 ms`, `3.4 s`. */
export function seconds(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return '–';
  if (s < 1e-3) return `${number(1e6 * s, 3)} µs`;
  return s < 1 ? `${number(1e3 * s, 3)} ms` : `${number(s, 3)} s`;
}

/** Writes days since 1970 as a date in ISO 8601, with the time of day if `hours` is true. */
export const dayText = (days, hours) => new Date(Math.round(days * 86_400_000)).toISOString().slice(0, hours ? 19 : 10);

/** Writes a moment in the reader's time zone. */
export const dateTime = (iso) => moments.format(new Date(iso));

const UNITS = [['year', 31_536_000], ['month', 2_592_000], ['day', 86_400], ['hour', 3_600], ['minute', 60]];

/** Writes how long ago a moment was: `3 days ago`. */
export function ago(iso, now = Date.now()) {
  const past = (new Date(iso) - now) / 1000;
  const unit = UNITS.find(([, length]) => Math.abs(past) >= length);
  return unit ? passed.format(Math.round(past / unit[1]), unit[0]) : 'just now';
}

/** Writes a cell or a label as it stands in JSON, but texts without quotation marks. */
export const shown = (value) => (value === null || value === undefined ? 'missing' : String(value));

const NAMES = new Map([['r2', 'R²'], ['rmse', 'RMSE'], ['mae', 'MAE'], ['roc_auc', 'ROC AUC'], ['f1_macro', 'F1 (macro)']]);

/** Writes a name such as `log_loss` as words. */
export function words(name) {
  const text = NAMES.get(name) ?? name.replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
