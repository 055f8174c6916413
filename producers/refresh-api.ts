import express, {
  Router,
  type ErrorRequestHandler,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import type { Config } from '../shared/process/config.ts';
import { isSameSecret, limitWrong } from '../shared/http/credentials.ts';
import type { Database } from '../shared/postgres/database.ts';
import { describeError } from '../shared/errors.ts';
import { executionIdProblem, vendorProblem, type Identity } from '../shared/execution.ts';
import { requireLocalHost } from '../shared/http/server.ts';
import type { Logger } from '../shared/process/logger.ts';
import { recordRefreshes } from '../shared/postgres/outbox.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';

const MAX_REFRESHES = 1_000;
const MAX_BODY_BYTES = 1024 * 1024;

interface ItemProblem {
  readonly index: number;
  readonly problem: string;
}

/**
 * `POST /v1/refreshes`: records refreshes in the outbox and answers 202 once they are committed,
 * whether or not Redis is available. A request is accepted completely or not at all.
 */
export function createRefreshApi(
  config: Config,
  database: Database,
  log: Logger,
  tracing?: Tracing,
): Router {
  const router = Router();
  router.use(
    config.API_TOKEN === undefined ? requireLocalHost : requireToken(config.API_TOKEN, log),
  );
  router.post(
    '/refreshes',
    requireJson,
    express.json({ limit: MAX_BODY_BYTES, strict: false }),
    async (request, response) => {
      const answer = (): Promise<void> =>
        accept(database, log, request, response, tracing?.traceparent);
      await (tracing === undefined
        ? answer()
        : tracing.request('/v1/refreshes', request, response, answer));
    },
  );
  router.use(answerBodyErrors);
  return router;
}

async function accept(
  database: Database,
  log: Logger,
  request: Request,
  response: Response,
  traceparent?: string,
): Promise<void> {
  const body = readBody(request.body);
  if ('problem' in body) {
    refuse(response, 400, 'BAD_REQUEST', body.problem, body.items);
    return;
  }
  try {
    await recordRefreshes(database, body.refreshes, 'api', 0, traceparent);
  } catch (error) {
    log.warn(`${body.refreshes.length} refreshes were not accepted: ${describeError(error)}`);
    refuse(
      response,
      503,
      'DATABASE_AWAY',
      'Postgres does not answer; nothing was accepted, ask again',
    );
    return;
  }
  response.status(202).json({ accepted: body.refreshes.length });
}

/**
 * Answers every request with 403, because the API would listen beyond this machine without a token.
 */
export const apiIsOff: RequestHandler = (_request, response) => {
  refuse(
    response,
    403,
    'API_TOKEN_MISSING',
    'the API is off because it listens beyond this machine without API_TOKEN; set API_TOKEN and restart the producer',
  );
};

function requireToken(token: string, log: Logger): RequestHandler {
  const limit = limitWrong('tokens for the API', log, (response, message) =>
    refuse(response, 429, 'TOO_MANY_ATTEMPTS', message),
  );
  return (request, response, next) => {
    const header = request.headers.authorization;
    // The scheme's name is case-insensitive (RFC 9110, 11.1).
    const given = /^bearer +(\S.*)$/i.exec(header ?? '')?.[1] ?? '';
    if (isSameSecret(given, token)) {
      next();
      return;
    }
    if (header === undefined) askForToken(response);
    else void limit(request, response, () => askForToken(response));
  };
}

function askForToken(response: Response): void {
  response.setHeader('WWW-Authenticate', 'Bearer');
  refuse(response, 401, 'UNAUTHORIZED', 'send the header Authorization: Bearer <API_TOKEN>');
}

// Browsers send forms and text/plain bodies across sites without a preflight request.
const requireJson: RequestHandler = (request, response, next) => {
  if (request.is('application/json') !== false) next();
  else refuse(response, 415, 'NOT_JSON', 'send the header Content-Type: application/json');
};

function readBody(
  body: unknown,
): { refreshes: Identity[] } | { problem: string; items: ItemProblem[] } {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    const what = Array.isArray(body) ? 'a list' : body === null ? 'null' : `a ${typeof body}`;
    return {
      problem: `the body is ${what}; send {"refreshes": [{"executionId": 42, "vendor": "REPLICATION"}]}, or one refresh`,
      items: [],
    };
  }
  const list = 'refreshes' in body ? body.refreshes : [body];
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_REFRESHES) {
    return { problem: `refreshes must be a list of 1 to ${MAX_REFRESHES} items`, items: [] };
  }
  const refreshes: Identity[] = [];
  const items: ItemProblem[] = [];
  for (const [index, item] of list.entries()) {
    const { executionId, vendor } =
      typeof item === 'object' && item !== null ? (item as Partial<Identity>) : {};
    const problem = executionIdProblem(executionId) ?? vendorProblem(vendor);
    if (problem !== undefined) items.push({ index, problem });
    else refreshes.push({ executionId, vendor } as Identity);
  }
  return items.length === 0
    ? { refreshes }
    : {
        problem: `${items.length} of ${list.length} refreshes are not valid; nothing was accepted`,
        items,
      };
}

const answerBodyErrors: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  const type = error instanceof Error && 'type' in error ? error.type : undefined;
  if (type === 'entity.too.large') {
    refuse(response, 413, 'TOO_LARGE', 'the body is over 1 MiB; send fewer refreshes at once');
  } else if (typeof type === 'string' || (error instanceof Error && 'status' in error)) {
    refuse(response, 400, 'BAD_REQUEST', 'the body is not JSON');
  } else {
    next(error);
  }
};

function refuse(
  response: Response,
  status: number,
  code: string,
  message: string,
  items: readonly ItemProblem[] = [],
): void {
  response.status(status).json({ error: { code, message, items } });
}
