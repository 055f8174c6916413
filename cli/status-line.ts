const CLEAR_LINE = '\r\u001b[2K';
/** What a terminal has that doesn't tell its size. */
const USUAL_COLUMNS = 80;

/** The parts of `process.stdout` or `process.stderr` that are needed to write over a line. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/**
 * Whether a line can be written over there: it is a terminal, and not a dumb one.
 * @param term the environment's TERM
 */
export function canRewrite(stream: Terminal, term: string | undefined): boolean {
  return stream.isTTY === true && term !== 'dumb';
}

/** As many of the parts as a line of the terminal has room for, from the first on; a part that is cut would mislead. */
export function fitting(parts: readonly string[], { columns }: Terminal): string {
  const shown = [...parts];
  // A line that wraps can't be written over; in the last column some terminals wrap already.
  while (shown.length > 1 && shown.join(' | ').length >= (columns || USUAL_COLUMNS)) shown.pop();
  return shown.join(' | ');
}

/**
 * The last line of a terminal, written over in place, while other text goes on above it. It changes no setting of the
 * terminal (cursor, wrapping), so a process that is killed leaves none behind. The terminal must be able to rewrite.
 */
export class StatusLine {
  readonly #terminal: Terminal;
  #line = '';

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  show(parts: readonly string[]): void {
    this.#line = fitting(parts, this.#terminal);
    this.#terminal.write(`${CLEAR_LINE}${this.#line}`);
  }

  /** Takes the line away while `write` writes whole lines to this terminal or to another stream on the same one. */
  above(write: () => void): void {
    if (this.#line === '') {
      write();
      return;
    }
    this.#terminal.write(CLEAR_LINE);
    write();
    this.#terminal.write(this.#line);
  }

  /** Ends it: the line is removed, or stays with what is written next below it. */
  end(how: 'remove' | 'keep'): void {
    if (this.#line === '') return;
    this.#terminal.write(how === 'remove' ? CLEAR_LINE : '\n');
    this.#line = '';
  }
}
