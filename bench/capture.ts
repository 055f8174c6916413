import { spawnSync } from 'node:child_process';
import { TallyError } from '../shared/errors.ts';
import { TALLY } from './processes.ts';
import type { Arena } from './servers.ts';

/** Turns the capture of task changes on or off, with the command that a person would use. */
export async function setCapture(arena: Arena, on: boolean): Promise<void> {
  const args = [TALLY, 'capture', on ? 'enable' : 'disable'];
  const { status, stderr } = spawnSync(process.execPath, args, {
    env: { PATH: process.env['PATH'], DATABASE_URL: arena.databaseUrl },
    encoding: 'utf8',
  });
  if (status === 0) return;
  throw new TallyError('BENCH_CAPTURE', `tally capture failed: ${stderr.trim()}`);
}
