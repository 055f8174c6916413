import { beforeEach, expect, it, vi } from 'vitest';
import { shared } from '../../../../dashboard/overview/shared-reading.ts';

let nowMs = 0;
beforeEach(() => {
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  return () => clock.mockRestore();
});

/** Readings that take 300 ms, numbered. */
function numbered(): { ask: (key: string) => Promise<string>; end: () => void } {
  let count = 0;
  const ends: (() => void)[] = [];
  const ask = shared(async (key: string) => {
    const name = `${key}${++count}`;
    await new Promise<void>((resolve) => ends.push(resolve));
    return name;
  });
  const end = (): void => {
    nowMs += 300;
    for (const resolve of ends.splice(0)) resolve();
  };
  return { ask, end };
}

it('whoever asks during a reading, or within the time that it took, shares it', async () => {
  const { ask, end } = numbered();
  const first = [ask('a'), ask('a')];
  end();
  expect(await Promise.all(first)).toEqual(['a1', 'a1']);
  nowMs += 299;
  expect(await ask('a')).toBe('a1');
  nowMs += 2;
  const later = ask('a');
  end();
  expect(await later).toBe('a2');
});

it('each key has readings of its own', async () => {
  const { ask, end } = numbered();
  const both = [ask('a'), ask('b')];
  end();
  expect(await Promise.all(both)).toEqual(['a1', 'b2']);
});

it('a failed reading is tried again', async () => {
  let count = 0;
  const ask = shared(() => (++count === 1 ? Promise.reject(new Error('no')) : Promise.resolve(2)));
  await expect(ask('a')).rejects.toThrow('no');
  nowMs += 1;
  expect(await ask('a')).toBe(2);
});
