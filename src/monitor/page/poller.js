// Asks the server, never more than it can bear. Knows nothing of what is in the answers.

const TIMEOUT_MS = 8000;
/** An answer larger than this is not worth showing to anybody. */
const ANSWER_BYTES_MAX = 32 << 20;

/** The folder that the page lies in, with whatever base path there is. */
const BASE = new URL('../', import.meta.url);

/** Why a request gave nothing; `status` is 0 where there was no answer. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, BASE), {
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: 'no-store',
      credentials: 'same-origin',
    });
    if (Number(answer.headers.get('content-length')) > ANSWER_BYTES_MAX) {
      throw new Failure('the answer is too large to show', answer.status);
    }
    text = await answer.text();
  } catch (error) {
    if (error instanceof Failure) throw error;
    const late = error.name === 'TimeoutError';
    throw new Failure(late ? `no answer within ${TIMEOUT_MS / 1000} s` : 'the connection fails', 0);
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Failure(answer.ok ? 'the answer is not JSON' : `it answers ${answer.status}: ${text.slice(0, 200).trim()}`, answer.status);
  }
  // healthz says in its body why it is not well.
  if (!answer.ok && typeof value?.status !== 'string') throw new Failure(`it answers ${answer.status}`, answer.status);
  return value;
}

/** One kind of request, over and over. */
export class Poll {
  #timer;
  #abort;
  #waiting = false;
  failingSince;
  #stopped = true;

  /**
   * `question()` answers what to ask: a function of a signal. `onAnswer(value, poll)` and `onFailure(failure, poll)` are told
   * what came. Of all time, at most one part in `share` is spent waiting for an answer: what costs the server much is asked
   * for rarely.
   */
  constructor({ everyMs, question, onAnswer, onFailure, inBackground = false, share = 2 }) {
    Object.assign(this, { everyMs, question, onAnswer, onFailure, inBackground, share });
  }

  start() {
    this.#stopped = false;
    this.now();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** At once, and what is under way is not wanted any more. */
  now() {
    this.#abort?.abort();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#once(), 0);
  }

  async #once() {
    const abort = new AbortController();
    this.#abort = abort;
    const began = performance.now();
    const question = document.hidden && !this.inBackground ? undefined : this.question();
    let missing = false;
    if (question) {
      try {
        const value = await question(abort.signal);
        if (abort.signal.aborted) return;
        this.failingSince = undefined;
        this.onAnswer(value, this);
      } catch (failure) {
        if (abort.signal.aborted) return;
        if (!(failure instanceof Failure)) console.error(failure);
        this.failingSince ??= Date.now();
        missing = failure.status === 404;
        this.onFailure(failure, this);
      }
    }
    // Who was told may have asked for another request at once.
    if (this.#stopped || abort.signal.aborted) return;
    const took = performance.now() - began;
    // What is not there may come with another server, but need not be asked for each second.
    const pause = missing ? 30000 : Math.max(this.everyMs - took, took * (this.share - 1));
    this.#timer = setTimeout(() => this.#once(), Math.min(Math.max(pause, 100), 60000));
  }
}
