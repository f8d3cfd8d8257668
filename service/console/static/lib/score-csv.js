// A CSV file through `POST /predict`, in requests of some thousand rows, and the same file with the answers beside.
import { send } from './api.js';
import { Records, cellsOf, quoted } from './csv.js';

const ROWS = 4000; // of a request
const CHARACTERS = 1 << 20;
const TRIES = 60; // of a request that meets a busy or absent server, a second apart
const PASSING = [0, 429, 503];
const pause = () => new Promise((done) => { setTimeout(done, 1000); });

/** Scores rows of a table. Returns the header and the lines of the answers, and the faults by place in `rows`. */
async function scoreRows({ version, level, signal }, head, rows) {
  const lines = Array(rows.length);
  const faults = new Map();
  let header = null;
  const waiting = [rows.map((_, at) => at)];
  for (let tries = 0; waiting.length;) {
    const places = waiting.pop();
    const body = `${[head, ...places.map((at) => rows[at])].join('\n')}\n`;
    try {
      const response = await send(`predict?model=${encodeURIComponent(version)}${level ? `&intervals=${level}` : ''}`, {
        method: 'POST', body, signal, headers: { 'Content-Type': 'text/csv', Accept: 'text/csv' },
      });
      const [first, ...answers] = new Records(',').take(await response.text(), true);
      if (answers.length !== places.length) throw new Error(`${answers.length} answers came for ${places.length} rows.`);
      header = first.text;
      places.forEach((at, i) => { lines[at] = answers[i].text; });
      tries = 0;
    } catch (error) {
      if (signal.aborted) throw error;
      const wrong = (error.errors ?? []).filter(({ row }) => Number.isInteger(row) && row < places.length);
      if (PASSING.includes(error.status) && (tries += 1) < TRIES) {
        waiting.push(places);
        await pause();
        signal.throwIfAborted();
      } else if (error.status === 413 && places.length > 1) {
        const half = places.length >> 1;
        waiting.push(places.slice(half), places.slice(0, half));
      } else if (wrong.length) {
        for (const { row, column, message } of wrong) {
          const told = faults.get(places[row]);
          const text = column ? `${column}: ${message}` : message;
          faults.set(places[row], told ? `${told}; ${text}` : text);
        }
        const sound = places.filter((at) => !faults.has(at));
        if (sound.length) waiting.push(sound);
      } else throw error;
    }
  }
  return { header, lines, faults };
}

/**
 * Scores a CSV file by one version, with the intervals of a level. Returns the file with columns added as a Blob, the
 * number of rows, and the faults by row from 1.
 */
export async function scoreCsv(file, { version, level, signal, progress, rowsOfRequest = ROWS }) {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decoded = (...given) => {
    try { return decoder.decode(...given); } catch { throw new Error('The file is not text in UTF-8.'); }
  };
  const to = { version, level, signal };
  const records = new Records();
  const reader = file.stream().getReader();
  const [lines, faults] = [[], new Map()];
  let [head, header, batch, size, bytes] = [null, null, [], 0, 0];
  const flush = async () => {
    const at = lines.length;
    const sound = batch.flatMap(({ cells }, i) => (cells === head.cells ? [i] : []));
    batch.forEach(({ cells }, i) => cells === head.cells
      || faults.set(at + i + 1, `the row has ${cells} cells where the first line has ${head.cells}`));
    const answers = sound.length
      ? await scoreRows(to, head.text, sound.map((i) => batch[i].text)) : { lines: [], faults: new Map() };
    header ??= answers.header;
    answers.faults.forEach((text, place) => faults.set(at + sound[place] + 1, text));
    const answered = new Map(sound.map((i, place) => [i, answers.lines[place]]));
    batch.forEach(({ text, cells }, i) => lines.push([cells === head.cells ? text : aligned(text, head.cells, records.delimiter), answered.get(i)]));
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
      await take(records.take(done ? decoded() : decoded(value, { stream: true }), done));
      if (done) break;
    }
  } finally { reader.cancel().catch(() => {}); }
  if (batch.length) await flush();
  if (!lines.length) throw new Error('The file has no rows: the first line names the columns, and a row follows.');
  return { blob: joined(head, header, lines, faults, records.delimiter), rows: lines.length, faults };
}

/** Returns a record with as many cells as the first line, so that the cells behind it stand in their columns. */
const aligned = (text, width, delimiter) => {
  const cells = cellsOf(text, delimiter);
  return Array.from({ length: width }, (_, at) => quoted(cells[at] ?? '', delimiter)).join(delimiter);
};

/** Returns the file with the answers behind each row, and a column of faults if there are any. */
function joined(head, header, lines, faults, delimiter) {
  const taken = new Set(cellsOf(head.text, delimiter));
  const free = (name) => (taken.has(name) ? free(`${name}_2`) : name);
  const names = header ? cellsOf(header, ',') : ['prediction'];
  const added = faults.size ? [...names, 'error'] : names;
  const row = (text, cells) => `${text}${delimiter}${cells.map((cell) => quoted(cell, delimiter)).join(delimiter)}\r\n`;
  const parts = [row(head.text, added.map(free))];
  lines.forEach(([text, answer], at) => {
    const cells = answer === undefined ? names.map(() => '') : cellsOf(answer, ',');
    parts.push(row(text, faults.size ? [...cells, faults.get(at + 1) ?? ''] : cells));
  });
  return new Blob(parts, { type: 'text/csv' });
}
