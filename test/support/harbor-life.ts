import { setTimeout as sleep } from 'node:timers/promises';
import type { HarborStatements } from './harbor-statements.ts';
import { until } from './wait.ts';

const TASKS = 4;
const LOOK_MS = 20;
const ENDS = ['hooks', 'retry', 'stop and mark', 'sweep'] as const;

/** What Harbor does with an execution, by the statements that it takes. */
export type HarborStep = 'create' | 'hook' | 'stop' | 'mark' | 'sweep';

export interface Life {
  readonly id: number;
  /** Whether the last thing that happened was a final status stored by hand. */
  readonly marked: boolean;
}

/**
 * Takes one execution from its beginning to one of the ends that Harbor gives it, with its statements.
 * @param options `step` runs each of Harbor's calls; `refresh` is asked again and again while Harbor waits for the
 * execution to be final, where nobody else refreshes it
 */
export async function liveOneExecution(
  harbor: HarborStatements,
  options: {
    readonly step?: <T>(name: HarborStep, call: () => Promise<T>) => Promise<T>;
    readonly refresh?: (id: number) => Promise<void>;
  } = {},
): Promise<Life> {
  const { step = (_name, call) => call(), refresh } = options;
  const id = await step('create', () => harbor.createExecution());
  const tasks: number[] = [];
  for (let n = 0; n < TASKS; n++) tasks.push(await step('create', () => harbor.createTask(id)));
  const hook = (task: number, status: string, revision = 1): Promise<void> =>
    step('hook', () => harbor.hook(task, id, status, revision));
  const hookAll = async (status: () => string, revision = 1): Promise<void> => {
    for (const task of tasks) await hook(task, status(), revision);
  };
  switch (oneOf(ENDS)) {
    case 'stop and mark': {
      const [first = 0] = tasks;
      await hook(first, 'Running');
      await hook(first, 'Stopped');
      await step('stop', () => harbor.stopPending(id));
      await until('the execution to be final', async () => {
        await refresh?.(id);
        return ['Stopped', 'Error', 'Success'].includes((await harbor.storedStatus(id)) ?? '');
      });
      // Harbor looks again after a pause, whoever refreshes: its next statement never follows another at once.
      await sleep(LOOK_MS);
      await step('mark', () => harbor.mark(id, 'Error', 'stopped by the host'));
      return { id, marked: true };
    }
    case 'sweep':
      await hookAll(() => oneOf(['Success', 'Error']));
      await step('sweep', () => harbor.clean([id]));
      return { id, marked: false };
    case 'retry':
      await hookAll(() => 'Error');
      await hookAll(() => 'Running', 2);
      await hookAll(() => 'Success', 2);
      return { id, marked: false };
    case 'hooks':
      await hookAll(() => 'Scheduled');
      await hookAll(() => 'Running');
      await hookAll(() => oneOf(['Success', 'Error', 'Stopped']));
      return { id, marked: false };
  }
}

function oneOf<T>(list: readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)] as T;
}
