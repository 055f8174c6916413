import { expect, it } from 'vitest';
import { compareQuarters, type Series } from '../soak/growth.ts';

const HOUR_S = 3_600;

/** A measure that is sampled every so many seconds for an hour. */
function sampled(everySeconds: number, value: (minute: number) => number): Series {
  const points = Array.from({ length: HOUR_S / everySeconds }, (_none, n) => {
    const seconds = n * everySeconds;
    return [seconds, value(seconds / 60)] as const;
  });
  return { name: 'something', points, mayGrowByPart: 0.15, mayGrowBy: 10 };
}

// A process's memory: it rises for seven minutes, then falls by a quarter.
const sawtooth = (minute: number): number => 100 + 4 * (minute % 7);

it('memory that rises and falls again is flat', () => {
  const growth = compareQuarters(sampled(5, sawtooth), HOUR_S);
  expect(growth).toMatchObject({ grew: false, name: 'something' });
});

it('a leak of one and a half megabytes a minute is found below garbage that comes and goes', () => {
  const leak = sampled(5, (minute) => sawtooth(minute) + 1.5 * minute);
  expect(compareQuarters(leak, HOUR_S)).toMatchObject({ grew: true });
});

it('a handle that every fault leaves open is found', () => {
  const handles = { ...sampled(60, (minute) => 30 + minute), mayGrowByPart: 0, mayGrowBy: 5 };
  expect(compareQuarters(handles, HOUR_S)).toMatchObject({ before: 52, after: 82, grew: true });
});

it('single samples far above the others are no growth, and neither is what the first quarter takes', () => {
  const spikes = sampled(60, (minute) => (minute % 5 === 0 ? 1_000 : 100));
  const start = sampled(60, (minute) => Math.min(300, minute * 30));
  expect(compareQuarters(spikes, HOUR_S)).toMatchObject({ before: 100, after: 100, grew: false });
  expect(compareQuarters(start, HOUR_S)).toMatchObject({ before: 300, after: 300, grew: false });
});

it('a run of a few samples is too short to tell', () => {
  expect(compareQuarters(sampled(300, sawtooth), HOUR_S)).toBeUndefined();
});
