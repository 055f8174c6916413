import type { Command } from 'commander';
import { describeError, TallyError } from '../../shared/errors.ts';
import { failedPages } from '../../shared/queue/failed-jobs.ts';
import { FailureCauses, type FailureCause } from '../../shared/queue/failure-causes.ts';
import { commandConfig, DATA_OPTION, DEFAULT_DATA } from '../command-config.ts';
import { printable } from '../../shared/printable.ts';
import { progressBar } from '../progress-bar.ts';
import { withQueue } from '../with-queue.ts';

export function addFailedCommand(program: Command): void {
  program
    .command('failed')
    .description('show the failed jobs, grouped by error')
    .option('--json', 'print one JSON document')
    .option(
      DATA_OPTION,
      'the folder of a running tally start, used when no URL is set',
      DEFAULT_DATA,
    )
    .action(async (options: { json?: true; data: string }) => {
      const config = commandConfig(['REDIS_URL'], options.data);
      const causes = await withQueue(config, readCauses, { readOnly: true });
      const failed = causes.reduce((sum, { count }) => sum + count, 0);
      process.stdout.write(
        options.json ? `${JSON.stringify({ failed, causes })}\n` : asText(failed, causes),
      );
    });
}

async function readCauses(parts: Parameters<typeof failedPages>[0]): Promise<FailureCause[]> {
  const causes = new FailureCauses();
  const bar = progressBar(process.stderr, 'failed jobs');
  try {
    bar.total(await parts.queue.getFailedCount());
    let seen = 0;
    for await (const page of failedPages(parts)) {
      for (const failure of page.jobs) causes.add(failure);
      seen += page.seen;
      bar.at(seen);
    }
  } catch (error) {
    throw new TallyError(
      'REDIS_AWAY',
      `Redis stopped answering (${describeError(error)}); run the same command again`,
      { cause: error },
    );
  } finally {
    bar.stop();
  }
  return causes.list();
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
