// What the bench uses of graphile-worker, for type checks where the bench's packages aren't installed.
import type { Pool } from 'pg';

interface JobSpec {
  identifier: string;
  payload: unknown;
  jobKey: string;
}

export function makeWorkerUtils(options: { connectionString: string }): Promise<{
  migrate(): Promise<void>;
  addJobs(specs: JobSpec[]): Promise<unknown>;
  release(): PromiseLike<void> | void;
}>;

export function run(options: {
  pgPool: Pool;
  noHandleSignals: boolean;
  logger: Logger;
  taskList: Record<string, (payload: unknown) => Promise<void>>;
  preset: {
    worker: {
      concurrentJobs: number;
      maxPoolSize: number;
      localQueue: { size: number };
      completeJobBatchDelay: number;
      failJobBatchDelay: number;
    };
  };
}): Promise<{ stop(): Promise<void> }>;

interface Logger {
  info(message: string): void;
}

export const Logger: new (factory: () => () => void) => Logger;
