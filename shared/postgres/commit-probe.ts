import { setTimeout as delay } from 'node:timers/promises';
import { cancelStatement } from './cancel.ts';
import { connectClient } from './database.ts';

const CONNECT_MS = 2_000;
const STATEMENTS_MS = 2_000;
const LOCK_MS = 1_000;
// The server's timeouts end a statement, but not a commit that waits for a standby.
const ALL_MS = 3_000;
const END_MS = 500;
// An id that no serial column reaches.
const PROBE_ID = Number.MAX_SAFE_INTEGER;

/**
 * What a probe tries: `rows`, to record a row in the outbox; `refreshes`, to do a refresh as well.
 */
export type Probed = 'rows' | 'refreshes';

// A message of several statements is one transaction, also through a transaction pooler, and leaves
// no settings behind. No other session ever sees the row, whatever is killed when, so nobody
// refreshes it and probes never wait for each other. A refresh of no execution takes the same locks
// and needs the same rights as a real one.
const RECORD = `
  SET LOCAL TRANSACTION ISOLATION LEVEL READ COMMITTED;
  SET LOCAL lock_timeout = ${LOCK_MS};
  SET LOCAL statement_timeout = ${STATEMENTS_MS};
  SET LOCAL row_security = off;
  SET LOCAL enable_seqscan = off;
  INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
  VALUES (${PROBE_ID}, 'TALLY_PROBE', 'api', 'infinity');
  DELETE FROM tally.outbox WHERE execution_id = ${PROBE_ID} AND vendor = 'TALLY_PROBE'`;
const REFRESH_NOTHING = `
  ; SELECT FROM tally.refresh_executions('{}'::bigint[]); SELECT FROM tally.refresh_backlog(0, 0, '-infinity')`;

/**
 * Creates a probe that runs {@link probeCommit} and can be repeated. If the URL names several
 * servers, it starts with the one that it reached last, so a server that swallows everything delays
 * only the first run.
 */
export function createCommitProbe(databaseUrl: string, probed: Probed): () => Promise<void> {
  const last = { index: 0 };
  return () => probeCommit(databaseUrl, probed, last);
}

/**
 * Inserts a row and deletes it again in one committed transaction, over a connection of its own.
 * This fails on a server that is read-only or full, has the host's tables locked, or waits in each
 * commit for a missing standby. It takes at most seven seconds (five if the network works) and
 * leaves neither a row nor a backend behind.
 * @throws an error from `pg`, or one that says that the commit didn't finish
 */
export async function probeCommit(
  databaseUrl: string,
  probed: Probed,
  last = { index: 0 },
): Promise<void> {
  const client = await connectClient(databaseUrl, 'probe', CONNECT_MS, last);
  try {
    const late = AbortSignal.timeout(ALL_MS);
    const expired = new Promise<never>((_resolve, reject) => {
      late.addEventListener(
        'abort',
        () => reject(new Error(`a commit did not finish within ${ALL_MS / 1_000} s`)),
        { once: true },
      );
    });
    const committed = client.query(probed === 'rows' ? RECORD : RECORD + REFRESH_NOTHING);
    // A late answer doesn't count: a cancelled commit is reported as done.
    await Promise.race([committed, expired]).catch(async (error: unknown) => {
      if (late.aborted) await cancelStatement(client);
      throw error;
    });
  } finally {
    // The server gets its slot back before anybody acts on the answer, unless the network swallows
    // everything.
    await Promise.race([client.end(), delay(END_MS, undefined, { ref: false })]).catch(
      () => undefined,
    );
  }
}
