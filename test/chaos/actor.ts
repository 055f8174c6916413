import { spawnTally, type SpawnedTally } from '../support/tally-process.ts';

/** A process of Tally's that is killed, frozen and started again. */
export class Actor {
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

  /** Starts it unless it runs. */
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

  /** Ends it with a signal. @returns how it ended: its exit code, or the signal */
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
