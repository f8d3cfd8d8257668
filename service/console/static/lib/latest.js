// Questions that follow each other quickly, to a server that may be away for a while.
import { useEffect, useState } from '../vendor/preact.js';
import { connection, events } from './api.js';

const PASSING = [429, 503, 504]; // the server has no time now
const MOST_WAIT = 16; // seconds

/**
 * Returns a function that keeps one call of `run` in flight; of the values given meanwhile, the newest one follows. A value
 * for which the server has no time is asked again, after longer and longer pauses, until `stop` of the function is called.
 */
export function latest(run, done) {
  let busy = false;
  let next = null;
  let wait = 1; // seconds
  let timer;
  let stopped = false;
  async function ask(value) {
    if (busy) {
      next = { value };
      return;
    }
    clearTimeout(timer);
    busy = true;
    let answer = null;
    let error = null;
    try { answer = await run(value); } catch (fault) { error = fault; }
    busy = false;
    if (stopped) return;
    done(answer, error, value);
    const again = PASSING.includes(error?.status);
    if (!again) wait = 1;
    if (next) {
      const { value: newest } = next;
      next = null;
      ask(newest);
    } else if (again) {
      timer = setTimeout(ask, 1000 * wait, value);
      wait = Math.min(2 * wait, MOST_WAIT);
    }
  }
  ask.stop = () => {
    stopped = true;
    clearTimeout(timer);
  };
  return ask;
}

/** Returns a number that grows when the server is back, so that a question is asked again. */
export function useReturns() {
  const [returns, setReturns] = useState(0);
  useEffect(() => {
    const count = () => connection.lost || setReturns((n) => n + 1);
    events.addEventListener('connection', count);
    return () => events.removeEventListener('connection', count);
  }, []);
  return returns;
}
