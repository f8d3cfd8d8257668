// Parts that several views use: loading and errors, requests as a hook, copying.
import { html, useEffect, useState } from '../vendor/preact.js';
import { get } from './api.js';

const IDLE_SHARE = 20; // pauses between two polls, in lengths of a poll

/** Returns the name of the version that a detail is about, so that each answer fits the detail's columns and classes. */
export const exactly = ({ name, version }) => `${name}@${version}`;

/** Returns the address of a model's view within the page. */
export const modelPath = (id, tab = '') => `#/models/${encodeURIComponent(id)}${tab && `/${tab}`}`;

/** A placeholder that keeps the place of what is loading. */
export const Loading = ({ lines = 4 }) => html`<div class="loading" role="status">
  <span class="visually-hidden">Loading</span>${Array.from({ length: lines }, () => html`<div></div>`)}</div>`;

/** An error with the server's own words, and a button to try again. */
export const Failure = ({ error, retry }) => html`<div class="notice bad" role="alert">
  <p><strong>${error.title || 'This did not work'}</strong></p><p>${error.message}</p>
  ${retry && html`<button class="button" onClick=${retry}>Try again</button>`}</div>`;

/** A place that is empty, with what to do about it. */
export const Empty = ({ title, children }) => html`<div class="empty"><h2>${title}</h2>${children}</div>`;

/** A button that copies a text. */
export function Copy({ text, label = 'Copy' }) {
  const [said, say] = useState('');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say('Copied');
    } catch { say('Select the text to copy it'); } // without HTTPS, browsers refuse
    setTimeout(() => say(''), 2000);
  };
  return html`<button class="button small" onClick=${copy}>${said || label}</button>`;
}

/**
 * Calls `read(signal)` now, and again after a pause, while the page is seen. Returns a function that ends the calls.
 * `pauseOf` gets the ms that a call took, and returns those of the pause; 0 if there is no next call.
 */
export function poll(read, pauseOf) {
  const stop = new AbortController();
  const { signal } = stop;
  let timer;
  const turn = async () => {
    if (document.hidden) {
      document.addEventListener('visibilitychange', turn, { once: true, signal });
      return;
    }
    const began = performance.now();
    await read(signal);
    const pause = pauseOf(performance.now() - began);
    if (pause && !signal.aborted) timer = setTimeout(turn, pause);
  };
  turn();
  return () => { stop.abort(); clearTimeout(timer); };
}

/** Loads a path, again and again if `every` (ms) is given. Returns `{ data, error, reload }`. */
export function useGet(path, every = 0) {
  const [state, setState] = useState({ path: null, data: null, error: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    return poll(async (signal) => {
      try {
        const data = await get(path, { signal });
        if (signal.aborted) return;
        setState({ path, data, error: null });
      } catch (error) {
        if (signal.aborted) return;
        setState((old) => ({ path, data: old.path === path ? old.data : null, error }));
      }
    }, (took) => every && Math.max(every, IDLE_SHARE * took));
  }, [path, every, turn]);
  const current = state.path === path ? state : { data: null, error: null };
  return { data: current.data, error: current.error, reload: () => setTurn((n) => n + 1) };
}
