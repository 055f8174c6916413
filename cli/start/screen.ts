import type { WriteStream } from 'node:tty';
import { prettyFactory } from 'pino-pretty';
import { TERMINAL_FORMAT } from '../../shared/process/logger.ts';
import { canRewrite, fitting, StatusLine } from '../status-line.ts';
import { describeProgress, readProgress, type RecentRefreshes } from './progress.ts';

const REWRITE_INTERVAL_MS = 1_000;
const REPEAT_INTERVAL_MS = 10_000;
const SERIOUS = /^\{"level":"(warn|error|fatal)"/;

type Source = Parameters<typeof readProgress>;

/**
 * What `tally start` prints. On a terminal: a status line that updates in place, and above it what it
 * says and the serious lines of the log; a dumb terminal gets the status on a new line now and then.
 * Elsewhere: every line of the log as it comes.
 */
export class Screen {
  readonly #out: WriteStream;
  /** Undefined where a line can't be written over. */
  readonly #line: StatusLine | undefined;
  readonly #pretty = prettyFactory(TERMINAL_FORMAT);
  #timer: NodeJS.Timeout | undefined;
  #reading = false;

  /** @param term the environment's TERM */
  constructor(out: WriteStream, term: string | undefined) {
    this.#out = out;
    this.#line = canRewrite(out, term) ? new StatusLine(out) : undefined;
  }

  /** A sentence for the person who watches. */
  say(text: string): void {
    this.#above(`${text}\n`);
  }

  /** A line of a process's log, JSON. */
  log(line: string): void {
    if (!this.#out.isTTY) this.#out.write(`${line}\n`);
    else if (SERIOUS.test(line)) this.#above(this.#pretty(line));
  }

  /** Shows the progress from now on; elsewhere than on a terminal, nothing. */
  show(parts: {
    database: Source[0];
    queue: Source[1];
    recent: RecentRefreshes;
    dashboardUrl: string;
  }): void {
    if (!this.#out.isTTY) return;
    this.#timer = setInterval(
      () => {
        // A slow answer must not pile up requests.
        if (this.#reading) return;
        this.#reading = true;
        void readProgress(parts.database, parts.queue, parts.recent).then((progress) => {
          this.#reading = false;
          if (this.#timer === undefined) return;
          const figures = describeProgress(progress, parts.dashboardUrl);
          if (this.#line) this.#line.show(figures);
          else this.#out.write(`${fitting(figures, this.#out)}\n`);
        });
      },
      this.#line ? REWRITE_INTERVAL_MS : REPEAT_INTERVAL_MS,
    );
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#line?.end('keep');
  }

  #above(text: string): void {
    if (this.#line) this.#line.above(() => this.#out.write(text));
    else this.#out.write(text);
  }
}
