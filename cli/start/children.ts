import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/process/logger.ts';
import type { WorkerFigures } from '../../workers/activity-log.ts';

const RESTART_AFTER_MS = 1_000;
const FAILED_STARTS = 3;

/** A child's message over its channel; sent by cli/commands/processes.ts. */
export type ChildMessage = 'started' | WorkerFigures;

interface Options {
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** Gets each line of a child's log, as JSON text. */
  readonly onLine: (line: string) => void;
  /** Gets what a worker did within a second. */
  readonly onFigures: (figures: WorkerFigures) => void;
  /**
   * Called when a child has exited several times in a row before it had started; it isn't restarted
   * any more.
   */
  readonly onHopeless: (role: string) => void;
}

/**
 * The child processes of `tally start`. One that exits is restarted. All of them exit when this
 * process is gone for any reason, because their channel to it closes.
 */
export class Children {
  readonly #options: Options;
  readonly #children = new Set<ChildProcess>();
  #stopping = false;

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * Starts a child and keeps it running.
   * @param environment called before each start with the number of failed starts in a row
   * @returns resolves when it has started for the first time, or won't any more
   */
  start(
    role: string,
    environment: (failedStarts: number) => Promise<NodeJS.ProcessEnv>,
  ): Promise<void> {
    return new Promise((started) => {
      void this.#keepRunning(role, environment, started).then(started);
    });
  }

  /**
   * Asks all children to stop and waits until they are gone; kills those that are still there after
   * `graceMs` milliseconds.
   */
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
      this.#options.log.warn(`the ${role} ended (${ended}) and is restarted`);
      await delay(RESTART_AFTER_MS);
    }
  }

  /**
   * @returns how it ended; never throws, because a child that can't be started has ended as well
   */
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
      // A Ctrl-C in the terminal must reach this process alone, which stops the others in order.
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
