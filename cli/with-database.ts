import { explainDatabaseError } from '../shared/postgres/advice.ts';
import { openDatabase, type TransactionDatabase } from '../shared/postgres/database.ts';
import { schemaProblem } from '../shared/postgres/schema.ts';
import { TallyError } from '../shared/errors.ts';
import type { ConfigWith } from '../shared/process/config.ts';
import { silentLogger } from '../shared/process/logger.ts';

/**
 * Opens the database for one command, and closes it afterwards.
 * @param name of the command, shown in pg_stat_activity
 * @param findProblem says why the command can't work with this database; undefined if it can
 * @throws TallyError DATABASE_AWAY if Postgres can't be reached
 * @throws TallyError WRONG_DATABASE with what `findProblem` says
 */
export async function withDatabase<T>(
  config: ConfigWith<'DATABASE_URL'>,
  name: string,
  work: (database: TransactionDatabase) => Promise<T>,
  findProblem: (database: TransactionDatabase) => Promise<string | undefined> = schemaProblem,
): Promise<T> {
  const database = openDatabase(config.DATABASE_URL, silentLogger(), { connections: 1, name });
  try {
    const problem = await findProblem(database).catch((error: unknown) => {
      throw new TallyError(
        'DATABASE_AWAY',
        `Postgres can't be asked: ${explainDatabaseError(error)}`,
        { cause: error },
      );
    });
    if (problem !== undefined) throw new TallyError('WRONG_DATABASE', problem);
    return await work(database);
  } finally {
    await database.close();
  }
}
