// Questions that follow each other quickly, to a server that may be away for a while.
import { useEffect, useState } from '../vendor/preact.js';
import { connection, events } from './api.js';

/** Returns a function that keeps one call of `run` in flight; of the values given meanwhile, the newest one follows. */
export function latest(run, done) {
  let busy = false;
  let next = null;
  return async function ask(value) {
    if (busy) {
      next = { value };
      return;
    }
    busy = true;
    let answer = null;
    let error = null;
    try { answer = await run(value); } catch (fault) { error = fault; }
    busy = false;
    done(answer, error, value);
    if (next) {
      const { value: newest } = next;
      next = null;
      ask(newest);
    }
  };
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
