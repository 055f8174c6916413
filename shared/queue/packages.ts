import { createRequire } from 'node:module';
import type * as BullMQ from 'bullmq';
import type * as IORedis from 'ioredis';

// Required rather than imported: to import a CommonJS package, Node first reads all of its files (BullMQ has 177) for the
// names that they export, which costs every process, a command that runs for a moment too, 0.1 s of CPU for these two.
const require = createRequire(import.meta.url);

/** BullMQ's classes and functions; its types come from 'bullmq' itself. */
export const bullmq = require('bullmq') as typeof BullMQ;

/** The classes of ioredis; its types come from 'ioredis' itself. */
export const ioredis = require('ioredis') as typeof IORedis;
