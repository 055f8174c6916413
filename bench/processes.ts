import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TallyError } from '../shared/errors.ts';
import type { Arena } from './servers.ts';

/** The command `tally`, as built. */
export const TALLY = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const WORKER = fileURLToPath(new URL('dist/bench/worker-process.js', import.meta.url));
const READY = {
  worker: 'taking jobs',
  producer: 'refreshes are accepted on',
  dashboard: 'dashboard: http',
};
const KEPT_LINES = 3;
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 15_000;

/** The prefix of the keys of Tally's queue, the same in every run. */
export const QUEUE_PREFIX = 'bench';

/** A process that is measured. */
export interface MeasuredProcess {
  readonly pid: number;
  readonly role: string;
  /** The line with which it said that it works; empty for a process of the bench. */
  readonly readyLine: string;
  /** Whether it has said that its work is done; Tally's processes never say so. */
  readonly done: boolean;
  /** @throws TallyError with its last lines when it has ended */
  mustRun(): void;
  /** Tells a process of the bench to begin. */
  go(): void;
  /** Ends it, if it hasn't ended yet. */
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();

/** Kills what still runs, when the bench itself ends early. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/**
 * Starts `tally <role>` as built, and waits until it works.
 * @param main its main.js, where another build is to run
 */
export function startTally(
  role: keyof typeof READY,
  arena: Arena,
  settings: Readonly<Record<string, string>> = {},
  main = TALLY,
): Promise<MeasuredProcess> {
  return start(role, [main, role], environment(arena, settings), (child) =>
    saysLine(child, READY[role]),
  );
}

/** Starts a worker of another contender, and waits until it is connected; `go` lets it begin. */
export function startContender(name: string, arena: Arena): Promise<MeasuredProcess> {
  return start(name, [WORKER, name], environment(arena, {}), async (child) => {
    await once(child, 'message');
    return '';
  });
}

async function start(
  role: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  ready: (child: ChildProcess) => Promise<string>,
): Promise<MeasuredProcess> {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  running.add(child);
  const ended = once(child, 'exit').then(() => void running.delete(child));
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      if (output.length > KEPT_LINES) output.shift();
    });
  }
  const problem = (what: string): TallyError =>
    new TallyError('BENCH_PROCESS', `a process of ${role} ${what}: ${output.join(' | ')}`);
  let done = false;
  child.on('message', (message) => {
    done ||= message === 'done';
  });
  let readyLine = '';
  const outcome = await Promise.race([
    ready(child).then((line) => {
      readyLine = line;
      return 'ready';
    }),
    ended.then(() => 'ended before it was ready'),
    delay(READY_TIMEOUT_MS, 'was not ready in time', { ref: false }),
  ]);
  if (outcome !== 'ready') {
    child.kill('SIGKILL');
    throw problem(outcome);
  }
  return {
    pid: child.pid ?? 0,
    role,
    readyLine,
    get done() {
      return done;
    },
    mustRun: () => {
      const code = child.exitCode ?? child.signalCode;
      if (code !== null) throw problem(`ended early (${code})`);
    },
    go: () => {
      child.send('go');
    },
    stop: async () => {
      child.kill('SIGTERM');
      const late = delay(STOP_TIMEOUT_MS, 'late', { ref: false });
      if ((await Promise.race([ended, late])) === 'late') child.kill('SIGKILL');
      await ended;
    },
  };
}

function saysLine(child: ChildProcess, text: string): Promise<string> {
  return new Promise((resolve) => {
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.includes(text)) resolve(line);
    });
  });
}

/** Nothing of the surroundings but PATH: a setting that happens to be set must not change a number. */
export function environment(
  arena: Arena,
  settings: Readonly<Record<string, string>>,
): Record<string, string | undefined> {
  return {
    PATH: process.env['PATH'],
    DATABASE_URL: arena.databaseUrl,
    REDIS_URL: arena.redisUrl,
    QUEUE_PREFIX,
    // What a run begins with is out of date, so the reconciler would find it before the clock starts.
    RECONCILE_INTERVAL_MS: '0',
    PRODUCER_PORT: '0',
    DASHBOARD_PORT: '0',
    ...settings,
  };
}

/** Turns the capture of task changes on or off, with the command that a person would use. */
export async function setCapture(arena: Arena, on: boolean): Promise<void> {
  const args = [TALLY, 'capture', on ? 'enable' : 'disable'];
  const { status, stderr } = spawnSync(process.execPath, args, {
    env: { PATH: process.env['PATH'], DATABASE_URL: arena.databaseUrl },
    encoding: 'utf8',
  });
  if (status === 0) return;
  throw new TallyError('BENCH_CAPTURE', `tally capture failed: ${stderr.trim()}`);
}
