import { isIP } from 'node:net';
import { z } from 'zod';
import { describeError } from '../errors.ts';

/** An environment variable: how it is parsed, its default as text, and an example to print. */
export interface Setting<T> {
  readonly read: z.ZodType<T, string>;
  readonly fallback?: string;
  readonly example: string;
  /**
   * Whether `<name>_FILE` may name a file with the value, as secrets of Docker and Kubernetes do.
   */
  readonly file?: true;
}

/** A setting with a default, which is also its example. */
export function setting<T>(read: z.ZodType<T, string>, fallback: string): Setting<T> {
  return { read, fallback, example: fallback };
}

/** A setting without a default. */
export function optional<T>(read: z.ZodType<T, string>, example: string): Setting<T | undefined> {
  return { read, example };
}

/** The same setting, which may also come from a file. */
export function fromFile<S extends Setting<unknown>>(plain: S): S & { readonly file: true } {
  return { ...plain, file: true };
}

/** A whole number from `min` to `max`. */
export function whole(min: number, max: number): z.ZodType<number, string> {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, problem)
    .transform(Number)
    .refine((value) => value >= min && value <= max, problem);
}

/** Proxies in front of a server: none, how many, or which (Express' setting "trust proxy"). */
export type TrustedProxies = false | number | readonly string[];

/**
 * Proxies to trust. "true" isn't accepted: it would let any client choose the address it appears
 * under.
 */
export function proxies(): z.ZodType<TrustedProxies, string> {
  const problem =
    'must be off, a number of proxies from 1 to 32, or a list of addresses, subnets, loopback, linklocal and uniquelocal';
  return z.string().transform((text, context): TrustedProxies => {
    if (text === 'off') return false;
    if (/^([1-9]|[12]\d|3[0-2])$/.test(text)) return Number(text);
    const list = text.split(',').map((item) => item.trim());
    if (list.every(isProxy)) return list;
    context.addIssue({ code: 'custom', message: problem });
    return z.NEVER;
  });
}

// Express' own parser, `proxy-addr`, also takes a bare number for an address, so that 33 would
// trust 0.0.0.33 instead of being refused as too many proxies.
function isProxy(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  const most = version === 6 ? 128 : 32;
  const bitsAreRight =
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 1 && Number(bits) <= most);
  return version !== 0 && bitsAreRight && more.length === 0;
}

/** A URL that its parser accepts. The parser's errors don't repeat the URL. */
export function parsed(parse: (url: string) => unknown): z.ZodType<string, string> {
  return z.string().superRefine((value, context) => {
    try {
      parse(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: describeError(error) });
    }
  });
}
