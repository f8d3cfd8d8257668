// Fields of a form, one for each column of a model, and the rows with which a form begins.
import { html, useState } from '../vendor/preact.js';
import { dayText, plural, resolved } from './format.js';
import { Distribution } from './small-charts.js';

const DAY = 86_400_000; // ms
const MOST_OPTIONS = 200; // of a list; a column with more categories has a text field
let fields = 0;

/**
 * Returns a row of the server as cells by column; columns that the row lacks have the cells of `rest`, or are missing. A
 * whole number beyond 2^53 came as a text, which a column of numbers refuses, unlike one of names.
 */
export const rowOf = (columns, row, rest = null) => Object.fromEntries(columns.map(({ name, kind }, at) => {
  const key = Array.isArray(row) ? at : name;
  const cell = Object.hasOwn(row, key) ? row[key] : rest && rest[name];
  return [name, kind === 'numeric' && /^-?\d+$/.test(cell) ? Number(cell) : cell];
}));

/** Returns a row of typical cells by column. */
export const typicalRow = ({ columns, example }) => rowOf(columns, example.instances[0]);

/** Returns the least and greatest number of a column, in days for dates; null if the column has no range. */
export function rangeOf({ minimum, maximum, mean, std, kind }) {
  if (kind === 'categorical') return null;
  const [low, high] = minimum === null || minimum === undefined ? [mean - 3 * std, mean + 3 * std] : [minimum, maximum];
  return high > low ? [low, high] : null;
}

/** Returns the step of a slider with about two hundred places: 1, 2 or 5 times a power of ten. */
export function stepOf([low, high]) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 100));
  return [5, 2, 1].map((step) => step * power).find((step) => (high - low) / step >= 100) ?? power;
}

/** Returns the step of a slider of moments, in days: an hour, or less for about a hundred places. */
export const momentStepOf = ([low, high]) => [1 / 24, 1 / 96, 1 / 1440].find((step) => (high - low) / step >= 100) ?? 1 / 86_400;

/** Returns a date as a cell of a row. */
const dateCell = (days, hours) => `${dayText(days, hours)}${hours ? 'Z' : ''}`;
const firstCell = ({ kind, categories, mean, parts }) => (kind === 'date' ? dateCell(mean, parts.includes('hour')) : categories?.[0] ?? mean);
const acceptsGaps = ({ missing, fill }) => (missing && missing !== 'refuse') || (fill !== null && fill !== undefined);
const daysOf = (text) => Date.parse(/T\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text) ? `${text}Z` : text) / DAY;

/** A number or a date: a slider over the range of training, and a field for any other value. */
function Measure({ id, column, value, typical, change, described, invalid }) {
  const [draft, setDraft] = useState(null);
  const isDate = column.kind === 'date';
  const hours = isDate && (column.parts.includes('hour') || [value, typical].some((cell) => /T(?!00:00:00)/.test(cell ?? '')));
  const range = rangeOf(column);
  const read = (text) => (isDate ? text && `${text}${hours ? 'Z' : ''}` : text.trim() && Number(text));
  const typed = (event) => {
    const text = event.target.value;
    setDraft(text);
    const cell = read(text);
    if (cell !== '' && (isDate || Number.isFinite(cell))) change(cell);
  };
  const kept = value === null || value === undefined ? '' : isDate ? dayText(daysOf(String(value)) || 0, hours) : String(value);
  const step = range && (isDate && !hours ? 1 : (isDate ? momentStepOf : stepOf)(range));
  const slid = ({ target }) => change(isDate ? dateCell(Number(target.value), hours) : Number(Number(target.value).toPrecision(12)));
  return html`${range && html`<input type="range" min=${Math.floor(range[0] / step) * step} max=${Math.ceil(range[1] / step) * step}
      step=${step} value=${isDate ? daysOf(String(value)) || range[0] : value ?? range[0]} aria-label=${`${column.name}, slider`}
      aria-valuetext=${isDate ? kept : undefined} disabled=${value === null} onInput=${slid} />`}
    <input id=${id} type=${isDate ? (hours ? 'datetime-local' : 'date') : 'number'} step=${isDate ? (hours ? 1 : undefined) : 'any'} value=${draft ?? kept}
      disabled=${value === null} aria-describedby=${described} aria-invalid=${invalid}
      onInput=${typed} onBlur=${() => setDraft(null)} />`;
}

