import type { Command } from 'commander';
import { describeError, TallyError } from '../../shared/errors.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { countFailures, failureRecordPages } from '../../shared/postgres/failures.ts';
import type { StoresConfig } from '../../shared/process/config.ts';
import { FailureCauses, type FailureCause } from '../../shared/queue/failure-causes.ts';
import { failurePages, type FailurePage } from '../../shared/failures/standing-failures.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { printable } from '../../shared/process/printable.ts';
import { jsonText } from '../output.ts';
import { progressBar } from '../progress-bar.ts';
import { withDatabase } from '../with-database.ts';
import { withQueue } from '../with-queue.ts';

/** Adds `tally failed`, which groups failures by cause. */
export function addFailedCommand(program: Command): void {
  program
    .command('failed')
    .description('show what failed for good and still needs a person, grouped by error')
    .option('--json', 'print one JSON document')
    .addOption(dataOption())
    .action(async (options: { json?: true; data: string }) => {
      const config = commandConfig(['DATABASE_URL', 'REDIS_URL'], options.data);
      const { causes, problem } = await withDatabase(config, 'failed', (database) =>
        readFailures(config, database),
      );
      const failed = causes.reduce((sum, { count }) => sum + count, 0);
      process.stdout.write(
        options.json ? `${jsonText({ failed, causes })}\n` : asText(failed, causes),
      );
      if (problem !== undefined) {
        process.stderr.write(`tally: ${problem}\n`);
        process.exitCode = 1;
      }
    });
}

interface Answer {
  readonly causes: readonly FailureCause[];
  /** What couldn't be read, if the answer is incomplete. */
  readonly problem?: string;
}

/** The records are in Postgres, so most of the answer is available without Redis. */
async function readFailures(config: StoresConfig, database: Database): Promise<Answer> {
  try {
    return {
      causes: await withQueue(
        config,
        ({ queue, redis }) =>
          readCauses(failurePages({ database, queue, redis }), [
            countFailures(database),
            queue.getFailedCount(),
          ]),
        { readOnly: true },
      ),
    };
  } catch (error) {
    if (!(error instanceof TallyError)) throw interrupted(error);
    return {
      causes: await readCauses(recordsAlone(database), [countFailures(database)]),
      problem: `${error.message}; failed jobs without a record are not shown`,
    };
  }
}

async function* recordsAlone(database: Database): AsyncGenerator<FailurePage> {
  for await (const page of failureRecordPages(database)) {
    const failures = page.map(({ executionId, vendor, error, ...rest }) => ({
      ...rest,
      identity: { executionId, vendor },
      error: error ?? '',
    }));
    yield { failures, seen: page.length };
  }
}

async function readCauses(
  pages: AsyncGenerator<FailurePage>,
  totals: readonly Promise<number>[],
): Promise<FailureCause[]> {
  const causes = new FailureCauses();
  const bar = progressBar(process.stderr, 'failed jobs');
  try {
    bar.total((await Promise.all(totals)).reduce((sum, count) => sum + count, 0));
    let seen = 0;
    for await (const page of pages) {
      for (const failure of page.failures) causes.add(failure);
      bar.at((seen += page.seen));
    }
  } finally {
    bar.stop();
  }
  return causes.list();
}

function interrupted(error: unknown): TallyError {
  return new TallyError(
    'STORE_AWAY',
    `Redis or Postgres stopped answering (${describeError(error)}); run the same command again`,
    { cause: error },
  );
}

function asText(failed: number, causes: readonly FailureCause[]): string {
  if (failed === 0) return 'no failed jobs\n';
  const lines = [`${failed} failed jobs, ${causes.length} causes`];
  for (const { error, count, vendors, first, last, examples } of causes) {
    const names = examples.map(({ jobId, identity }) => identity ?? `${jobId} (no refresh)`);
    lines.push(
      '',
      `${count}  ${error}`,
      `   ${vendors.join(', ') || 'no vendor'}; ${first === last ? first : `${first} to ${last}`}`,
      `   for example ${names.join(', ')}`,
    );
  }
  return `${lines.map(printable).join('\n')}\n`;
}
