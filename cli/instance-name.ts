import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';

/**
 * A name for this process that no other has, for example `web-1:5f0c9a3e:4711`: host, instance and process. Host and
 * process alone aren't enough: in containers the process is often 1, and host names repeat.
 */
export function instanceName(): string {
  return `${hostname()}:${randomBytes(4).toString('hex')}:${process.pid}`;
}
