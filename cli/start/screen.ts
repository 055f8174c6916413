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
 * What `tally start` prints. On a terminal: a status line that updates in place, and above it
 * messages and the log's warnings and errors; a dumb terminal gets the status on a new line now and
 * then. Elsewhere: every line of the log.
 */
export class Screen {
  readonly #out: WriteStream;
  /** Undefined if a line can't be rewritten in place. */
  readonly #line: StatusLine | undefined;
  readonly #pretty = prettyFactory(TERMINAL_FORMAT);
  #timer: NodeJS.Timeout | undefined;
  #reading = false;

  /** @param term the environment's TERM */
  constructor(out: WriteStream, term: string | undefined) {
    this.#out = out;
    this.#line = canRewrite(out, term) ? new StatusLine(out) : undefined;
  }

  /** Prints a sentence for whoever is watching. */
  say(text: string): void {
    this.#above(`${text}\n`);
  }

  /** Prints a line of a process's log, given as JSON. */
  log(line: string): void {
    if (!this.#out.isTTY) this.#out.write(`${line}\n`);
    else if (SERIOUS.test(line)) this.#above(this.#pretty(line));
  }

  /** Shows the progress from now on; only on a terminal. */
  show(parts: {
    database: Source[0];
    queue: Source[1];
    recent: RecentRefreshes;
    dashboardUrl: string;
  }): void {
    if (!this.#out.isTTY) return;
    this.#timer = setInterval(
      () => {
        // Slow answers must not pile up.
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
