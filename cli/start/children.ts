import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/process/logger.ts';
import type { WorkerFigures } from '../../workers/activity-log.ts';

const RESTART_AFTER_MS = 1_000;
const FAILED_STARTS = 3;

/** What a child tells over its channel; sent by cli/commands/processes.ts. */
export type ChildMessage = 'started' | WorkerFigures;

interface Options {
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** One line of a child's log, as JSON text. */
  readonly onLine: (line: string) => void;
  /** What a worker did in a second. */
  readonly onFigures: (figures: WorkerFigures) => void;
  /** A child has ended again and again before it had started, and is not started any more. */
  readonly onHopeless: (role: string) => void;
}

/**
 * The processes of `tally start`. One that ends is started again; all of them end when this process
 * is gone, however it went, because their channel to it closes.
 */
export class Children {
  readonly #options: Options;
  readonly #children = new Set<ChildProcess>();
  #stopping = false;

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * @param environment asked before each start, with how many in a row have failed so far
   * @returns when it says for the first time that it has started, or will not any more
   */
  start(
    role: string,
    environment: (failedStarts: number) => Promise<NodeJS.ProcessEnv>,
  ): Promise<void> {
    return new Promise((started) => {
      void this.#keepRunning(role, environment, started).then(started);
    });
  }

  /** Asks all to stop and waits until they are gone; what hasn't stopped by then is killed. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const all = [...this.#children];
    for (const child of all) child.kill('SIGTERM');
    const gone = Promise.all(all.filter(isRunning).map((child) => once(child, 'exit')));
    const late = delay(graceMs, 'late', { ref: false });
    if ((await Promise.race([gone, late])) === 'late') {
      for (const child of this.#children) child.kill('SIGKILL');
      await gone;
    }
  }

  async #keepRunning(
    role: string,
    environment: (failedStarts: number) => Promise<NodeJS.ProcessEnv>,
    onStarted: () => void,
  ): Promise<void> {
    for (let failedStarts = 0; !this.#stopping;) {
      let started = false;
      const ended = await this.#run(role, environment(failedStarts), () => {
        started = true;
        onStarted();
      });
      if (this.#stopping) return;
      failedStarts = started ? 0 : failedStarts + 1;
      if (failedStarts === FAILED_STARTS) {
        this.#options.onHopeless(role);
        return;
      }
      this.#options.log.warn(`the ${role} ended (${ended}) and is started again`);
      await delay(RESTART_AFTER_MS);
    }
  }

  /** @returns how it ended; never throws, since a child that can't be started has ended, too */
  async #run(
    role: string,
    environment: Promise<NodeJS.ProcessEnv>,
    onStarted: () => void,
  ): Promise<string> {
    try {
      return await this.#runChild(role, await environment, onStarted);
    } catch (error) {
      return describeError(error);
    }
  }

  async #runChild(
    role: string,
    environment: NodeJS.ProcessEnv,
    onStarted: () => void,
  ): Promise<string> {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', role], {
      env: { ...this.#options.environment, ...environment },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      // A Ctrl-C in the terminal goes to this process alone, which stops the others in their order.
      detached: true,
    });
    this.#children.add(child);
    child.on('message', (message: ChildMessage) => {
      if (message === 'started') onStarted();
      else this.#options.onFigures(message);
    });
    if (child.stdout) createInterface({ input: child.stdout }).on('line', this.#options.onLine);
    try {
      await once(child, 'exit');
      return child.signalCode ?? `exit ${child.exitCode}`;
    } finally {
      this.#children.delete(child);
    }
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
