import type { WriteStream } from 'node:tty';
import { prettyFactory } from 'pino-pretty';
import { TERMINAL_FORMAT } from '../../shared/process/logger.ts';
import { formatProgress, readProgress, type RecentRefreshes } from './progress.ts';

const REWRITE_INTERVAL_MS = 1_000;
const REPEAT_INTERVAL_MS = 10_000;
const SERIOUS = /^\{"level":"(warn|error|fatal)"/;
const CLEAR_LINE = '\r\u001b[2K';

type Source = Parameters<typeof readProgress>;

/**
 * What `tally start` prints. On a terminal: a status line that updates in place, and above it what it
 * says and the serious lines of the log; a dumb terminal gets the status on a new line now and then.
 * Elsewhere: every line of the log as it comes.
 */
export class Screen {
  readonly #out: WriteStream;
  readonly #rewrites: boolean;
  readonly #pretty = prettyFactory(TERMINAL_FORMAT);
  #timer: NodeJS.Timeout | undefined;
  #reading = false;
  #line = '';

  /** @param term the environment's TERM */
  constructor(out: WriteStream, term: string | undefined) {
    this.#out = out;
    this.#rewrites = term !== 'dumb';
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
          const line = fitting(formatProgress(progress, parts.dashboardUrl), this.#out.columns);
          if (!this.#rewrites) {
            this.#out.write(`${line}\n`);
            return;
          }
          this.#line = line;
          this.#out.write(`${CLEAR_LINE}${line}`);
        });
      },
      this.#rewrites ? REWRITE_INTERVAL_MS : REPEAT_INTERVAL_MS,
    );
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#line !== '') this.#out.write('\n');
    this.#line = '';
  }

  #above(text: string): void {
    this.#out.write(this.#line === '' ? text : `${CLEAR_LINE}${text}${this.#line}`);
  }
}

/** As many of the parts as a line has room for, from the first on; a part that is cut would mislead. */
function fitting(line: string, columns: number): string {
  const parts = line.split(' | ');
  while (parts.length > 1 && parts.join(' | ').length >= columns) parts.pop();
  return parts.join(' | ');
}
