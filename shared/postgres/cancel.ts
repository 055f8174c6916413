import { connect } from 'node:net';

const TIMEOUT_MS = 1_000;
const CANCEL_REQUEST_CODE = 80_877_102;

/** By what the server lets somebody cancel a backend's statement; `pg` keeps it on its clients. */
interface Backend {
  readonly host: string;
  readonly port: number;
  readonly processID?: number | null;
  readonly secretKey?: number | null;
}

/**
 * Asks the server to cancel what this client's connection has in hand, over a connection of its own; for one whose
 * answer nobody waits for any more. Without it a backend that waits (for a lock, or in a commit for its standby)
 * doesn't notice that its client has gone, and keeps its row locks and its slot for as long as it waits.
 *
 * A commit that is cancelled while it waits for a standby stays committed on this server, with a warning, and counts
 * as done to whoever still listens. So whoever cancels must not believe an answer that comes later, and whatever was
 * sent may have been done: it has to be safe to do again.
 *
 * Best effort: resolves when the server has taken the request or after a second, never rejects. To be called while the
 * connection still stands: a pooler forgets with it which statement was meant. It needs no free slot, and isn't encrypted:
 * servers and PgBouncer take it from whomever, also where they ask for TLS, and the key in it is worth nothing once the
 * connection has ended.
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
    // The server says nothing and closes the connection when it has seen to the request.
    socket.resume();
    socket.write(request);
  });
}
