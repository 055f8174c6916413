import type { CaptureState } from './capture.ts';
import { dropCaptureTriggers, readCaptureState, withTaskLocked } from './capture.ts';
import { withClient } from './database.ts';
import { TallyError } from '../errors.ts';
import { takeMigrateLock } from './migrate.ts';
import { COUNTED_ROWS } from './outbox.ts';

/** What was removed; nothing if the database had no schema `tally`. */
export interface Uninstalled {
  readonly found: boolean;
  readonly capture: CaptureState;
  /** Refreshes that were requested and not done; 100,001 stands for any larger number. */
  readonly lostRefreshes: number;
}

/**
 * Removes the triggers and schema `tally` in one transaction; `execution` and `task` stay as they
 * are.
 * @param force whether to remove it although refreshes wait in the outbox, which are then lost
 * @param onWait called once if it has to wait for a migration
 * @throws TallyError OUTBOX_NOT_EMPTY without `force`
 * @throws TallyError HOST_IN_SCHEMA, TASK_LOCKED
 */
export function uninstall(
  databaseUrl: string,
  force: boolean,
  onWait: () => void,
): Promise<Uninstalled> {
  return withClient(databaseUrl, 'uninstall', (client) =>
    withTaskLocked(client, async () => {
      await takeMigrateLock(client, onWait);
      const { rows } = await client.query<{ schema: boolean; outbox: boolean; host: boolean }>(
        `SELECT to_regnamespace('tally') IS NOT NULL AS schema, to_regclass('tally.outbox') IS NOT NULL AS outbox,
                EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('tally')
                           AND relname IN ('execution', 'task')) AS host`,
      );
      const { schema = false, outbox = false, host = false } = rows[0] ?? {};
      if (!schema) return { found: false, capture: 'disabled', lostRefreshes: 0 };
      if (host) {
        throw new TallyError(
          'HOST_IN_SCHEMA',
          'execution or task lies in schema tally and would be removed with it; nothing was removed. Move it first: ALTER TABLE tally.execution SET SCHEMA public; ALTER TABLE tally.task SET SCHEMA public',
        );
      }
      const capture = await readCaptureState(client);
      await dropCaptureTriggers(client);
      // Nobody can record anything from here on, so the count is final.
      if (outbox) await client.query('LOCK TABLE tally.outbox');
      const lostRefreshes = outbox ? await countOutbox(client) : 0;
      if (lostRefreshes > 0 && !force) {
        throw new TallyError(
          'OUTBOX_NOT_EMPTY',
          `${describeLost(lostRefreshes)} refreshes are not done yet and would be lost; nothing was removed. Let the workers finish, or give them back to Harbor (tally harbor export), or remove all the same with --force`,
        );
      }
      await client.query('DROP SCHEMA tally CASCADE');
      return { found: true, capture, lostRefreshes };
    }),
  );
}

// Writers of `task` wait meanwhile, so counting stops where a person needs no exact number.
async function countOutbox(client: {
  query(sql: string): Promise<{ rows: { count: number }[] }>;
}): Promise<number> {
  const { rows } = await client.query(
    `SELECT count(*) AS count FROM (SELECT FROM tally.outbox LIMIT ${COUNTED_ROWS + 1}) AS counted`,
  );
  return rows[0]?.count ?? 0;
}

/** The number of refreshes, for people: `7`, or `more than 100000`. */
export function describeLost(lostRefreshes: number): string {
  return lostRefreshes > COUNTED_ROWS ? `more than ${COUNTED_ROWS}` : String(lostRefreshes);
}
