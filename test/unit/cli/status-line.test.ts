import { describe, expect, it } from 'vitest';
import { canRewrite, fitting, StatusLine } from '../../../cli/status-line.ts';

const CLEAR_LINE = '\r\u001b[2K';

/** A terminal of this width that shows its last line as it stands. */
function terminalOf(columns: number) {
  const lines = [''];
  return {
    isTTY: true,
    columns,
    write: (text: string) => {
      for (const part of text.replaceAll(CLEAR_LINE, '\r').split(/([\r\n])/)) {
        if (part === '\n') lines.push('');
        else if (part === '\r') lines[lines.length - 1] = '';
        else lines[lines.length - 1] += part;
      }
    },
    lines,
  };
}

describe('a status line', () => {
  it('stays below what is written above it, and takes no text with it', () => {
    const terminal = terminalOf(80);
    const line = new StatusLine(terminal);
    line.show(['waiting 1']);
    line.above(() => terminal.write('one\ntwo\n'));
    line.show(['waiting 2']);
    expect(terminal.lines).toEqual(['one', 'two', 'waiting 2']);
    line.end('remove');
    terminal.write('done\n');
    expect(terminal.lines).toEqual(['one', 'two', 'done', '']);
  });

  it('that is kept leaves its line to itself', () => {
    const terminal = terminalOf(80);
    const line = new StatusLine(terminal);
    line.show(['waiting 0']);
    line.end('keep');
    line.above(() => terminal.write('Stopped.\n'));
    expect(terminal.lines).toEqual(['waiting 0', 'Stopped.', '']);
  });

  it('never reaches the last column: parts that have no room are left out, the first one never', () => {
    const parts = ['waiting 12', 'running 3', 'refreshed/s 200'];
    expect(fitting(parts, terminalOf(41))).toBe('waiting 12 | running 3 | refreshed/s 200');
    expect(fitting(parts, terminalOf(40))).toBe('waiting 12 | running 3');
    expect(fitting(parts, terminalOf(5))).toBe('waiting 12');
  });

  it('on a terminal that tells no size has the room of a usual one', () => {
    const parts = ['waiting 12', 'running 3', 'refreshed/s 200'];
    expect(fitting(parts, terminalOf(0))).toBe('waiting 12 | running 3 | refreshed/s 200');
  });

  it('is written over on a terminal only, and not on a dumb one', () => {
    expect(canRewrite(terminalOf(80), 'xterm')).toBe(true);
    expect(canRewrite(terminalOf(80), 'dumb')).toBe(false);
    expect(canRewrite({ write: () => undefined }, 'xterm')).toBe(false);
  });
});
