import type { Redis } from 'ioredis';
import type { Database } from '../postgres/database.ts';
import { ok, problem, warning, type Check, type Verdict } from '../process/finding.ts';
import { MARKER_KEY_PATTERN, MARKER_SET, type MarkerFormat } from './markers.ts';

// The oldest and newest minor version of Harbor 2 whose tables and markers were examined.
const FIRST_MINOR = 8;
const LAST_MINOR = 17;
/** From this minor version on, Harbor writes markers into a set. */
const SET_MINOR = 16;
// Harbor's own loop drains its markers every 30 s.
const UNDRAINED_S = 90;
const SCAN_BUDGET_MS = 2_000;

/**
 * The minor version of Harbor 2 whose migrations ran last; undefined if the database isn't
 * Harbor's. Harbor numbers the migrations of 2.8.0 from 110, those of 2.9.0 from 120 and so on
 * (`make/migrations/postgresql` in its sources).
 */
async function harborMinor(database: Database): Promise<number | undefined> {
  const [table] = await database.query<{ present: boolean }>(
    `SELECT count(*) = 2 AS present FROM pg_attribute
      WHERE attrelid = to_regclass('schema_migrations') AND attname IN ('version', 'dirty')`,
  );
  if (table?.present !== true) return undefined;
  const [row] = await database.query<{ version: number }>(
    'SELECT version::int AS version FROM schema_migrations LIMIT 1',
  );
  return row === undefined ? undefined : Math.floor(row.version / 10) - 3;
}

/**
 * The checks of a Harbor beside Tally; none if the database isn't Harbor's.
 * @param redis Harbor's Redis, if HARBOR_REDIS_URL names it
 * @param captures whether capture is enabled, which makes markers redundant
 * @throws an error from `pg`
 */
export async function harborChecks(
  database: Database,
  redis: Redis | undefined,
  captures: boolean,
): Promise<Check[]> {
  const minor = await harborMinor(database);
  if (minor === undefined) return [];
  const checks: Check[] = [{ name: 'version', look: async () => checkVersion(minor) }];
  if (redis !== undefined) {
    checks.push({ name: 'markers', look: () => checkMarkers(redis, minor, captures) });
  }
  return checks;
}

function checkVersion(minor: number): Verdict {
  if (minor < FIRST_MINOR) {
    return problem(
      `Harbor 2.${minor} or older`,
      `Tally knows Harbor 2.${FIRST_MINOR} and later; upgrade Harbor`,
    );
  }
  const text = `Harbor 2.${minor}, which writes markers as ${minor < SET_MINOR ? 'keys' : 'a set'}`;
  if (minor <= LAST_MINOR) return ok(text);
  return warning(
    text,
    `this version of Tally knows Harbor up to 2.${LAST_MINOR}; look for a newer one, and run: tally reconcile --dry-run`,
  );
}

interface Markers {
  readonly format: MarkerFormat;
  /** Undefined if there are more than can be counted within two seconds. */
  readonly count: number | undefined;
  /** Seconds since the marker that was examined was last touched. */
  readonly idleSeconds: number;
}

async function checkMarkers(redis: Redis, minor: number, captures: boolean): Promise<Verdict> {
  const written: MarkerFormat = minor < SET_MINOR ? 'keys' : 'set';
  const [keys, set] = [await readKeys(redis), await readSet(redis)];
  const stale = written === 'set' ? keys : set;
  if (stale !== undefined) {
    return warning(
      `there are markers in the format of another version of Harbor (${describe(stale)}); Harbor 2.${minor} never reads them`,
      'take them in: tally harbor import',
    );
  }
  const markers = written === 'set' ? set : keys;
  if (markers === undefined) {
    return ok(
      "there are none: nothing has changed, or Harbor's loop or Tally's intake drains them",
    );
  }
  const text = describe(markers);
  if (markers.idleSeconds < UNDRAINED_S) return ok(`${text}, set recently`);
  if (captures) return ok(`${text}, which nobody drains; that is right while capture is on`);
  return problem(
    `${text}, which nobody has drained for ${markers.idleSeconds} s, while capture is off`,
    'start a producer with HARBOR_REDIS_URL, or run: tally capture enable',
  );
}

function describe({ format, count }: Markers): string {
  return `${count ?? 'very many'} ${format === 'set' ? 'members of the set' : 'marker keys'}`;
}

async function readSet(redis: Redis): Promise<Markers | undefined> {
  const count = await redis.scard(MARKER_SET);
  if (count === 0) return undefined;
  return { format: 'set', count, idleSeconds: await idleSeconds(redis, MARKER_SET) };
}

// Stops after two seconds: the database may hold any number of other keys.
async function readKeys(redis: Redis): Promise<Markers | undefined> {
  const endMs = performance.now() + SCAN_BUDGET_MS;
  let count = 0;
  let example: string | undefined;
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', MARKER_KEY_PATTERN, 'COUNT', 1_000);
    count += keys.length;
    example ??= keys[0];
    cursor = next;
  } while (cursor !== '0' && performance.now() < endMs);
  if (example === undefined) return undefined;
  return {
    format: 'keys',
    count: cursor === '0' ? count : undefined,
    idleSeconds: await idleSeconds(redis, example),
  };
}

async function idleSeconds(redis: Redis, key: string): Promise<number> {
  return Number((await redis.object('IDLETIME', key)) ?? 0);
}
