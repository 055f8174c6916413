import type { Response } from 'express';
import { executionIdProblem } from '../../shared/execution.ts';
import { sendProblem } from '../page.ts';

/** The execution id that a text from outside names; undefined if it names none. */
export function readId(text: string): number | undefined {
  const id = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return executionIdProblem(id) === undefined ? id : undefined;
}

/** Says that an execution isn't named like this. */
export function badId(response: Response, asked = ''): void {
  const text = 'An execution is found by its number, for example 42, or by 42:REPLICATION.';
  refuse(response, 400, 'BAD_ID', text, asked);
}

/** Says why something isn't shown or done, as a page or as JSON. */
export function refuse(
  response: Response,
  status: number,
  code: string,
  text: string,
  asked = '',
): void {
  if (wantsJson(response)) response.status(status).json({ error: { code, message: text } });
  else sendProblem(response, status, titleOf(status), text, asked);
}

function titleOf(status: number): string {
  if (status === 404) return 'Not found';
  return status === 503 ? 'Not now' : 'Not possible';
}

/** Whether the client prefers JSON to a page. */
export function wantsJson(response: Response): boolean {
  return response.req.accepts(['html', 'json']) === 'json';
}
