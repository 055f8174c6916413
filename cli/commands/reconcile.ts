import type { Command } from 'commander';
import type { TransactionDatabase } from '../../shared/postgres/database.ts';
import {
  readDisagreements,
  recordDisagreements,
  type Disagreement,
} from '../../shared/postgres/disagreements.ts';
import { hostElsewhere } from '../../shared/postgres/host.ts';
import { readIrreparable, type Irreparable } from '../../shared/postgres/irreparable.ts';
import { UsageError } from '../../shared/errors.ts';
import { schemaProblem } from '../../shared/postgres/schema.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { printable } from '../../shared/process/printable.ts';
import { jsonText } from '../output.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { withDatabase } from '../with-database.ts';

const PAGE = 1_000;

interface Options {
  readonly dryRun?: true;
  readonly all?: true;
  readonly json?: true;
  readonly data: string;
}

/** Adds `tally reconcile`, one pass of the reconciler on request. */
export function addReconcileCommand(program: Command): void {
  program
    .command('reconcile')
    .description('find every execution that is stuck behind its tasks, and record a refresh of it')
    .option('--dry-run', 'only show them; needs nothing but SELECT on execution and task')
    .option('--all', 'with --dry-run: also show what no refresh can repair, and why')
    .option('--json', 'print one JSON document')
    .addOption(dataOption())
    .action(async (options: Options) => {
      if (options.all && !options.dryRun) {
        throw new UsageError('--all only shows; add --dry-run');
      }
      const config = commandConfig(['DATABASE_URL'], options.data);
      await withDatabase(
        config,
        'reconcile',
        (database) => reconcile(database, options),
        (database) => findProblem(database, options.dryRun === true),
      );
    });
}

async function reconcile(database: TransactionDatabase, options: Options): Promise<void> {
  const print = options.json ? jsonPrinter(options.dryRun === true) : linePrinter();
  const [count] = await database.query<{ estimate: number }>(
    `SELECT greatest(reltuples, 0)::bigint AS estimate FROM pg_class WHERE oid = to_regclass('execution')`,
  );
  const bar =
    options.json && process.stdout.isTTY ? noBar() : progressBar(process.stderr, 'executions');
  bar.total(count?.estimate ?? 0);
  const nextPage = options.dryRun ? readDisagreements : recordDisagreements;
  let found = 0;
  try {
    let seen = 0;
    for (let after: number | undefined = 0; after !== undefined;) {
      const page: Awaited<ReturnType<typeof nextPage>> = await nextPage(database, after, PAGE);
      bar.above(() => page.disagreements.forEach((disagreement) => print.one(disagreement)));
      found += page.disagreements.length;
      seen += PAGE;
      bar.at(Math.min(seen, count?.estimate ?? 0));
      after = page.last;
    }
  } finally {
    bar.stop();
  }
  const beyond = options.all ? await findIrreparable(database) : undefined;
  print.end(found, beyond);
  if (!options.json) {
    process.stderr.write(
      options.dryRun
        ? `${found} disagreements; nothing was changed\n`
        : `${found} disagreements; a refresh of each is recorded\n`,
    );
    if (beyond !== undefined) {
      process.stderr.write(
        `${beyond.length} executions that no refresh can repair; docs/harbor.md says what to do\n`,
      );
    }
  }
}

async function findIrreparable(database: TransactionDatabase): Promise<Irreparable[]> {
  const found: Irreparable[] = [];
  for (let after: number | undefined = 0; after !== undefined;) {
    const page: Awaited<ReturnType<typeof readIrreparable>> = await readIrreparable(
      database,
      after,
      PAGE,
    );
    found.push(...page.irreparable);
    after = page.last;
  }
  return found;
}

async function findProblem(
  database: TransactionDatabase,
  dryRun: boolean,
): Promise<string | undefined> {
  const [tables] = await database.query<{ present: boolean }>(
    `SELECT to_regclass('execution') IS NOT NULL AND to_regclass('task') IS NOT NULL AS present`,
  );
  if (tables?.present !== true) {
    const elsewhere = await hostElsewhere((sql, values) => database.query(sql, values));
    return elsewhere ?? 'the database has no tables execution and task; check DATABASE_URL';
  }
  return dryRun ? undefined : schemaProblem(database);
}

interface Printer {
  one(disagreement: Disagreement): void;
  /** @param irreparable undefined if it wasn't requested */
  end(found: number, irreparable: readonly Irreparable[] | undefined): void;
}

// Printed as they are found, because there may be as many as executions. Nothing is printed before
// the first page: without it, there is no document.
function jsonPrinter(dryRun: boolean): Printer {
  const opening = '{"disagreements":[';
  let separator = opening;
  return {
    one: (disagreement) => {
      process.stdout.write(`${separator}${jsonText(disagreement)}`);
      separator = ',';
    },
    end: (found, irreparable) =>
      void process.stdout.write(
        `${separator === opening ? opening : ''}],"enqueued":${dryRun ? 0 : found}${irreparable === undefined ? '' : `,"irreparable":${jsonText(irreparable)}`}}\n`,
      ),
  };
}

function linePrinter(): Printer {
  return {
    one: ({ executionId, vendor, stored, computed, since }) =>
      void process.stdout.write(
        `${executionId}:${printable(vendor)}  stored ${printable(stored ?? '') || 'nothing'}, by its tasks ${computed}${since === null ? '' : ` since ${since}`}\n`,
      ),
    end: (_, irreparable = []) => {
      for (const { executionId, vendor, stored, reason } of irreparable) {
        process.stdout.write(
          `${executionId}:${printable(vendor)}  stored ${printable(stored ?? '') || 'nothing'}, can't be repaired: ${reason}\n`,
        );
      }
    },
  };
}
