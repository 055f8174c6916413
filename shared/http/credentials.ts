import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import { rateLimit } from 'express-rate-limit';
import type { Logger } from '../process/logger.ts';

const WRONG_AT_MOST = 10;
const WINDOW_MS = 60_000;

/** Whether two secrets are the same, in a time that doesn't depend on where they differ, or on their lengths. */
export function isSameSecret(given: string, expected: string): boolean {
  // Digests have one length, whatever was sent.
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/**
 * Counts requests with a wrong password or token: the first ten a minute from one address go on to the next
 * handler, which asks for the right one, the rest are answered with 429.
 *
 * It is asked only after the secret was found wrong, so that a right one always gets in: whoever guesses
 * from behind the same address as an operator can't lock the operator out. It keeps guessing cheap for
 * this process and visible in the log; what makes guessing hopeless is a long secret.
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
    // Its checks of our set-up write to the console. That a client sends X-Forwarded-For without a trusted
    // proxy is no mistake of ours: it is ignored.
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
