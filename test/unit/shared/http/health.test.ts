import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkHealth, type HealthCheck } from '../../../../shared/http/health.ts';

function check(name: string, answer: HealthCheck['check'], required = true): HealthCheck {
  return { name, required, check: answer };
}

const up = async (): Promise<undefined> => undefined;
const hangs = (): Promise<undefined> => new Promise(() => undefined);

it('a process whose checks all answer is ready', async () => {
  expect(await checkHealth([check('postgres', up), check('redis', up)])).toEqual({
    ready: true,
    checks: { postgres: 'up', redis: 'up' },
  });
});

it('a process without checks is ready', async () => {
  expect(await checkHealth([])).toEqual({ ready: true, checks: {} });
});

it('a sentence of a check makes the process not ready and stands in the answer', async () => {
  const checks = [check('postgres', async () => 'run: tally migrate'), check('redis', up)];
  expect(await checkHealth(checks)).toEqual({
    ready: false,
    checks: { postgres: 'run: tally migrate', redis: 'up' },
  });
});

it('a check that rejects counts as away, without the text of its error', async () => {
  const fails = check('postgres', () => Promise.reject(new Error('password hunter2x is wrong')));
  expect(await checkHealth([fails])).toEqual({ ready: false, checks: { postgres: 'away' } });
});

it("an optional check is reported but doesn't decide", async () => {
  const checks = [check('postgres', up), check('redis', () => Promise.reject(new Error()), false)];
  expect(await checkHealth(checks)).toEqual({
    ready: true,
    checks: { postgres: 'up', redis: 'away' },
  });
});

describe('a check that hangs', () => {
  const original = AbortSignal.timeout.bind(AbortSignal);

  beforeEach(() => {
    vi.useFakeTimers();
    // vitest leaves the runtime's own one at real time.
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), ms);
      return controller.signal;
    };
  });

  afterEach(() => {
    AbortSignal.timeout = original;
    vi.useRealTimers();
  });

  it.each([
    [true, false],
    [false, true],
  ])('ends after 2 s (required: %s, then ready: %s)', async (required, ready) => {
    let health: unknown;
    void checkHealth([check('postgres', up), check('redis', hangs, required)]).then(
      (answer) => (health = answer),
    );
    await vi.advanceTimersByTimeAsync(1_999);
    expect(health).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(health).toEqual({ ready, checks: { postgres: 'up', redis: 'no answer' } });
  });

  it("doesn't wait for another one that hangs", async () => {
    let ready: boolean | undefined;
    void checkHealth([check('a', hangs), check('b', hangs), check('c', hangs)]).then(
      (health) => (ready = health.ready),
    );
    await vi.advanceTimersByTimeAsync(2_000);
    expect(ready).toBe(false);
  });
});
