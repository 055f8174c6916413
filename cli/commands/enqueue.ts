import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import type { ConfigWith } from '../../shared/process/config.ts';
import { TallyError, UsageError } from '../../shared/errors.ts';
import { parseIdentity, type Identity } from '../../shared/execution.ts';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import type { Tracing } from '../../shared/tracing/tracing.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { FLUSH_MS, loadTracing } from '../load-tracing.ts';
import { withQueue } from '../with-queue.ts';

/** Adds `tally enqueue`, which bypasses the outbox. */
export function addEnqueueCommand(program: Command): void {
  program
    .command('enqueue')
    .description('put refreshes straight on the queue')
    .argument(
      '<identity...>',
      'for example 42:REPLICATION, or - to read one per line from standard input',
    )
    .addOption(dataOption())
    .action(async (texts: string[], options: { data: string }) => {
      const config = commandConfig(['REDIS_URL'], options.data);
      const fromInput = texts.length === 1 && texts[0] === '-';
      // All are read before the first is enqueued, so that a bad line leaves nothing half done.
      const identities = readIdentities(fromInput ? await readLines() : texts);
      if (identities.length === 0) {
        throw new TallyError(
          'NOTHING_CAME',
          'standard input was empty, so nothing was enqueued; did the command before this one fail?',
        );
      }
      const tracing = await loadTracing(config, 'enqueue', (line) => {
        process.stderr.write(`tally: ${line}\n`);
      });
      const work = (): Promise<void> => enqueue(config, identities, tracing);
      let areSent: boolean | undefined;
      try {
        await (tracing === undefined ? work() : tracing.command('tally enqueue', work));
        process.stdout.write(`enqueued ${identities.length}\n`);
      } finally {
        areSent = await tracing?.close(FLUSH_MS);
      }
      // Otherwise a collector that never answers would hold the command as well.
      if (areSent === false) process.stdout.write('', () => process.exit());
    });
}

function enqueue(
  config: ConfigWith<'REDIS_URL'>,
  identities: readonly Identity[],
  tracing: Tracing | undefined,
): Promise<void> {
  return withQueue(config, ({ queue }) =>
    enqueueRefreshes(queue, identities, tracing).catch((error: unknown) => {
      throw new TallyError(
        'REDIS_AWAY',
        'Redis stopped answering; some refreshes may be on the queue. Running the same command again is harmless',
        { cause: error },
      );
    }),
  );
}

async function readLines(): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== '') lines.push(line.trim());
  }
  return lines;
}

function readIdentities(texts: readonly string[]): Identity[] {
  return texts.map((text, index) => {
    try {
      return parseIdentity(text);
    } catch (error) {
      const place = texts.length > 1 ? `number ${index + 1}: ` : '';
      const problem = error instanceof Error ? error.message : String(error);
      throw new UsageError(`${place}${problem}; nothing was enqueued`, { cause: error });
    }
  });
}
