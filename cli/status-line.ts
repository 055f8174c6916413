const CLEAR_LINE = '\r\u001b[2K';
/** Assumed if a terminal doesn't report its width. */
const USUAL_COLUMNS = 80;

/** The parts of `process.stdout` or `process.stderr` that rewriting a line takes. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/**
 * Whether a line can be rewritten in place: the stream is a terminal, and not a dumb one.
 * @param term the environment's TERM
 */
export function canRewrite(stream: Terminal, term: string | undefined): boolean {
  return stream.isTTY === true && term !== 'dumb';
}

/**
 * As many of the parts, from the first, as fit on a line of the terminal. None is truncated: half a
 * figure would mislead.
 */
export function fitting(parts: readonly string[], { columns }: Terminal): string {
  const shown = [...parts];
  // A line that wraps can't be rewritten, and some terminals wrap in the last column.
  while (shown.length > 1 && shown.join(' | ').length >= (columns || USUAL_COLUMNS)) shown.pop();
  return shown.join(' | ');
}

/**
 * The last line of a terminal, updated in place while other text is printed above it. It changes no
 * setting of the terminal (cursor, wrapping), so a killed process leaves none behind. The terminal
 * must be able to rewrite lines.
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

  /** Removes the line while `write` prints whole lines to this terminal or another stream on it. */
  above(write: () => void): void {
    if (this.#line === '') {
      write();
      return;
    }
    this.#terminal.write(CLEAR_LINE);
    write();
    this.#terminal.write(this.#line);
  }

  /** Ends the status line: it is removed, or stays with further output below it. */
  end(how: 'remove' | 'keep'): void {
    if (this.#line === '') return;
    this.#terminal.write(how === 'remove' ? CLEAR_LINE : '\n');
    this.#line = '';
  }
}
