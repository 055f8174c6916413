import type { Arena } from './servers.ts';

/** How late refreshes were, in milliseconds from the change's commit to the refresh's. */
export interface Lag {
  readonly changes: number;
  readonly p50: number | undefined;
  readonly p95: number | undefined;
  readonly p99: number | undefined;
  readonly max: number | undefined;
  /** Changes with no later refresh of their execution. */
  readonly never: number;
}

/** Which changes are looked at: all, those while the backlog lasted; and those not held back by design. */
export interface LagFilter {
  /** Changes before the moment that `matchChanges` was told, or those after it. */
  readonly warmUp: boolean;
  readonly duringBacklog: boolean;
  /** Leaves out changes of executions that were sent within so many milliseconds before them. */
  readonly notSentWithinMs: number;
}

/**
 * Makes the database note every refresh (a raised revision) and when each outbox row had been sent.
 * The moments are those of Postgres's own commit times, so the server must keep them.
 */
export async function recordRefreshTimes(arena: Arena): Promise<void> {
  const statements = [
    `CREATE SCHEMA bench`,
    `CREATE TABLE bench.change (execution_id integer, xid xid)`,
    `CREATE TABLE bench.refreshed (execution_id integer)`,
    `CREATE TABLE bench.sent (execution_id bigint, sent_at timestamptz)`,
    `CREATE FUNCTION bench.note_refresh() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
     BEGIN
       INSERT INTO bench.refreshed VALUES (NEW.id);
       RETURN NULL;
     END $$`,
    `CREATE TRIGGER bench_refresh AFTER UPDATE ON execution FOR EACH ROW
       WHEN (OLD.revision IS DISTINCT FROM NEW.revision) EXECUTE FUNCTION bench.note_refresh()`,
    `CREATE FUNCTION bench.note_sent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
     BEGIN
       INSERT INTO bench.sent SELECT execution_id, sent_at FROM gone WHERE sent_at IS NOT NULL;
       RETURN NULL;
     END $$`,
    `CREATE TRIGGER bench_sent AFTER DELETE ON tally.outbox REFERENCING OLD TABLE AS gone
       FOR EACH STATEMENT EXECUTE FUNCTION bench.note_sent()`,
  ];
  for (const statement of statements) await arena.database.query(statement);
}

/** This moment by the database's clock, in seconds since 1970. */
export async function databaseTimeS(arena: Arena): Promise<number> {
  const [row] = await arena.database.query<{ now: number }>(
    'SELECT extract(epoch FROM clock_timestamp())::double precision AS now',
  );
  return row?.now ?? NaN;
}

/**
 * Joins each change with the first refresh of its execution that was committed after it.
 * @param warmAtS seconds since 1970 by the database's clock: changes before it are of the warm-up
 */
export async function matchChanges(
  arena: Arena,
  changedExecutions: number,
  warmAtS: number,
): Promise<void> {
  const statements = [
    `CREATE TABLE bench.refresh AS
       SELECT execution_id, pg_xact_commit_timestamp(xmin) AS at FROM bench.refreshed`,
    `CREATE INDEX ON bench.refresh (execution_id, at)`,
    `CREATE INDEX ON bench.sent (execution_id, sent_at)`,
    `ANALYZE bench.refresh, bench.sent`,
    `CREATE TABLE bench.lag AS
       SELECT c.execution_id, c.at,
              (SELECT extract(epoch FROM min(r.at) - c.at) * 1000 FROM bench.refresh r
                WHERE r.execution_id = c.execution_id AND r.at > c.at)::double precision AS ms,
              (SELECT extract(epoch FROM c.at - max(s.sent_at)) * 1000 FROM bench.sent s
                WHERE s.execution_id = c.execution_id AND s.sent_at <= c.at)::double precision AS sent_ms_before,
              c.at < to_timestamp(${warmAtS}) AS warm_up,
              c.at <= (SELECT max(r.at) FROM bench.refresh r WHERE r.execution_id > ${changedExecutions}) AS backlog
         FROM (SELECT execution_id, pg_xact_commit_timestamp(xid) AS at FROM bench.change) c`,
  ];
  for (const statement of statements) await arena.database.query(statement);
}

/** The lags of the changes that pass the filter. */
export async function readLag(arena: Arena, filter: LagFilter): Promise<Lag> {
  const [row] = await arena.database.query<{
    changes: number;
    never: number;
    quantiles: (number | null)[] | null;
  }>(
    `SELECT count(*) AS changes, count(*) FILTER (WHERE ms IS NULL) AS never,
            percentile_disc(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY ms) AS quantiles
       FROM bench.lag
      WHERE warm_up = $1 AND (NOT $2 OR backlog) AND coalesce(sent_ms_before, 'infinity') > $3`,
    [filter.warmUp, filter.duringBacklog, filter.notSentWithinMs],
  );
  const [p50, p95, p99, max] = (row?.quantiles ?? []).map((value) => value ?? undefined);
  return { changes: row?.changes ?? 0, never: row?.never ?? 0, p50, p95, p99, max };
}
