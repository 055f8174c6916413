import { spawnTally, type SpawnedTally } from '../support/tally-process.ts';

/** A process of Tally's that is killed, frozen and started again. */
export interface Actor {
  readonly name: string;
  /** Undefined while it doesn't run. */
  readonly pid: number | undefined;
  /** What it has said in all its runs. */
  readonly lines: readonly string[];
  /** Starts it unless it runs. */
  start(): void;
  /** Ends it with a signal. @returns how it ended: its exit code, or the signal; null if it didn't run */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | NodeJS.Signals | null>;
  freeze(): void;
  thaw(): void;
}

/** One that the run itself starts. It must not end unless it is told to. */
export class OwnProcess implements Actor {
  readonly name: string;
  readonly #args: readonly string[];
  readonly #environment: Readonly<Record<string, string>>;
  readonly #unexpected: (problem: string) => void;
  #run: SpawnedTally | undefined;
  /** Lines of the runs that have ended. */
  #earlier: string[] = [];

  constructor(
    name: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    unexpected: (problem: string) => void,
  ) {
    this.name = name;
    this.#args = args;
    this.#environment = environment;
    this.#unexpected = unexpected;
  }

  get pid(): number | undefined {
    return this.#run?.pid;
  }

  get lines(): readonly string[] {
    return [...this.#earlier, ...(this.#run?.lines ?? [])];
  }

  start(): void {
    if (this.#run !== undefined) return;
    const run = spawnTally(this.#args, this.#environment);
    this.#run = run;
    void run.ended.then(({ code, signal }) => {
      this.#earlier.push(...run.lines, `-- ended with ${code ?? signal}`);
      if (this.#run !== run) return;
      this.#run = undefined;
      this.#unexpected(`${this.name} ended by itself with ${code ?? signal}`);
    });
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | NodeJS.Signals | null> {
    const run = this.#run;
    if (run === undefined) return null;
    this.#run = undefined;
    run.kill('SIGCONT');
    run.kill(signal);
    const ended = await run.ended;
    return ended.code ?? ended.signal;
  }

  freeze(): void {
    this.#run?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#run?.kill('SIGCONT');
  }
}
