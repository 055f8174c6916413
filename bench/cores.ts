import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { TallyError } from '../shared/errors.ts';
import { databaseProcesses } from './measure.ts';
import type { Arena } from './servers.ts';

const HOST_CORE = '0';
const TALLY_CORE = '1';

/**
 * Gives Postgres and the bench's own calls one core, and Redis another one: as if Tally ran on a machine of its own,
 * which shares nothing with the host but the database.
 * @throws TallyError where processes can't be bound to cores
 */
export async function setHostApart(arena: Arena): Promise<void> {
  if (availableParallelism() < 2) {
    throw new TallyError('BENCH_CORES', '--apart needs two cores');
  }
  const info = await arena.redis.info('server');
  bind([process.pid, ...(await databaseProcesses(arena))], HOST_CORE);
  bindToTally(Number(/process_id:(\d+)/.exec(info)?.[1]));
}

/** Binds a process to the core that Tally has for itself. @throws as {@link setHostApart} */
export function bindToTally(pid: number): void {
  bind([pid], TALLY_CORE);
}

// What these processes start later is bound with them.
function bind(pids: readonly number[], core: string): void {
  for (const pid of pids) {
    const { status, error, stderr } = spawnSync('taskset', ['-acp', core, String(pid)], {
      encoding: 'utf8',
    });
    if (status !== 0) {
      const cause = error?.message ?? stderr.trim();
      throw new TallyError('BENCH_CORES', `--apart needs taskset, of Linux: ${cause}`);
    }
  }
}
