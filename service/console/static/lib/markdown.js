// Markdown of model cards as elements. No HTML of the card is ever read as HTML.
import { html } from '../vendor/preact.js';

const MARKS = /\\([\\`*{}[\]<>|~&$#!^_.-])|`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\((https?:\/\/[^)\s]+)\)/g;

/** Returns a line's texts and elements. */
function inline(line) {
  const found = [];
  let end = 0;
  for (const mark of line.matchAll(MARKS)) {
    const [all, escaped, code, strong, label, href] = mark;
    found.push(line.slice(end, mark.index));
    if (escaped) found.push(escaped);
    else if (code) found.push(html`<code>${code}</code>`);
    else if (strong) found.push(html`<strong>${strong}</strong>`);
    else found.push(html`<a href=${href} rel="noreferrer">${label}</a>`);
    end = mark.index + all.length;
  }
  return [...found, line.slice(end)];
}

const cells = (line) => line.replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((cell) => inline(cell.trim()));

function table([head, , ...rows]) {
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table of the model card"><table class="table"><thead><tr>
    ${cells(head).map((cell) => (cell.join('') ? html`<th scope="col">${cell}</th>` : html`<td></td>`))}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${cells(row).map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}

/** Shows a model card. `level` is the level of its sections on the page. */
export function Markdown({ text, level = 3 }) {
  const body = text.replace(/^---\n.*?\n---\n/s, '');
  const parts = [];
  const lines = body.split('\n');
  const take = (matches) => {
    const taken = [];
    while (lines.length && matches(lines[0])) taken.push(lines.shift());
    return taken;
  };
  while (lines.length) {
    const [line] = lines;
    const fence = /^(`{3,})/.exec(line)?.[1];
    const heading = /^(#{1,6}) (.*)/.exec(line);
    if (fence) {
      lines.shift();
      const code = take((next) => next !== fence);
      lines.shift();
      parts.push(html`<pre class="mono scroll" tabindex="0">${code.join('\n')}</pre>`);
    } else if (heading) {
      lines.shift();
      const Tag = `h${Math.min(level - 2 + heading[1].length, 6)}`; // the first one names the model, as the page does
      if (heading[1].length > 1) parts.push(html`<${Tag}>${inline(heading[2])}<//>`);
    } else if (line.startsWith('|')) parts.push(table(take((next) => next.startsWith('|'))));
    else if (line.startsWith('- ')) {
      parts.push(html`<ul>${take((next) => next.startsWith('- ')).map((item) => html`<li>${inline(item.slice(2))}</li>`)}</ul>`);
    } else if (!line.trim()) lines.shift();
    else parts.push(html`<p>${inline(take((next) => next.trim() && !/^([#|`]|- )/.test(next)).join(' ') || lines.shift())}</p>`);
  }
  return html`<div class="card-text">${parts}</div>`;
}
