import type { Response } from 'express';
import { executionIdProblem } from '../../shared/execution.ts';
import { sendProblem, type Problem } from '../page.ts';

/** The execution id that a text from outside names; undefined if it names none. */
export function readId(text: string): number | undefined {
  const id = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return executionIdProblem(id) === undefined ? id : undefined;
}

/** Says that an execution isn't named like this. */
export function badId(response: Response, asked = ''): void {
  const text = 'An execution is found by its number, for example 42, or by 42:REPLICATION.';
  refuse(response, { status: 400, code: 'BAD_ID', text, search: asked });
}

/** Why something isn't shown or done. */
interface Refusal extends Omit<Problem, 'title'> {
  /** For programs, in the JSON answer. */
  readonly code: string;
}

/** Says why something isn't shown or done, as a page or as JSON. */
export function refuse(response: Response, { code, ...problem }: Refusal): void {
  const { status, text } = problem;
  if (wantsJson(response)) response.status(status).json({ error: { code, message: text } });
  else sendProblem(response, { ...problem, title: titleOf(status) });
}

function titleOf(status: number): string {
  if (status === 404) return 'Not found';
  return status === 503 ? 'Not now' : 'Not possible';
}

/** Whether the client prefers JSON to a page. */
export function wantsJson(response: Response): boolean {
  return response.req.accepts(['html', 'json']) === 'json';
}
