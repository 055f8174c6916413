import { InvalidArgumentError, type Command } from 'commander';
import {
  retryInBulk,
  type BulkRetryProgress,
  type FailureSelection,
} from '../../shared/failures/bulk-retry.ts';
import { describeError, TallyError, UsageError } from '../../shared/errors.ts';
import { executionIdProblem, vendorProblem } from '../../shared/execution.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import type { FailureStores } from '../../shared/failures/standing-failures.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { jsonText } from '../output.ts';
import { progressBar } from '../progress-bar.ts';
import { withDatabase } from '../with-database.ts';
import { withQueue } from '../with-queue.ts';

interface Options {
  readonly all?: true;
  readonly execution?: number;
  readonly vendor?: string;
  readonly error?: string;
  readonly dryRun?: true;
  readonly json?: true;
  readonly data: string;
}

/** Adds `tally retry`, which retries failures in bulk. */
export function addRetryCommand(program: Command): void {
  program
    .command('retry')
    .description('put failed jobs on the queue again; if several options are given, all must apply')
    .option('--all', 'every failed job')
    .option('--execution <id>', 'those of one execution', readExecutionId)
    .option('--vendor <vendor>', 'those of one vendor', readVendor)
    .option(
      '--error <text>',
      'those whose error, in full or as tally failed shows it, contains this text',
    )
    .option('--dry-run', 'only count them')
    .option('--json', 'print one JSON document')
    .addOption(dataOption())
    .action(async (options: Options) => {
      const selection = selectionOf(options);
      const config = commandConfig(['DATABASE_URL', 'REDIS_URL'], options.data);
      const dryRun = options.dryRun === true;
      const { retried, noRefresh } = await withDatabase(config, 'retry', (database) =>
        withQueue(config, (parts) => retry({ ...parts, database }, selection, dryRun), {
          readOnly: dryRun,
        }),
      );
      process.stdout.write(
        options.json
          ? `${jsonText({ dryRun, retried, noRefresh })}\n`
          : `${dryRun ? 'would retry' : 'retried'} ${retried}\n`,
      );
      if (noRefresh > 0) {
        process.stderr.write(
          `tally: ${noRefresh} failed jobs are not refreshes and stay; remove them on the dashboard\n`,
        );
      }
    });
}

/**
 * Reads the selection from the options.
 * @throws UsageError if nothing is selected, or `--all` together with a condition
 */
function selectionOf({ all, execution, vendor, error }: Options): FailureSelection {
  const parts = [execution, vendor, error].filter((value) => value !== undefined);
  if (all && parts.length > 0) {
    throw new UsageError(
      '--all is every failed job; leave it out to select with the other options',
    );
  }
  if (!all && parts.length === 0) {
    throw new UsageError(
      'select what to retry: --all, --execution <id>, --vendor <vendor> or --error <text>; tally failed shows what there is',
    );
  }
  if (error === '') throw new UsageError('--error is empty; to retry every failed job use --all');
  return { executionId: execution, vendor, error };
}

async function retry(
  stores: FailureStores,
  selection: FailureSelection,
  dryRun: boolean,
): Promise<BulkRetryProgress> {
  const interrupt = new AbortController();
  const stop = (): void => interrupt.abort();
  // Once: a second signal terminates the process without waiting for the page in hand.
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const bar = progressBar(process.stderr, 'failed jobs');
  let progress: BulkRetryProgress = { retried: 0, noRefresh: 0, seen: 0 };
  try {
    bar.total((await countFailures(stores.database)) + (await stores.queue.getFailedCount()));
    progress = await retryInBulk(stores, selection, {
      dryRun,
      signal: interrupt.signal,
      onPage: (now) => {
        progress = now;
        bar.at(now.seen);
      },
    });
  } catch (error) {
    throw new TallyError(
      'STORE_AWAY',
      `Redis or Postgres stopped answering (${describeError(error)}) after ${progress.retried} were retried, perhaps some more; nothing is lost. Run the same command again`,
      { cause: error },
    );
  } finally {
    bar.stop();
  }
  if (interrupt.signal.aborted) {
    throw new TallyError(
      'INTERRUPTED',
      `interrupted after ${progress.retried} were retried; nothing is lost. Run the same command again for the rest`,
    );
  }
  return progress;
}

function readExecutionId(text: string): number {
  const id = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  const problem = executionIdProblem(id);
  if (problem !== undefined) throw new InvalidArgumentError(`${problem}.`);
  return id;
}

function readVendor(text: string): string {
  const problem = vendorProblem(text);
  if (problem !== undefined) throw new InvalidArgumentError(`${problem}.`);
  return text;
}
