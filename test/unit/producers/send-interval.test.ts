import { expect, it, onTestFinished, vi } from 'vitest';
import { SendInterval } from '../../../producers/send-interval.ts';

it("an identity that was never sent doesn't wait", () => {
  expect(new SendInterval(250).waitMs('42:GC', 1_000)).toBe(0);
});

it('an identity that was sent waits for the rest of the interval, and not longer', () => {
  const interval = new SendInterval(250);
  interval.markSent('42:GC', 1_000);
  expect(
    [1_000, 1_100, 1_249, 1_250, 9_000].map((nowMs) => interval.waitMs('42:GC', nowMs)),
  ).toEqual([250, 150, 1, 0, 0]);
});

it("an identity doesn't wait for another one", () => {
  const interval = new SendInterval(250);
  interval.markSent('42:GC', 1_000);
  expect(interval.waitMs('42:REPLICATION', 1_000)).toBe(0);
  expect(interval.waitMs('43:GC', 1_000)).toBe(0);
});

it('sending again starts the interval again', () => {
  const interval = new SendInterval(250);
  interval.markSent('42:GC', 1_000);
  interval.markSent('42:GC', 1_300);
  expect(interval.waitMs('42:GC', 1_400)).toBe(150);
  expect(interval.size).toBe(1);
});

it('what may be sent again is forgotten, so that memory follows the rate of sending', () => {
  const interval = new SendInterval(250);
  for (let id = 0; id < 1_000; id++) interval.markSent(`${id}:GC`, id);
  expect(interval.size).toBe(250);
  interval.markSent('last:GC', 100_000);
  expect(interval.size).toBe(1);
});

it("one that was sent again lately isn't forgotten because its first time is old", () => {
  const interval = new SendInterval(250);
  interval.markSent('a', 1_000);
  interval.markSent('b', 1_100);
  interval.markSent('a', 1_240);
  interval.markSent('c', 1_351);
  expect(interval.waitMs('a', 1_351)).toBe(139);
  expect(interval.size).toBe(2);
});

it('beyond the most entries the oldest is forgotten, and may be sent early', () => {
  const interval = new SendInterval(250, 3);
  for (const identity of ['a', 'b', 'c', 'd']) interval.markSent(identity, 1_000);
  expect(interval.size).toBe(3);
  expect(interval.waitMs('a', 1_000)).toBe(0);
  expect(['b', 'c', 'd'].map((identity) => interval.waitMs(identity, 1_000))).toEqual([
    250, 250, 250,
  ]);
});

it('a burst of 150,000 identities within one interval stays within the bound', () => {
  const interval = new SendInterval(60_000);
  for (let id = 0; id < 150_000; id++) interval.markSent(`${id}:GC`, 1_000);
  expect(interval.size).toBe(100_000);
});

it('sending takes no longer the more is remembered: nothing walks over all of it', () => {
  // A walk over a map whose first entries were deleted steps over each of them: with 20,000 identities in an interval
  // that took 15 us a call, thirty times as long.
  const walks = (['keys', 'values', 'entries', 'forEach', Symbol.iterator] as const).map((name) =>
    vi.spyOn(Map.prototype, name),
  );
  onTestFinished(() => walks.forEach((walk) => walk.mockRestore()));
  const interval = new SendInterval(10);
  for (let id = 0; id < 1_000; id++) interval.markSent(`${id}:GC`, id);
  const walked = walks.map((walk) => walk.mock.calls.length);
  expect(walked).toEqual([0, 0, 0, 0, 0]);
  expect(interval.size).toBe(10);
});

it('an interval of 0 never makes anything wait and remembers nothing', () => {
  const interval = new SendInterval(0);
  interval.markSent('42:GC', 1_000);
  expect(interval.waitMs('42:GC', 1_000)).toBe(0);
  expect(interval.size).toBe(0);
});
