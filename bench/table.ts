/** The middle of some numbers, with the smallest and the largest. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The spread of what is known; undefined when nothing is. */
export function spread(values: readonly (number | undefined)[]): Spread | undefined {
  const sorted = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
  const [min, max] = [sorted.at(0), sorted.at(-1)];
  if (min === undefined || max === undefined) return undefined;
  const middle = sorted.slice(
    Math.floor((sorted.length - 1) / 2),
    Math.ceil((sorted.length + 1) / 2),
  );
  return { median: middle.reduce((sum, value) => sum + value, 0) / middle.length, min, max };
}

/** The ratio of two, round by round, so that a slow minute of the machine slows both. */
export function ratio(
  above: readonly (number | undefined)[],
  below: readonly (number | undefined)[],
): Spread | undefined {
  return spread(
    above.map((value, round) => {
      const other = below[round];
      return value === undefined || other === undefined ? undefined : value / other;
    }),
  );
}

/** A number for people: 12,345 · 1,234 · 12.3 · 0.012; a dash when there is none. */
export function number(value: number | undefined): string {
  if (value === undefined) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

/** Bytes as megabytes. */
export function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? '–' : number(bytes / 2 ** 20);
}

/** `median (min–max)`, or the median alone when there was one round. */
export function withSpread(value: Spread | undefined, unit = ''): string {
  if (value === undefined) return '–';
  const { median, min, max } = value;
  if (min === max) return `${number(median)}${unit}`;
  return `${number(median)}${unit} (${number(min)}–${number(max)})`;
}

/** A Markdown table; the first column is text, the others are set to the right. */
export function markdownTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string => {
    const padded = cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    return `| ${padded.join(' | ')} |`;
  };
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(header), line(rule), ...rows.map(line)].join('\n');
}
