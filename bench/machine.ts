import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { Servers } from './servers.ts';

/** What a number depends on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
  readonly redis: string;
  readonly postgres: string;
  readonly tally: string;
  /** Average load of the last minute, before anything was started. */
  readonly loadBefore: number;
  readonly at: string;
}

export async function describeMachine(servers: Servers): Promise<Machine> {
  const all = cpus();
  const packageFile = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    node: process.versions.node,
    ...(await servers.versions()),
    tally: (JSON.parse(packageFile) as { version: string }).version,
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
    at: new Date().toISOString(),
  };
}

/** One line for below a table. */
export function machineLine(machine: Machine): string {
  const { cpu, cores, memoryGb, system, node, redis, postgres, tally, loadBefore } = machine;
  return (
    `${cpu}, ${cores} cores, ${memoryGb} GB, ${system}; Node ${node}, Redis ${redis}, ` +
    `Postgres ${postgres}, Tally ${tally}; load before: ${loadBefore}.`
  );
}
