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
  if (/unknown command/.test(stderr)) return await standInForCapture(arena, on);
  throw new TallyError('BENCH_CAPTURE', `tally capture failed: ${stderr.trim()}`);
}

/** To be deleted, with its call, once `tally capture` is there: the same for updates of `task` only. */
async function standInForCapture(arena: Arena, on: boolean): Promise<void> {
  await arena.database.query('DROP TRIGGER IF EXISTS bench_capture ON task');
  if (!on) return;
  await arena.database.query(`
    CREATE OR REPLACE FUNCTION tally.bench_capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      INSERT INTO tally.outbox (execution_id, vendor, source)
      SELECT DISTINCT c.execution_id, c.vendor_type, 'capture' FROM changed c;
      RETURN NULL;
    END $$`);
  await arena.database.query(`
    CREATE TRIGGER bench_capture AFTER UPDATE ON task REFERENCING NEW TABLE AS changed
      FOR EACH STATEMENT EXECUTE FUNCTION tally.bench_capture()`);
}
