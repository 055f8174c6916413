import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BUSY_MACHINE_MS } from '../../support/wait.ts';
import { StoreWatch } from '../../../workers/store-watch.ts';

const error = new Error('connect ECONNREFUSED');
let watch: StoreWatch;
let lines: string[];
let events: string[];
/** Answers of the probe in their order; when none is left it waits for `answerProbe`. */
let probeAnswers: boolean[];
let answerProbe: (ok: boolean) => void;
let probes: number;

beforeEach(() => {
  lines = [];
  events = [];
  probeAnswers = [];
  probes = 0;
  const write = (line: string): number => lines.push(JSON.parse(line).msg);
  watch = new StoreWatch(pino({ level: 'trace' }, { write }), {
    probe: async () => {
      probes++;
      const asked = new Promise<boolean>((resolve) => (answerProbe = resolve));
      if (!(probeAnswers.shift() ?? (await asked))) throw error;
    },
    onUnavailable: () => events.push('unavailable'),
    onAvailable: () => events.push('available'),
  });
});

afterEach(() => watch.close());

it('nothing is unavailable before somebody says so', () => {
  expect(watch.unavailable).toBe(false);
  expect(events).toEqual([]);
});

it('an outage that 200 jobs meet pauses the worker once and is logged once', () => {
  for (let job = 0; job < 200; job++) watch.reportUnavailable(error);
  expect(watch.unavailable).toBe(true);
  expect(events).toEqual(['unavailable']);
  expect(lines).toEqual([
    'Postgres is unavailable: connect ECONNREFUSED; work waits until it is back',
  ]);
});

it('the worker goes on as soon as a probe succeeds, not at one that fails', async () => {
  probeAnswers = [false];
  watch.reportUnavailable(error);
  await vi.waitUntil(() => probes === 2, { timeout: 5_000 });
  expect(watch.unavailable).toBe(true);
  expect(events).toEqual(['unavailable']);
  answerProbe(true);
  await vi.waitUntil(() => events.includes('available'), { timeout: 5_000 });
  watch.reportServed();
  await vi.waitUntil(() => !watch.unavailable, { timeout: 500 });
  expect(events).toEqual(['unavailable', 'available']);
  expect(lines).toHaveLength(2);
  expect(lines[1]).toMatch(/^Postgres is back after \d+\.\d s$/);
});

it('a database that answers probes but refuses refreshes is one outage with growing pauses', async () => {
  probeAnswers = [true, true, true];
  watch.reportUnavailable(error);
  for (let resumed = 1; resumed <= 3; resumed++) {
    await vi.waitUntil(() => events.filter((event) => event === 'available').length === resumed, {
      timeout: 5_000,
    });
    expect(watch.unavailable).toBe(true);
    watch.reportUnavailable(error);
  }
  await vi.waitUntil(() => probes === 4, { timeout: 5_000 });
  expect(events).toEqual([
    'unavailable',
    'available',
    'unavailable',
    'available',
    'unavailable',
    'available',
    'unavailable',
  ]);
  expect(lines).toHaveLength(1);
  answerProbe(true);
  await vi.waitUntil(() => events.length === 8, { timeout: 5_000 });
  watch.reportServed();
  await vi.waitUntil(() => !watch.unavailable, { timeout: 500 });
  expect(lines).toHaveLength(2);
});

it('a database that answers and is asked for no refresh counts as back after a second', async () => {
  probeAnswers = [true];
  watch.reportUnavailable(error);
  await vi.waitUntil(() => events.includes('available'), { timeout: 5_000 });
  expect(watch.unavailable).toBe(true);
  await vi.waitUntil(() => !watch.unavailable, { timeout: 5_000 });
});

it('the first probe comes within a second', async () => {
  const begin = performance.now();
  watch.reportUnavailable(error);
  await vi.waitUntil(() => probes === 1, { timeout: 20_000, interval: 5 });
  expect(performance.now() - begin).toBeLessThan(1_000 + BUSY_MACHINE_MS);
});

it('a second outage pauses the worker again', async () => {
  probeAnswers = [true, true];
  watch.reportUnavailable(error);
  await vi.waitUntil(() => !watch.unavailable, { timeout: 5_000 });
  watch.reportUnavailable(error);
  await vi.waitUntil(() => !watch.unavailable, { timeout: 5_000 });
  expect(events).toEqual(['unavailable', 'available', 'unavailable', 'available']);
  expect(probes).toBe(2);
});

it("a worker closed during an outage isn't started again, and stops probing", async () => {
  probeAnswers = [true];
  watch.reportUnavailable(error);
  watch.close();
  await turn();
  await turn();
  expect(probes).toBe(0);
  expect(events).toEqual(['unavailable']);
});

it("a probe that succeeds after the close doesn't start the worker", async () => {
  watch.reportUnavailable(error);
  await vi.waitUntil(() => probes === 1, { timeout: 5_000 });
  watch.close();
  answerProbe(true);
  await turn();
  await turn();
  expect(events).toEqual(['unavailable']);
  expect(lines).toHaveLength(1);
});

it('what is reported after the close has no effect', () => {
  watch.close();
  watch.reportUnavailable(error);
  expect(events).toEqual([]);
  expect(watch.unavailable).toBe(false);
});
