import { duration, number } from './quantities.ts';

export type Unit = 'per second' | 'milliseconds';

/** Lags range from milliseconds to hours, so their scale is logarithmic, from here. */
export const LAG_MIN_MS = 4;
/** Where the scale of lags has its lines. */
export const LAG_LINES_MS: readonly number[] = [10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000];

export function isLogarithmic(unit: Unit): boolean {
  return unit === 'milliseconds';
}

/** How a line looks, here and in the style sheet. */
export type Look = 'express' | 'express-half' | 'backlog' | 'failures';

/** What the server hands to the script `charts.js`, as JSON in the attribute `data-chart`. */
export interface ChartData {
  readonly unit: Unit;
  /** Ends of the intervals, oldest first, in seconds since 1970. */
  readonly ends: readonly number[];
  readonly series: readonly {
    readonly name: string;
    readonly look: Look;
    /** Null where nothing was measured. */
    readonly values: readonly (number | null)[];
  }[];
  /** The scale reaches at least this value, so that a quiet hour looks quiet. */
  readonly atLeast: number;
}

/** A value with its unit; a dash for null. */
export function quantity(unit: Unit, value: number | null): string {
  if (value === null) return '–';
  return unit === 'per second' ? `${number(value)}/s` : duration(value);
}

/** `14:03:20`, or `14:03` at a full minute; UTC, as are all times of the dashboard. */
export function timeOf(seconds: number): string {
  const time = new Date(seconds * 1_000).toISOString();
  return seconds % 60 === 0 ? time.slice(11, 16) : time.slice(11, 19);
}
