// A CSV file through `POST /predict`, in requests of some thousand rows, and the same file with the answers beside.
import { send, unknownIn } from './api.js';
import { Records, cellsOf, quoted } from './csv.js';

const ROWS = 4000; // of a request
const CHARACTERS = 1 << 20;
const TRIES = 60; // of a request that meets a busy or absent server, a second apart
const PASSING = [0, 429, 502, 503];
const HOPELESS = 20; // refusals before the first answer, after which the whole file is refused
const GOLDEN = 0.618; // multiples of it, modulo 1, spread evenly
const pause = () => new Promise((done) => { setTimeout(done, 1000); });
const NOT_CSV = /^The body is not CSV: line \d+: /; // a line of the request, not of the file
const hopeless = (reason, tried = 0) => new Error(`None of the ${tried ? `${tried} rows that were tried` : 'first rows'} can be scored: ${reason}`);
const halves = (places) => [places.slice(places.length >> 1), places.slice(0, places.length >> 1)];

/**
 * Scores rows of a table. Returns the header and the lines of the answers, and the faults by place in `rows`.
 * `job.answered` and `job.refusals` hold for the whole file: the server refuses a file with a wrong header as it refuses
 * a row that is not CSV, so faults belong to rows only when some row was answered. A refusal tells some faults of many, so
 * before the first answer rows are tried one by one: only these show if no row can be scored.
 */
async function scoreRows(job, head, rows) {
  const { version, level, signal } = job;
  const lines = Array(rows.length);
  const faults = new Map();
  let header = null;
  const waiting = [{ places: rows.map((_, at) => at), isAgain: false }]; // the last one is next
  const wait = (isAgain, ...parts) => parts.forEach((places) => places.length && waiting.push({ places, isAgain }));
  const blame = (at, text) => faults.set(at, faults.has(at) ? `${faults.get(at)}; ${text}` : text);
  const refused = (error) => {
    if (!job.answered && (job.refusals += 1) >= HOPELESS) throw error(job.refusals);
  };
  for (let tries = 0; waiting.length;) {
    const { places, isAgain } = waiting.pop();
    if (job.refusals && !job.answered && places.length > 1) {
      const at = Math.floor(places.length * ((GOLDEN * job.refusals) % 1)); // the first rows alone may be wrong
      wait(isAgain, places.toSpliced(at, 1), [places[at]]);
      continue;
    }
    const body = `${[head, ...places.map((at) => rows[at])].join('\n')}\n`;
    try {
      const { text, unknown } = await send(`predict?model=${encodeURIComponent(version)}${level ? `&intervals=${level}` : ''}`, {
        method: 'POST', body, signal, headers: { 'Content-Type': 'text/csv', Accept: 'text/csv' },
      }, async (response) => ({ text: await response.text(), unknown: unknownIn(response) }));
      const [first, ...answers] = new Records(',').take(text, true);
      if (answers.length !== places.length) throw new Error(`${answers.length} answers came for ${places.length} rows.`);
      header = first.text;
      places.forEach((at, i) => { lines[at] = answers[i].text; });
      job.answered = true;
      job.unknown += unknown.cells;
      unknown.columns.forEach(([name, n]) => job.columns.set(name, (job.columns.get(name) ?? 0) + n));
      tries = 0;
    } catch (error) {
      if (signal.aborted) throw error;
      const { status, errors = [] } = error;
      const wrong = errors.filter(({ row }) => Number.isInteger(row) && row < places.length);
      if (PASSING.includes(status) && (tries += 1) < TRIES) {
        wait(isAgain, places);
        await pause();
        signal.throwIfAborted();
      } else if (wrong.length) {
        const told = wrong.map(({ row, column, message }) => [places[row], column ? `${column}: ${message}` : message]);
        refused((tried) => hopeless(told[0][1], tried));
        told.forEach(([at, text]) => blame(at, text));
        const sound = places.filter((at) => !faults.has(at)); // the server tells some faults of many: not all rows again and again
        wait(true, ...(isAgain && job.answered ? halves(sound) : [sound]));
      } else if (status === 413 && places.length > 1) wait(isAgain, ...halves(places));
      else if ([413, 422, 504].includes(status)) {
        const reason = error.message.replace(NOT_CSV, 'not CSV: ');
        const fault = (tried) => (reason === error.message ? error : hopeless(reason, tried));
        job.fault ??= fault();
        refused(fault);
        if (places.length === 1) blame(places[0], reason);
        else wait(isAgain, ...(job.answered ? halves(places) : [places]));
      } else throw error;
    }
  }
  return { header, lines, faults };
}

