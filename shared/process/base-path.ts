import { z } from 'zod';

// With one of these as first part it would be unclear whether a proxy has removed BASE_PATH.
const OWN_PATHS = [
  'api',
  'board',
  'executions',
  'healthz',
  'metrics',
  'overview',
  'queue',
  'readyz',
  'scripts',
  'static',
];

/** The setting BASE_PATH: a path without a slash at its end, empty for the root. */
export const basePath: z.ZodType<string, string> = z
  .string()
  .max(200, 'must be at most 200 characters')
  .regex(
    new RegExp(`^(?!/(?:${OWN_PATHS.join('|')})(?:/|$))(?:/[\\w~-][\\w.~-]*)*/?$`, 'i'),
    `must be a path such as /tally whose first part is none of ${OWN_PATHS.join(', ')}`,
  )
  .transform((path) => path.replace(/\/$/, ''));
