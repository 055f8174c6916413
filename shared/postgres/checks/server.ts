import type { Database } from '../database.ts';
import {
  ok,
  problem,
  problemOf,
  warning,
  type Check,
  type Verdict,
} from '../../process/finding.ts';
import { readServerVersion } from '../host.ts';

const LONG_TRANSACTION_MINUTES = 5;
const MAX_CLOCK_DIFFERENCE_S = 10;

/** The checks of the server itself; none of them needs a table. */
export function serverChecks(database: Database): Check[] {
  return [
    { name: 'version', look: () => checkVersion(database) },
    { name: 'writes', look: () => checkWrites(database) },
    { name: 'replication', look: () => checkReplication(database) },
    { name: 'time zone', look: () => checkTimeZone(database) },
    { name: 'clock', look: () => checkClock(database) },
    { name: 'connections', look: () => checkConnections(database) },
    { name: 'long transactions', look: () => checkLongTransactions(database) },
  ];
}

async function checkVersion(database: Database): Promise<Verdict> {
  const { version, problem: tooOld } = await readServerVersion((sql) => database.query(sql));
  return tooOld === undefined ? ok(version) : problemOf(tooOld);
}

async function checkWrites(database: Database): Promise<Verdict> {
  // A role that may not see the statistics gets nulls for the primary.
  const [server] = await database.query<{
    standby: boolean;
    readOnly: boolean;
    primary: string | null;
  }>(
    `SELECT pg_is_in_recovery() AS standby,
            current_setting('transaction_read_only')::boolean AS "readOnly",
            (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver) AS primary`,
  );
  if (server?.standby === true) {
    const primary = server.primary === null ? '' : ` (it receives from ${server.primary})`;
    return problem(
      'the server is a standby, which only reads',
      `point DATABASE_URL at the primary${primary}, or name all hosts and add target_session_attrs=read-write`,
    );
  }
  if (server?.readOnly === true) {
    return problem(
      'transactions are read-only (default_transaction_read_only)',
      'reset default_transaction_read_only where it was set: the server, the database or the role',
    );
  }
  return ok('the server takes writes');
}

async function checkReplication(database: Database): Promise<Verdict> {
  const [replication] = await database.query<{
    standby: boolean;
    wanted: string;
    visible: boolean;
    synchronous: number;
    standbys: number;
  }>(
    `SELECT pg_is_in_recovery() AS standby, current_setting('synchronous_standby_names') AS wanted,
            pg_has_role('pg_read_all_stats', 'USAGE') AS visible,
            count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) AS synchronous,
            count(*) AS standbys
       FROM pg_stat_replication`,
  );
  const { wanted = '', visible = false, synchronous = 0, standbys = 0 } = replication ?? {};
  // A standby may have inherited the primary's setting, but commits nothing itself.
  if (replication?.standby === true) return ok('nothing is committed here');
  if (wanted === '') return ok(`commits wait for no standby; ${standbys} connected`);
  if (!visible) {
    return warning(
      `commits wait for a standby (synchronous_standby_names = ${wanted}), and this role may not see whether there is one`,
      'GRANT pg_read_all_stats to the role, or look at pg_stat_replication as another one',
    );
  }
  if (synchronous === 0) {
    return problem(
      `commits wait for a standby (synchronous_standby_names = ${wanted}), and none is connected: no commit ends`,
      'start the standby, or reset synchronous_standby_names and reload the server',
    );
  }
  return ok(`commits wait for ${synchronous} of ${standbys} standbys`);
}

async function checkTimeZone(database: Database): Promise<Verdict> {
  const [zone] = await database.query<{ name: string; offset: number }>(
    `SELECT current_setting('TimeZone') AS name,
            extract(epoch FROM localtimestamp - timezone('UTC', now()))::double precision AS offset`,
  );
  if (zone === undefined || zone.offset === 0) return ok(zone?.name ?? 'UTC');
  return warning(
    `sessions are in ${zone.name}: a default of CURRENT_TIMESTAMP in the host's tables is then not UTC. Tally itself writes UTC everywhere`,
    `set the host's time zone to UTC: ALTER DATABASE … SET timezone TO 'UTC'`,
  );
}

async function checkClock(database: Database): Promise<Verdict> {
  const [clock] = await database.query<{ seconds: number }>(
    `SELECT extract(epoch FROM clock_timestamp())::double precision AS seconds`,
  );
  const aheadS = Math.round(Date.now() / 1_000 - (clock?.seconds ?? 0));
  if (Math.abs(aheadS) <= MAX_CLOCK_DIFFERENCE_S) return ok('within 10 s of this machine');
  return warning(
    `this machine is ${Math.abs(aheadS)} s ${aheadS > 0 ? 'ahead of' : 'behind'} Postgres; ages that Tally shows are off by as much`,
    'synchronize both clocks with NTP',
  );
}

async function checkConnections(database: Database): Promise<Verdict> {
  const [connections] = await database.query<{ used: number; most: number }>(
    `SELECT count(*) AS used,
            current_setting('max_connections')::int
              - current_setting('superuser_reserved_connections')::int AS most
       FROM pg_stat_activity WHERE backend_type = 'client backend'`,
  );
  const { used = 0, most = 0 } = connections ?? {};
  const text = `${used} of ${most} are in use`;
  return used < most * 0.9
    ? ok(text)
    : warning(text, 'raise max_connections, put a pooler in between, or run fewer processes');
}

async function checkLongTransactions(database: Database): Promise<Verdict> {
  const [long] = await database.query<{
    count: number;
    hidden: number;
    minutes: number | null;
    pid: number | null;
    name: string | null;
  }>(
    `WITH others AS (
       SELECT * FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
     ), long AS (
       SELECT * FROM others WHERE xact_start < clock_timestamp() - $1 * interval '1 minute'
     )
     SELECT (SELECT count(*) FROM long) AS count,
            (SELECT count(*) FROM others WHERE NOT pg_has_role(usesysid, 'USAGE')
                AND NOT pg_has_role('pg_read_all_stats', 'USAGE')) AS hidden,
            oldest.pid, oldest.application_name AS name,
            round(extract(epoch FROM clock_timestamp() - oldest.xact_start) / 60)::int AS minutes
       FROM (SELECT) one LEFT JOIN (SELECT * FROM long ORDER BY xact_start LIMIT 1) oldest ON true`,
    [LONG_TRANSACTION_MINUTES],
  );
  if (long !== undefined && long.count > 0) {
    return warning(
      `${long.count} older than ${LONG_TRANSACTION_MINUTES} min; the oldest for ${long.minutes} min (pid ${long.pid}, ${long.name || 'no application name'}). Dead outbox rows can't be vacuumed meanwhile`,
      `end it where it comes from, or: SELECT pg_terminate_backend(${long.pid})`,
    );
  }
  const hidden =
    long !== undefined && long.hidden > 0
      ? ` among those that this role may see; ${long.hidden} sessions of other roles are hidden`
      : '';
  return ok(`none older than ${LONG_TRANSACTION_MINUTES} min${hidden}`);
}
