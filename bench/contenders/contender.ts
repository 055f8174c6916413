import type { Arena } from '../servers.ts';
import type { MeasuredProcess } from '../processes.ts';

/** Something that refreshes executions and is measured doing it. */
export interface Contender {
  /** For `--only` and for JSON. */
  readonly name: string;
  /** Selects several at once in `--only`. */
  readonly family: string;
  /** What the table calls it. */
  readonly title: string;
  readonly workers: number;
  /** False for one that only empties its queue. */
  readonly refreshes: boolean;
  /** Whether `prepare` puts one thing for each execution into Redis, so that its size can be told. */
  readonly waitsInRedis: boolean;
  /** Records every execution as changed, before any process is started. */
  prepare(arena: Arena): Promise<void>;
  /** Starts its processes; when it resolves, all of them are connected and wait. */
  start(arena: Arena): Promise<MeasuredProcess[]>;
  /** Lets them begin: the clock starts here. */
  go(arena: Arena, processes: readonly MeasuredProcess[]): Promise<void>;
  /** How much is still to be done by its own account, cheaply; 0 when it would do nothing more. */
  left(arena: Arena, processes: readonly MeasuredProcess[]): Promise<number>;
}

/** Where a worker of the bench connects to. */
export interface Urls {
  readonly databaseUrl: string;
  readonly redisUrl: string;
}

/** Connects a worker. @returns its work: call it to begin, it resolves when nothing is left, or never */
export type ConnectWorker = (urls: Urls) => Promise<() => Promise<void>>;

/** Tells all processes of a contender to begin. */
export async function signalGo(
  _arena: Arena,
  processes: readonly MeasuredProcess[],
): Promise<void> {
  for (const process of processes) process.go();
}
