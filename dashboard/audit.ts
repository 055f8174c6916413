import type { Request, RequestHandler, Response } from 'express';
import { formatIdentity } from '../shared/execution.ts';
import type { Logger } from '../shared/process/logger.ts';
import { readPayload } from '../shared/queue/refresh-queue.ts';
import { isChange, visitorOf } from './auth.ts';

/**
 * Middleware that logs each change requested on the dashboard once its response has closed: who,
 * from where, what, which job or execution, and the result. This covers changes that a later
 * middleware refuses and those whose browser didn't wait for the answer.
 */
export function logChanges(log: Logger): RequestHandler {
  return (request, response, next) => {
    if (!isChange(request.method)) {
      next();
      return;
    }
    // Read before `next()`: the board is an Express application of its own and rewrites path and
    // address.
    const { method, path, ip: from } = request;
    const begin = performance.now();
    response.on('close', () => {
      const answered = response.writableFinished;
      const { user, role } = visitorOf(response);
      const { action, about } = describe(method, path);
      const named = response.locals['subject'] as string | undefined;
      const subject = named ?? about ?? identityInBody(request);
      const result = answered ? resultOf(response.statusCode) : 'not answered';
      log.info(
        {
          audit: true,
          user,
          userRole: role,
          from,
          method,
          path,
          action,
          ...(subject === undefined ? {} : { job: subject }),
          status: answered ? response.statusCode : null,
          result,
          ms: Math.round(performance.now() - begin),
        },
        `audit: ${user ?? 'someone on this machine'} from ${from}: ${action}${subject === undefined ? '' : ` ${subject}`}: ${result}`,
      );
    });
    next();
  };
}

/** Names what the change of a request is about, where its path doesn't say it in words. */
export function nameSubject(response: Response, subject: string): void {
  response.locals['subject'] = subject;
}

function resultOf(status: number): string {
  if (status < 400) return 'done';
  return status < 500 ? 'refused' : 'failed';
}

// The path segment after the queue's name is one of these or a job id.
const QUEUE_ACTIONS = new Set(['retry', 'clean', 'rate-limit', 'job-schedulers']);

// Paths of Bull Board below /board/api/queues: <action>, refresh/<action>[/<state>] and
// refresh/<job>/<action>.
// Our own: /executions/<id>/<action>, /executions/refresh for a selection, /failures/retry,
// /failures/<cause>/<action> and /stuck/<action>.
function describe(
  method: string,
  path: string,
): { readonly action: string; readonly about?: string | undefined } {
  const parts = path.split('/').filter(Boolean).map(decoded);
  if (parts[0] === 'executions' && parts.length === 3) {
    return { action: String(parts[2]), about: `execution ${parts[1]}` };
  }
  if (parts.join('/') === 'executions/refresh') return { action: 'refresh' };
  if (parts.join('/') === 'failures/retry') return { action: 'retry', about: 'all failures' };
  if (parts[0] === 'failures' && parts.length === 3) {
    return { action: String(parts[2]), about: `failures ${parts[1]}` };
  }
  if (parts[0] === 'stuck' && parts.length === 2) {
    return { action: String(parts[1]), about: 'all stuck executions' };
  }
  const [board, api, queues, queue, first, ...rest] = parts;
  if (board === 'board' && api === 'api' && queues === 'queues' && queue !== undefined) {
    if (first === undefined) return { action: queue };
    if (rest.length === 0 || QUEUE_ACTIONS.has(first))
      return { action: [first, ...rest].join(' ') };
    return { action: rest.join(' '), about: first };
  }
  return { action: `${method} ${path}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function identityInBody(request: Request): string | undefined {
  const body = request.body as { readonly data?: unknown } | undefined;
  try {
    return formatIdentity(readPayload(body?.data));
  } catch {
    return undefined;
  }
}
