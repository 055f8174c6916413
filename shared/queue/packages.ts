import { createRequire } from 'node:module';
import type * as BullMQ from 'bullmq';
import type * as IORedis from 'ioredis';

// Required instead of imported: before Node imports a CommonJS package, it reads all of its files
// (177 for BullMQ) to find the names they export. For these two packages that costs every process,
// even a short command, 0.1 s of CPU.
const require = createRequire(import.meta.url);

/** BullMQ's classes and functions. Import its types from 'bullmq'. */
export const bullmq = require('bullmq') as typeof BullMQ;

/** The classes of ioredis. Import its types from 'ioredis'. */
export const ioredis = require('ioredis') as typeof IORedis;
