import type { Database } from '../../shared/postgres/database.ts';
import { recordFailure } from '../../shared/postgres/failures.ts';

export const LONG_LINE = 'x'.repeat(20_000);
export const MANY_LINES = Array.from({ length: 500 }, (_, n) => `line ${n} of the stack`).join(
  '\n',
);
/** To a browser the override shows what follows from right to left: "evil" reads "live". */
export const REVERSED = '\u202eevil\u202c\u0007 \u001b[31mred';
export const LONG_VENDOR = 'V'.repeat(60);

/**
 * Records failures of the given executions with what looks worst on a page. The first is the cause of as many
 * failures as there are executions left over.
 */
export async function recordWorstFailures(
  database: Database,
  executionIds: readonly number[],
): Promise<void> {
  const worst = [
    { vendor: LONG_VENDOR, error: `${REVERSED} ${LONG_LINE}` },
    { vendor: 'SCAN', error: MANY_LINES },
    { vendor: REVERSED, error: 'violates check constraint "check_12"', sqlState: '23514' },
    { vendor: 'SCAN', error: '' },
    { vendor: '<b>', error: '<script>alert(1)</script>' },
  ];
  for (const [at, executionId] of executionIds.entries()) {
    const { vendor, error, sqlState } = worst[at] ?? {
      vendor: at % 2 === 0 ? 'REPLICATION' : 'GARBAGE_COLLECTION',
      error: `quota of project ${at} is used up`,
    };
    await recordFailure(database, {
      executionId,
      vendor,
      error,
      sqlState,
      jobId: `${executionId}:${at}:x`,
      attempts: 5,
      attemptMs: 0,
    });
  }
}
