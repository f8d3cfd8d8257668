// The same request for a terminal, for Python and in the Open Inference Protocol.
import { apiKey } from './api.js';

const MOST_ARGUMENT = 100_000; // bytes; Linux takes 131,072 in an argument of a command
const spaced = (value) => JSON.stringify(value, null, 1).replace(/\n\s*/g, ' ');
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const address = (path) => new URL(path, document.baseURI).href;

/** Returns a value as it stands in Python. */
export function python(value) {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'object') return `{${Object.entries(value).map(([key, inner]) => `${python(key)}: ${python(inner)}`).join(', ')}}`;
  return JSON.stringify(value);
}

/** Returns a command with curl. JSON has no line end within a text, so no line of a long body can end it too early. */
function curl(path, body) {
  const text = spaced(body);
  const isLong = new Blob([text]).size > MOST_ARGUMENT;
  return ['curl -s', shell(address(path)), "-H 'Content-Type: application/json'",
    ...(apiKey.needed ? ['-H "X-API-Key: $AXON_API_KEY"'] : []),
    isLong ? `--data-binary @- <<'AXON'\n${text}\nAXON` : `-d ${shell(text)}`].join(' ');
}

/** Returns the request for one row as a command with curl; `level` is that of the interval, if one is asked for. */
export const curlText = (model, row, { level: intervals }) => curl('predict', { model, instances: [row], intervals });

/** Returns the request for one row as a program with the Python client. */
export function pythonText(model, row, { level, classes }) {
  const server = python(address('.').replace(/\/$/, ''));
  return [...(apiKey.needed ? ['import os', ''] : []), 'import axon', '',
    `client = axon.Client(${server}${apiKey.needed ? ', api_key=os.environ["AXON_API_KEY"]' : ''})`,
    `answer = client.predict([${python(row)}], model=${python(model)}${level ? `, intervals=${level}` : ''})`,
    `print(answer.predictions, answer.probabilities${level ? `, answer.${classes ? 'sets' : 'intervals'}` : ''})`].join('\n');
}

const TYPES = { number: 'FP64', boolean: 'BOOL' };

/** Returns the request for one row in the Open Inference Protocol, version 2, as a command with curl. */
export function inferText(model, row, { columns }) {
  const cells = columns.map(({ name }) => row[name]);
  const isMatrix = columns.every(({ kind }) => kind === 'numeric') && !cells.includes(null);
  const tensor = (name, shape, datatype, data) => ({ name, shape, datatype, data });
  const inputs = isMatrix ? [tensor('input', [1, cells.length], 'FP64', cells)] : columns.map(({ name, kind }, at) =>
    tensor(name, [1], TYPES[typeof cells[at]] ?? (kind === 'numeric' ? 'FP64' : 'BYTES'), [cells[at]]));
  return curl(`v2/models/${encodeURIComponent(model)}/infer`, { inputs });
}
