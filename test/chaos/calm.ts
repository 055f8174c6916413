import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { brokenExecutions, type Population } from './ledger.ts';
import type { World } from './world.ts';
import { changeAll } from './writers.ts';

/** What a process of Tally's may grow to, in megabytes. */
const MEMORY_MB = 400;
const QUIET_TIMEOUT_MS = 180_000;

/**
 * Waits until nothing waits, retrying what failed as a person does, and checks; then once more after a last change.
 * @returns what is wrong
 */
export async function calm(
  world: World,
  population: Population,
  say: (line: string) => void,
): Promise<string[]> {
  for (const strict of [false, true]) {
    if (strict) await changeAll(world, population);
    const waits = await settle(world, say);
    const broken = [...world.problems, ...(await brokenExecutions(world, strict))];
    if (waits !== undefined) broken.push(`still waiting after ${QUIET_TIMEOUT_MS} ms: ${waits}`);
    if (broken.length > 0) return broken;
  }
  return world.actors.flatMap(({ name, pid }) => {
    const megabytes = pid === undefined ? 0 : residentMegabytes(pid);
    return megabytes > MEMORY_MB ? [`${name} takes ${megabytes} MB of memory`] : [];
  });
}

/** @returns what still waits at the deadline */
async function settle(world: World, say: (line: string) => void): Promise<string | undefined> {
  const endMs = performance.now() + QUIET_TIMEOUT_MS;
  for (;;) {
    const waiting = await whatWaits(world);
    if (waiting === '') return undefined;
    if (performance.now() > endMs) return waiting;
    if (/^\d+ failures/.test(waiting)) {
      const { output } = await world.tally(['retry', '--all']);
      say(output.split('\n').at(-1) ?? '');
    }
    await delay(200);
  }
}

async function whatWaits(world: World): Promise<string> {
  const [row] = await world.sql(
    `SELECT (SELECT count(*) FROM tally.outbox)::int AS outbox,
            (SELECT count(*) FROM tally.failure WHERE NOT refreshed AND NOT superseded)::int AS failures`,
  );
  const count = async (command: string, list: string, queue = 'refresh'): Promise<number> =>
    Number(await world.ask(command, `chaos:${queue}:${list}`));
  const jobs = {
    outbox: Number(row?.['outbox']),
    waiting: (await count('LLEN', 'wait')) + (await count('ZCARD', 'prioritized')),
    active: await count('LLEN', 'active'),
    delayed: await count('ZCARD', 'delayed'),
    failed: await count('ZCARD', 'failed'),
    'of the backlog':
      (await count('LLEN', 'wait', 'backlog')) + (await count('LLEN', 'active', 'backlog')),
  };
  const failures = Number(row?.['failures']);
  const waiting = Object.entries(jobs)
    .filter(([, number]) => number > 0)
    .map(([list, number]) => `${number} ${list}`);
  return [...(failures > 0 ? [`${failures} failures`] : []), ...waiting].join(', ');
}

/** Keys of jobs that are on no list, when nothing waits: of either queue, but for those jobs of the backlog that are kept. */
export async function leftOver(world: World): Promise<string[]> {
  const leaked =
    /^chaos:(refresh|backlog):(\d+:[^:]+:[^:]+(:.*)?|(backlog-\d+-[^:]+)(:.*)?|de:.*|dn:.*)$/;
  const kept = new Set<string>();
  for (const list of ['completed', 'failed']) {
    const ids = await world.ask('ZRANGE', `chaos:backlog:${list}`, '0', '-1');
    for (const id of ids as string[]) kept.add(id);
  }
  const keys = (await world.ask('KEYS', 'chaos:*')) as string[];
  const found = keys.filter((key) => {
    const match = leaked.exec(key);
    return match !== null && !kept.has(match[4] ?? '');
  });
  return found.length === 0
    ? []
    : [`${found.length} keys left in Redis, such as ${found.slice(0, 5).join(', ')}`];
}

/** Memory that a process has now; 0 if there is none. */
export function residentMegabytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024);
  } catch {
    return 0;
  }
}
