import { createHash } from 'node:crypto';

/** A short name of a cause, for addresses: a cause is a text of up to a thousand characters. */
export function causeId(cause: string): string {
  return createHash('sha256').update(cause).digest('hex').slice(0, 16);
}
