import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/**
 * A unique name for this process, for example `web-1:5f0c9a3e:4711`: host, instance and pid. Host
 * and pid alone aren't enough: in containers the pid is often 1, and host names repeat.
 */
export function instanceName(): string {
  return `${hostname()}:${randomBytes(4).toString('hex')}:${process.pid}`;
}
