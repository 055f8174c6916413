import type { World } from './world.ts';

/**
 * The kinds of executions, told apart by their vendor.
 * - `FREE`: any transaction changes and adds tasks, at the same time as others.
 * - `SWEPT`: finished tasks are deleted as well.
 * - `MARKED`: the host stores final statuses by hand. Its writers take turns, so that the ledger tells what came last.
 * - `BULK`: thousands, all changed by one statement.
 */
export const SIZES = { FREE: 400, SWEPT: 100, MARKED: 100, BULK: 3_000 } as const;
export type Kind = keyof typeof SIZES;

/** Ids of the executions of each kind. */
export type Population = Readonly<Record<Kind, readonly number[]>>;

/** Creates the executions, the ledger of committed changes, and the history of revisions. */
export async function createPopulation(world: World): Promise<Population> {
  for (const statement of [
    `CREATE TABLE public.ledger (sequence bigserial PRIMARY KEY, execution_id integer NOT NULL, by_host boolean NOT NULL DEFAULT false)`,
    `CREATE TABLE public.revision_fell (execution_id integer, before integer, after integer)`,
    `CREATE TABLE public.poison (execution_id integer PRIMARY KEY)`,
    `CREATE TABLE public.failed_wrongly (execution_id bigint, job_id text, error text)`,
    `CREATE FUNCTION public.note_failure() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN INSERT INTO public.failed_wrongly VALUES (NEW.execution_id, NEW.job_id, NEW.error); RETURN NULL; END $$`,
    // A retry would hide it.
    `CREATE TRIGGER note_failure AFTER INSERT OR UPDATE OF error ON tally.failure FOR EACH ROW
       WHEN (NEW.error IS NULL OR NEW.error NOT LIKE '%poisoned%') EXECUTE FUNCTION public.note_failure()`,
    `CREATE FUNCTION public.note_revision() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN INSERT INTO public.revision_fell VALUES (NEW.id, OLD.revision, NEW.revision); RETURN NULL; END $$`,
    `CREATE TRIGGER note_revision AFTER UPDATE ON execution FOR EACH ROW
       WHEN (NEW.revision < coalesce(OLD.revision, 0)) EXECUTE FUNCTION public.note_revision()`,
    `CREATE FUNCTION public.poisoned() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN
       IF EXISTS (SELECT FROM public.poison WHERE execution_id = NEW.id) THEN RAISE EXCEPTION 'poisoned'; END IF;
       RETURN NEW;
     END $$`,
    `CREATE TRIGGER poisoned BEFORE UPDATE ON execution FOR EACH ROW EXECUTE FUNCTION public.poisoned()`,
  ]) {
    await world.sql(statement);
  }
  const created: Partial<Record<Kind, number[]>> = {};
  for (const [kind, count] of Object.entries(SIZES)) {
    const rows = await world.sql(
      `WITH created AS (
         INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision)
         SELECT $1, n, 'Running', 'MANUAL', 0 FROM generate_series(1, $2::int) AS n RETURNING id
       ), tasks AS (
         INSERT INTO task (execution_id, status, status_code, vendor_type)
         SELECT id, 'Pending', 0, $1 FROM created, generate_series(1, $3::int) RETURNING execution_id
       )
       SELECT DISTINCT execution_id AS id FROM tasks ORDER BY id`,
      [kind, count, kind === 'BULK' ? 1 : 4],
    );
    created[kind as Kind] = rows.map(({ id }) => Number(id));
  }
  return created as Population;
}

/**
 * The executions that break an invariant, named, each with what is wrong; only right when nothing waits.
 * @param strict after a last change of every execution: then nothing that was stored by hand may stand either
 */
export async function brokenExecutions(world: World, strict: boolean): Promise<string[]> {
  const wrong = await world.sql(
    `WITH computed AS (
       SELECT execution_id,
              CASE WHEN bool_or(status IN ('Pending', 'Scheduled', 'Running')) THEN 'Running'
                   WHEN bool_or(status = 'Error') THEN 'Error'
                   WHEN bool_or(status = 'Stopped') THEN 'Stopped' ELSE 'Success' END AS status,
              CASE WHEN NOT bool_or(status IN ('Pending', 'Scheduled', 'Running')) THEN max(end_time) END AS end_time
         FROM task GROUP BY execution_id
     ), last AS (
       SELECT DISTINCT ON (execution_id) execution_id, sequence, by_host FROM ledger ORDER BY execution_id, sequence DESC
     )
     SELECT e.id, e.vendor_type, e.status, e.end_time::text, e.revision, c.status AS computed,
            c.end_time::text AS computed_end, last.sequence, last.by_host
       FROM execution e JOIN computed c ON c.execution_id = e.id LEFT JOIN last ON last.execution_id = e.id
      WHERE CASE
              WHEN NOT $1 AND last.by_host THEN e.status IS DISTINCT FROM 'Error'
              -- The task that a status came from may be gone by now, but none that outweighs it may be there.
              WHEN NOT $1 AND e.vendor_type = 'SWEPT' THEN
                (e.status = 'Running') <> (c.status = 'Running')
                OR array_position('{Success,Stopped,Error}', e.status::text) < array_position('{Success,Stopped,Error}', c.status)
              ELSE e.status IS DISTINCT FROM c.status OR e.end_time IS DISTINCT FROM c.end_time
            END
      ORDER BY e.id`,
    [strict],
  );
  const fell = await world.sql('SELECT * FROM revision_fell');
  const failed = await world.sql('SELECT * FROM failed_wrongly');
  return [
    ...wrong.map((row) => `wrong status: ${JSON.stringify(row)}`),
    ...fell.map((row) => `revision went down: ${JSON.stringify(row)}`),
    ...failed.map((row) => `failed for good without being at fault: ${JSON.stringify(row)}`),
  ];
}