/**
 * Scores a CSV file by one version, with the intervals of a level. Returns the file with columns added as a Blob, the
 * number of rows, the faults by row from 1, and the unknown categories.
 */
export async function scoreCsv(file, { version, level, signal, progress, rowsOfRequest = ROWS }) {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const decoded = (...given) => {
    try { return decoder.decode(...given); } catch { throw new Error('The file is not text in UTF-8.'); }
  };
  const job = { version, level, signal, answered: false, refusals: 0, fault: null, unknown: 0, columns: new Map() };
  const records = new Records();
  const reader = file.stream().getReader();
  const [lines, faults] = [[], new Map()];
  let [mark, head, header, batch, size, bytes] = [null, null, null, [], 0, 0]; // `mark`: the byte order mark, or nothing
  const flush = async () => {
    const at = lines.length;
    const sound = batch.flatMap(({ cells }, i) => (cells === head.cells ? [i] : []));
    const widthFault = ({ cells }) => `the row has ${cells} cells where the first line has ${head.cells}`;
    if (!sound.length && !job.answered) throw hopeless(widthFault(batch[0]));
    batch.forEach((record, i) => record.cells === head.cells || faults.set(at + i + 1, widthFault(record)));
    const answers = sound.length
      ? await scoreRows(job, head.text, sound.map((i) => batch[i].text)) : { lines: [], faults: new Map() };
    header ??= answers.header;
    answers.faults.forEach((text, place) => faults.set(at + sound[place] + 1, text));
    const answered = new Map(sound.map((i, place) => [i, answers.lines[place]]));
    batch.forEach(({ text }, i) => { // a row that was not answered may not be CSV, and must not break the lines behind it
      const answer = answered.get(i);
      lines.push(answer === undefined ? [...aligned(text, head.cells, records.delimiter), answer] : [text, [], answer]);
    });
    [batch, size] = [[], 0];
    progress({ bytes, rows: lines.length, faults: faults.size });
  };
  const take = async (found) => {
    for (const record of found) {
      if (!head) head = record;
      else {
        batch.push(record);
        size += record.text.length;
        if (batch.length >= rowsOfRequest || size >= CHARACTERS) await flush();
      }
    }
  };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      bytes += value?.length ?? 0;
      let text = done ? decoded() : decoded(value, { stream: true });
      if (mark === null && text) {
        mark = text[0] === '\uFEFF' ? text[0] : '';
        text = text.slice(mark.length);
      }
      await take(records.take(text, done));
      if (done) break;
    }
  } finally { reader.cancel().catch(() => {}); }
  if (batch.length) await flush();
  if (!lines.length) throw new Error('The file has no rows: the first line names the columns, and a row follows.');
  if (job.fault && !job.answered) throw job.fault;
  const unknown = { cells: job.unknown, columns: [...job.columns].sort(([, a], [, b]) => b - a) };
  return { blob: joined(mark, head, header, lines, faults, records.delimiter), rows: lines.length, faults, unknown };
}

/** Returns a record with as many cells as the first line, so that answers stand in their columns; and the surplus cells. */
const aligned = (text, width, delimiter) => {
  const cells = cellsOf(text, delimiter);
  return [Array.from({ length: width }, (_, at) => quoted(cells[at] ?? '', delimiter)).join(delimiter), cells.slice(width)];
};

/** Returns the file with the answers behind each row, and a column of faults if there are any; surplus cells come last. */
function joined(mark, head, header, lines, faults, delimiter) {
  const taken = new Set(cellsOf(head.text, delimiter));
  const free = (name) => (taken.has(name) ? free(`${name}_2`) : name);
  const names = header ? cellsOf(header, ',') : ['prediction'];
  const added = faults.size ? [...names, 'error'] : names;
  const row = (text, cells) => `${text}${delimiter}${cells.map((cell) => quoted(cell, delimiter)).join(delimiter)}\r\n`;
  const parts = [mark, row(head.text, added.map(free))];
  lines.forEach(([text, surplus, answer], at) => {
    const cells = answer === undefined ? names.map(() => '') : cellsOf(answer, ',');
    parts.push(row(text, faults.size ? [...cells, faults.get(at + 1) ?? '', ...surplus] : cells));
  });
  return new Blob(parts, { type: 'text/csv' });
}
