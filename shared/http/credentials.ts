import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import { rateLimit } from 'express-rate-limit';
import type { Logger } from '../process/logger.ts';

const WRONG_AT_MOST = 10;
const WINDOW_MS = 60_000;

/**
 * Whether two secrets are equal, in a time that depends neither on where they differ nor on their
 * lengths.
 */
export function isSameSecret(given: string, expected: string): boolean {
  // Digests have the same length, whatever was sent.
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/**
 * Creates a rate limit for wrong passwords or tokens: the first ten a minute from one address pass
 * to the next handler, which asks for the right one; further ones get 429.
 *
 * Use it only after a secret was found wrong. Then a right one always gets in, and someone who
 * guesses from an operator's address can't lock the operator out. The limit keeps guessing cheap
 * for this process and visible in the log; only a long secret makes it hopeless.
 * @param what for the log, for example `passwords for the dashboard`
 * @param answer writes the body of the 429
 */
export function limitWrong(
  what: string,
  log: Logger,
  answer: (response: Response, message: string) => void,
): RequestHandler {
  return rateLimit({
    windowMs: WINDOW_MS,
    limit: WRONG_AT_MOST,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    // Its validation writes to the console, for example when a client sends X-Forwarded-For and no
    // proxy is trusted. That header is simply ignored.
    validate: false,
    handler: (request, response) => {
      if (usedOf(request) === WRONG_AT_MOST + 1) {
        log.warn(
          { from: request.ip },
          `more than ${WRONG_AT_MOST} wrong ${what} within a minute from ${request.ip}; further ones are answered with 429`,
        );
      }
      response.status(429);
      answer(response, 'too many wrong attempts from this address; wait a minute');
    },
  });
}

function usedOf(request: object): number | undefined {
  return (request as { rateLimit?: { used: number } }).rateLimit?.used;
}
