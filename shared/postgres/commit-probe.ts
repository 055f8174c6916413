import { setTimeout as delay } from 'node:timers/promises';
import { cancelStatement } from './cancel.ts';
import { connectClient } from './database.ts';

const CONNECT_MS = 2_000;
const STATEMENTS_MS = 2_000;
const LOCK_MS = 1_000;
// The server's limits end every statement; nothing of the server's ends a commit that waits for a standby.
const ALL_MS = 3_000;
const END_MS = 500;
// The largest id that a row can have: no serial column gets there.
const PROBE_ID = Number.MAX_SAFE_INTEGER;

/** What is tried: `rows` may be recorded in the outbox; `refreshes`, as well, may be done. */
export type Probed = 'rows' | 'refreshes';

// A message of several statements is one transaction, through a transaction pooler too, and leaves no setting behind.
// No other session ever sees the row, whatever is killed when: so nobody refreshes it, and two probes never wait for
// each other. The refresh of no execution takes all locks and needs all rights that one of many does.
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
 * A probe as {@link probeCommit}, to be run again and again. Of several servers it begins with the one that it reached
 * last, so that one that swallows everything delays only the first run.
 */
export function createCommitProbe(databaseUrl: string, probed: Probed): () => Promise<void> {
  const last = { index: 0 };
  return () => probeCommit(databaseUrl, probed, last);
}

/**
 * Commits a row over a connection of its own and takes it away again in the same transaction. A server that reads but
 * is read-only, is full, has the host's tables locked, or waits in every commit for a standby that isn't there, can't.
 * Takes seven seconds at most, five where the network works, and leaves neither a row nor a backend behind.
 * @throws the error of `pg`, or one that says that the commit didn't finish
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
    // What comes after the time is over isn't believed: a cancelled commit is reported as done.
    await Promise.race([committed, expired]).catch(async (error: unknown) => {
      if (late.aborted) await cancelStatement(client);
      throw error;
    });
  } finally {
    // Its slot is free again before anybody acts on the answer; a network that swallows everything doesn't hold that up.
    await Promise.race([client.end(), delay(END_MS, undefined, { ref: false })]).catch(
      () => undefined,
    );
  }
}
