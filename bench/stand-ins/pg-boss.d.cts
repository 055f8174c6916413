// What the bench uses of pg-boss, for type checks where the bench's packages aren't installed.
interface Job<T> {
  id: string;
  data: T;
}

interface JobInsert {
  name: string;
  data: object;
  singletonKey: string;
}

declare class PgBoss {
  constructor(options: {
    connectionString: string;
    max: number;
    supervise: boolean;
    schedule: boolean;
  });
  on(event: 'error', handler: (error: Error) => void): this;
  start(): Promise<PgBoss>;
  stop(options: { graceful: boolean }): Promise<void>;
  createQueue(name: string, options: { name: string; policy: 'short' }): Promise<void>;
  insert(jobs: JobInsert[]): Promise<void>;
  fetch<T>(name: string, options: { batchSize: number; priority: boolean }): Promise<Job<T>[]>;
  complete(name: string, ids: string[]): Promise<void>;
}

export = PgBoss;
