import { createRequire } from 'node:module';
import type * as BullMQ from 'bullmq';

/**
 * BullMQ's classes and functions; its types come from 'bullmq' itself. Required rather than imported: to import a
 * CommonJS package, Node first reads all of its files (BullMQ has 177) for the names that they export, which costs every
 * process, a command that runs for a moment too, about 0.1 s of CPU.
 */
export const bullmq = createRequire(import.meta.url)('bullmq') as typeof BullMQ;
