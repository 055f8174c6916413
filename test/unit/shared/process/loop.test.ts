import { expect, it, onTestFinished } from 'vitest';
import { startLoop, type Idle } from '../../../../shared/process/loop.ts';
import { until } from '../../../support/wait.ts';

type Answer = number | Idle | undefined | Error;

/** Runs a loop whose steps answer one after the other, the last one ever again, and notes what happens. */
function run(answers: readonly Answer[]) {
  const events: string[] = [];
  let steps = 0;
  const loop = startLoop({
    step: async () => {
      const answer = answers[Math.min(steps++, answers.length - 1)];
      events.push('step');
      if (answer instanceof Error) throw answer;
      return answer;
    },
    outage: {
      begin: (error) => events.push(`begin ${String(error)}`),
      end: () => events.push('end'),
    },
    lease: { release: async () => void events.push('release') },
    retry: { firstMs: 2, maxMs: 2 },
  });
  onTestFinished(() => loop.close());
  return { loop, events, steps: () => steps };
}

it('a step follows as soon as the one before it has asked for', async () => {
  const { loop, events, steps } = run([0, 1, 60_000]);
  await until('three steps', () => steps() === 3);
  await loop.close();
  expect(events).toEqual(['step', 'end', 'step', 'end', 'step', 'end', 'release']);
});

it('a step that throws begins an outage, gives the lease back, and is taken again until one works', async () => {
  const { events, steps } = run([new Error('away'), new Error('still away'), 60_000]);
  await until('three steps', () => steps() === 3);
  expect(events.join(', ')).toBe(
    'step, begin Error: away, release, step, begin Error: still away, release, step, end',
  );
});

it("a step that had nothing to try doesn't end an outage", async () => {
  const { events, steps } = run([new Error('away'), { idleMs: 1 }, { idleMs: 60_000 }]);
  await until('three steps', () => steps() === 3);
  expect(events).toEqual(['step', 'begin Error: away', 'release', 'step', 'step']);
});

it('a step may end the loop', async () => {
  const { events } = run([undefined]);
  await until('the end of the loop', () => events.includes('release'));
  expect(events).toEqual(['step', 'end', 'release']);
});

it('closing it finishes the step in hand, and no other one follows', async () => {
  let finish: (restMs: number) => void = () => undefined;
  let steps = 0;
  const loop = startLoop({
    step: (signal) => {
      steps++;
      return new Promise((resolve) => {
        finish = resolve;
        signal.addEventListener('abort', () => finish(0), { once: true });
      });
    },
  });
  await until('the first step', () => steps === 1);
  await loop.close();
  expect(steps).toBe(1);
});
