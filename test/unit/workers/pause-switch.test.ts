import { expect, it } from 'vitest';
import { PauseSwitch } from '../../../workers/pause-switch.ts';

/** A worker that tells whether it takes jobs. */
function newWorker() {
  let takesJobs = true;
  return {
    pause: async () => void (takesJobs = false),
    resume: async () => void (takesJobs = true),
    takesJobs: () => takesJobs,
  };
}

it("a store that is available again doesn't resume the workers while the other one isn't", () => {
  const pauses = new PauseSwitch<'Postgres' | 'Redis'>();
  const workers = [newWorker(), newWorker()];
  for (const worker of workers) pauses.add(worker);
  const takeJobs = () => workers.map((worker) => worker.takesJobs());
  pauses.hold('Postgres');
  pauses.hold('Redis');
  pauses.release('Postgres');
  expect(takeJobs()).toEqual([false, false]);
  pauses.release('Redis');
  expect(takeJobs()).toEqual([true, true]);
});

it('a worker that is added during an outage takes no jobs until its end', () => {
  const pauses = new PauseSwitch<'Postgres' | 'Redis'>();
  pauses.hold('Redis');
  const late = newWorker();
  pauses.add(late);
  expect(late.takesJobs()).toBe(false);
  pauses.release('Redis');
  expect(late.takesJobs()).toBe(true);
});
