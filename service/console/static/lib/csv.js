// CSV as text: records out of pieces, cells out of records, and cells into a file.

const LONGEST = 1 << 20; // characters of a record; the server takes less

/** Returns the character between the cells of a first line, by the same rule as the server. */
export function delimiterOf(line) {
  const outside = line.split('"').filter((_, at) => at % 2 === 0).join('');
  const times = (mark) => outside.split(mark).length;
  return [',', ';', '\t', '|'].reduce((best, mark) => (times(mark) > times(best) ? mark : best));
}

/** Returns the cells of a record. */
export function cellsOf(record, delimiter) {
  const mark = delimiter === '|' ? '\\|' : delimiter;
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"([^${mark}]*)|([^${mark}]*))(${mark}|$)`, 'y');
  const cells = [];
  for (let more = true; more;) {
    const [, inner, behind, plain, end] = cell.exec(record);
    cells.push(inner === undefined ? plain : inner.replaceAll('""', '"') + behind);
    more = end !== '';
  }
  return cells;
}

/** Returns a cell as it stands in a file, in quotation marks where these are needed. */
export const quoted = (cell, delimiter) =>
  (/["\r\n]/.test(cell) || cell.includes(delimiter) || cell.trim() !== cell ? `"${cell.replaceAll('"', '""')}"` : cell);

/**
 * Cuts a text that comes in pieces into records, `{ text, cells }` with the number of cells; leaves blank lines out. In a
 * table of one column, an empty line behind the first line is a row, as for the server.
 */
export class Records {
  #rest = '';
  #isOneColumn = false;

  constructor(delimiter = null) { this.delimiter = delimiter; }

  /** Returns the records that are complete; at the end also the last one. The first line tells the delimiter. */
  take(piece, isEnd = false) {
    const text = this.#rest + piece;
    const records = [];
    let start = 0;
    let cells = 1;
    let state = 'start'; // of a cell: start, plain, quoted, closed
    const close = (stop) => {
      const line = text.slice(start, text[stop - 1] === '\r' ? stop - 1 : stop);
      if (!this.delimiter && line.trim()) { // the first line has no line ends inside quotation marks
        this.delimiter = delimiterOf(line);
        cells = cellsOf(line, this.delimiter).length;
        this.#isOneColumn = cells === 1;
      }
      if (this.delimiter && (line || this.#isOneColumn)) records.push({ text: line, cells });
      [start, cells, state] = [stop + 1, 1, 'start'];
    };
    for (let at = 0; at < text.length; at += 1) {
      const mark = text[at];
      if (state === 'quoted') {
        if (mark === '"') state = 'closed';
      } else if (mark === '\n') close(at);
      else if (mark === this.delimiter) {
        cells += 1;
        state = 'start';
      } else if (mark === '"' && this.delimiter && state !== 'plain') state = 'quoted';
      else state = 'plain';
    }
    if (isEnd && start < text.length) close(text.length);
    this.#rest = text.slice(start);
    if (this.#rest.length > LONGEST) throw new Error('A row has more than a million characters: is a quotation mark not closed?');
    return records;
  }
}
