import { UsageError } from '../../shared/errors.ts';
import type { Contender } from './contender.ts';
import * as bare from './bare-function.ts';
import * as harbor from './harbor-loop.ts';
import * as noop from './noop-bullmq.ts';
import * as plain from './plain-bullmq.ts';
import {
  tally,
  tallyBurst,
  tallyExpress,
  tallyFromQueue,
  tallySampled,
  tallyTraced,
} from './tally.ts';

type Load = () => Promise<Contender>;

/** In the order of the table. What needs the bench's own packages is loaded only when it is asked for. */
const CONTENDERS: ReadonlyMap<string, Load> = new Map<string, Load>([
  ...withWorkers(tally),
  ...withWorkers(bare.contender),
  ...withWorkers(tallyBurst),
  ...withWorkers(tallyExpress),
  ['tally-traced-2', async () => tallyTraced(2)],
  ['tally-sampled-2', async () => tallySampled(2)],
  ...withWorkers(tallyFromQueue),
  ...withWorkers(noop.contender),
  ['harbor-main', async () => harbor.onMain],
  ['harbor-released', async () => harbor.asReleased],
  ['bullmq', async () => plain.contender],
  ['graphile-worker', async () => (await import('./graphile-worker.ts')).contender],
  ['pg-boss', async () => (await import('./pg-boss.ts')).contender],
]);
/** All of them. */
export const NAMES: readonly string[] = [...CONTENDERS.keys()];
const PACKAGED = ['graphile-worker', 'pg-boss'];

/**
 * The contenders that a list such as `tally,harbor-main` means: each a name, or one without its number of
 * workers.
 * @throws UsageError for a name that there isn't
 */
export function chosenNames(list: string): string[] {
  const only = list.split(',').map((word) => word.trim());
  const family = (name: string): string => name.replace(/-\d$/, '');
  for (const word of only) {
    if (!NAMES.some((name) => name === word || family(name) === word)) {
      throw new UsageError(`no contender is called ${word}; there are: ${NAMES.join(', ')}`);
    }
  }
  return NAMES.filter((name) => only.includes(name) || only.includes(family(name)));
}

/** Whether the bench's own packages are needed. */
export function needPackages(names: readonly string[]): boolean {
  return names.some((name) => PACKAGED.includes(name));
}

export async function loadContenders(names: readonly string[]): Promise<Contender[]> {
  const chosen = [...CONTENDERS].filter(([name]) => names.includes(name));
  return await Promise.all(chosen.map(([, load]) => load()));
}

function withWorkers(make: (workers: number) => Contender): [string, Load][] {
  return [1, 2, 5].map((workers) => [make(workers).name, async () => make(workers)]);
}
