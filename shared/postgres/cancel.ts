import { connect } from 'node:net';

const TIMEOUT_MS = 1_000;
const CANCEL_REQUEST_CODE = 80_877_102;

/** What a cancel request needs to know of a backend; `pg` keeps it on its clients. */
interface Backend {
  readonly host: string;
  readonly port: number;
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

/**
 * Asks the server, over a separate connection, to cancel a client's current statement, once nobody
 * waits for its answer any more. Otherwise a backend that waits (for a lock, or in a commit for its
 * standby) doesn't notice that its client is gone, and keeps its row locks and its slot all the
 * while.
 *
 * A commit that is cancelled while it waits for a standby stays committed on this server, with a
 * warning, and is reported as done. So the caller must ignore any later answer, and the statement
 * must be safe to repeat.
 *
 * Best effort: resolves when the server has taken the request or after a second, and never rejects.
 * Call it while the connection is still open, because a pooler forgets with the connection which
 * statement was meant. The request needs no free slot. It isn't encrypted: servers and PgBouncer
 * accept it even where they require TLS, and its key is worthless once the connection has ended.
 * Source: "Canceling Requests in Progress" in the Postgres manual.
 */
export function cancelStatement(client: object): Promise<void> {
  const { host, port, processID, secretKey } = client as Backend;
  if (typeof processID !== 'number' || typeof secretKey !== 'number') return Promise.resolve();
  const request = Buffer.alloc(16);
  request.writeInt32BE(request.length, 0);
  request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
  request.writeInt32BE(processID, 8);
  request.writeInt32BE(secretKey, 12);
  const socket = host.startsWith('/')
    ? connect(`${host}/.s.PGSQL.${port}`)
    : connect({ host, port });
  return new Promise((resolve) => {
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    // The server answers nothing; it closes the connection once it has handled the request.
    socket.resume();
    socket.write(request);
  });
}
