import { InvalidArgumentError } from 'commander';

/** Reads a whole number of an option; commander prints the refusal as one line. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Reads tasks for each execution: 7, or 3.4 for three in most and four in the others. */
export function tasksEach(text: string): number {
  const value = /^\d{1,5}(\.\d{1,2})?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 1 && value <= 20_000) return value;
  throw new InvalidArgumentError('It must be a number from 1 to 20000, such as 7 or 3.4.');
}

/** Reads a list such as 10000,100000. */
export function wholeNumbers(min: number, max: number): (text: string) => number[] {
  const one = wholeNumber(min, max);
  return (text) => text.split(',').map((part) => one(part.trim()));
}
