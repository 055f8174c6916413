import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  Lifecycle,
  stopOnSignals,
  type SignalSource,
} from '../../../../shared/process/lifecycle.ts';

type Signal = Parameters<SignalSource['on']>[0];

/** Stands in for `process`: remembers exit codes instead of leaving. */
class FakeProcess implements SignalSource {
  readonly exits: number[] = [];
  readonly #listeners = new Map<Signal, () => void>();

  on(signal: Signal, listener: () => void): void {
    this.#listeners.set(signal, listener);
  }

  exit(code: number): void {
    this.exits.push(code);
  }

  emit(signal: Signal): void {
    const listener = this.#listeners.get(signal);
    if (listener === undefined) throw new Error(`nobody listens to ${signal}`);
    listener();
  }
}

let lines: string[];
let lifecycle: Lifecycle;
const log = pino({ level: 'trace' }, { write: (line) => lines.push(line) });

beforeEach(() => {
  lines = [];
  lifecycle = new Lifecycle(log);
});

describe('stopping', () => {
  it('ends what waits for something at once, not when all is closed', async () => {
    let close: () => void = () => undefined;
    lifecycle.onStop('a', () => new Promise<void>((closed) => (close = closed)));
    expect(lifecycle.signal.aborted).toBe(false);
    const stopped = lifecycle.stop();
    expect(lifecycle.signal.aborted).toBe(true);
    close();
    await stopped;
  });

  it('closes what was opened last first, one after the other', async () => {
    const steps: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      lifecycle.onStop(name, async () => {
        steps.push(`${name} begins`);
        await Promise.resolve();
        steps.push(`${name} ends`);
      });
    }
    await lifecycle.stop();
    expect(steps).toEqual(['c begins', 'c ends', 'b begins', 'b ends', 'a begins', 'a ends']);
  });

  it('twice closes once, and both callers get the same promise', async () => {
    let closed = 0;
    lifecycle.onStop('a', () => void closed++);
    const first = lifecycle.stop();
    expect(lifecycle.stop()).toBe(first);
    await first;
    expect(lifecycle.stop()).toBe(first);
    expect(closed).toBe(1);
  });

  it('is known to the rest of the process from its beginning', async () => {
    expect(lifecycle.stopping).toBe(false);
    const stopped = lifecycle.stop();
    expect(lifecycle.stopping).toBe(true);
    await stopped;
    expect(lifecycle.stopping).toBe(true);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('stuck');
      },
    ],
    ['rejects', () => Promise.reject(new Error('stuck'))],
  ])('goes on when a step %s, and the log names that step', async (_how, fail) => {
    const closed: string[] = [];
    lifecycle.onStop('a', () => void closed.push('a'));
    lifecycle.onStop('the queue', fail);
    lifecycle.onStop('c', () => void closed.push('c'));
    await expect(lifecycle.stop()).resolves.toBeUndefined();
    expect(closed).toEqual(['c', 'a']);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('closing the queue failed');
    expect(lines[0]).toContain('stuck');
  });
});

describe('signals', () => {
  const GRACE_MS = 8_000;
  let source: FakeProcess;
  let finishClosing: () => void;
  let closings: number;

  beforeEach(() => {
    vi.useFakeTimers();
    source = new FakeProcess();
    closings = 0;
    lifecycle.onStop('the worker', () => {
      closings++;
      return new Promise<void>((resolve) => (finishClosing = resolve));
    });
    stopOnSignals(lifecycle, source, GRACE_MS, log);
  });

  afterEach(() => vi.useRealTimers());

  it.each(['SIGTERM', 'SIGINT', 'disconnect'] as const)(
    '%s closes everything, then leaves with 0 and without a timer',
    async (signal) => {
      source.emit(signal);
      expect(closings).toBe(1);
      await vi.advanceTimersByTimeAsync(GRACE_MS - 1);
      expect(source.exits).toEqual([]);
      finishClosing();
      await vi.advanceTimersByTimeAsync(0);
      expect(source.exits).toEqual([0]);
      expect(vi.getTimerCount()).toBe(0);
      await vi.advanceTimersByTimeAsync(GRACE_MS * 2);
      expect(source.exits).toEqual([0]);
    },
  );

  it('a process that got no signal stays', async () => {
    await vi.advanceTimersByTimeAsync(GRACE_MS * 2);
    expect(source.exits).toEqual([]);
    expect(closings).toBe(0);
  });

  it.each([
    ['SIGTERM', 'SIGTERM'],
    ['SIGINT', 'SIGINT'],
    ['SIGTERM', 'SIGINT'],
  ] as const)('a %s and then a %s leave at once with 1', (first, second) => {
    source.emit(first);
    expect(source.exits).toEqual([]);
    source.emit(second);
    expect(source.exits).toEqual([1]);
    expect(closings).toBe(1);
    expect(lines.at(-1)).toContain('exiting now');
  });

  it('a parent that was gone before we listened closes everything, too', async () => {
    const orphan = Object.assign(new FakeProcess(), { connected: false });
    stopOnSignals(new Lifecycle(log), orphan, GRACE_MS, log);
    await vi.advanceTimersByTimeAsync(0);
    expect(orphan.exits).toEqual([0]);
  });

  it("a parent that goes while we stop doesn't cut us off", async () => {
    source.emit('SIGTERM');
    source.emit('disconnect');
    expect(source.exits).toEqual([]);
    finishClosing();
    await vi.advanceTimersByTimeAsync(0);
    expect(source.exits).toEqual([0]);
  });

  it("what doesn't close within the grace is left behind with 1", async () => {
    source.emit('SIGTERM');
    await vi.advanceTimersByTimeAsync(GRACE_MS - 1);
    expect(source.exits).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(source.exits).toEqual([1]);
    expect(lines.at(-1)).toContain(`not stopped within ${GRACE_MS} ms`);
  });

  it("the first signal after the parent is gone isn't called a second one", () => {
    source.emit('disconnect');
    source.emit('SIGTERM');
    expect(lines.join('')).not.toContain('came twice');
    expect(source.exits).toEqual([]);
  });
});
