import { explainDatabaseError } from '../shared/postgres/advice.ts';
import { openDatabase, type Database } from '../shared/postgres/database.ts';
import { schemaProblem } from '../shared/postgres/schema.ts';
import { TallyError } from '../shared/errors.ts';
import type { ConfigWith } from '../shared/process/config.ts';
import { silentLogger } from '../shared/process/logger.ts';

/**
 * Opens the database with the records of failures for one command, and closes it afterwards.
 * @throws TallyError DATABASE_AWAY if Postgres can't be reached
 * @throws TallyError NO_SCHEMA if schema `tally` isn't that of this program
 */
export async function withRecords<T>(
  config: ConfigWith<'DATABASE_URL'>,
  name: string,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const database = openDatabase(config.DATABASE_URL, silentLogger(), {
    connections: 1,
    name,
  });
  try {
    const problem = await schemaProblem(database).catch((error: unknown) => {
      throw new TallyError(
        'DATABASE_AWAY',
        `Postgres can't be asked: ${explainDatabaseError(error)}`,
        { cause: error },
      );
    });
    if (problem !== undefined) throw new TallyError('NO_SCHEMA', problem);
    return await work(database);
  } finally {
    await database.close();
  }
}