function Category({ id, column, value, change, described, invalid }) {
  const { categories } = column;
  const common = { id, disabled: value === null, 'aria-describedby': described, 'aria-invalid': invalid };
  if (categories.length <= MOST_OPTIONS) {
    return html`<select ...${common} value=${String(value)} onChange=${(event) => change(event.target.value)}>${categories.map((name) => html`
      <option key=${name} value=${name}>${name}</option>`)}</select>`;
  }
  return html`<input ...${common} list=${`${id}-list`} value=${value ?? ''} onInput=${(event) => change(event.target.value)} />
    <datalist id=${`${id}-list`}>${categories.slice(0, MOST_OPTIONS).map((name) => html`<option value=${name} />`)}</datalist>`;
}

function about(column) {
  if (column.categories) return plural(column.categories.length, 'category', 'categories');
  const range = rangeOf(column);
  if (!range) return '';
  const told = column.kind === 'date' ? (days) => dayText(days) : (value) => resolved(value, range[1] - range[0], 4);
  return column.minimum === null ? 'range unknown' : `${told(range[0])} to ${told(range[1])}`;
}

/** A field for one column. `counted`: its distribution in training, null while that is loaded. `note`: about its value. */
export function Field({ column, value, typical, change, fault, note, counted }) {
  const [id] = useState(() => `field-${fields += 1}`);
  const described = fault || note ? `${id}-note` : undefined;
  const Cell = column.kind === 'categorical' ? Category : Measure;
  return html`<div class="cell"><div class="row spread"><label for=${id}>${column.name}</label><span class="muted">${about(column)}</span></div>
    ${column.kind !== 'categorical' && (counted ? html`<${Distribution} of=${counted} width=${300} height=${22} />` : counted === null && html`<div class="bars-place"></div>`)}
    <div class="row"><${Cell} id=${id} column=${column} value=${value} typical=${typical} change=${change} described=${described} invalid=${fault ? 'true' : undefined} />
      ${acceptsGaps(column) && html`<label class="check"><input type="checkbox" checked=${value === null} aria-label=${`${column.name} is missing`}
        onChange=${(event) => change(event.target.checked ? null : typical ?? firstCell(column))} />missing</label>`}</div>
    ${(fault || note) && html`<p id=${described} class=${fault ? 'fault' : 'muted'}>${fault || note}</p>`}</div>`;
}

/** A form of fields for some columns; many columns are searched by name. */
export function Form({ columns, row, typical, change, faults = new Map(), notes = new Map(), distributions, most = 24 }) {
  const [search, setSearch] = useState('');
  const [shown, show] = useState(most);
  const wanted = search.trim().toLowerCase();
  const found = columns.filter(({ name }) => name.toLowerCase().includes(wanted) || faults.has(name) || notes.has(name));
  return html`<div class="stack">${columns.length > most && html`<label class="field inline">Find a column
      <input type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} /></label>`}
    <div class="cells">${found.slice(0, shown).map((column) => html`<${Field} key=${column.name} column=${column} value=${row[column.name]}
      typical=${typical[column.name]} fault=${faults.get(column.name)} note=${notes.get(column.name)} counted=${distributions === null ? null : distributions?.get(column.name)}
      change=${(cell) => change(column.name, cell)} />`)}</div>
    ${found.length > shown && html`<button class="button" onClick=${() => show(shown + 120)}>Show more of ${plural(found.length, 'column')}</button>`}</div>`;
}
