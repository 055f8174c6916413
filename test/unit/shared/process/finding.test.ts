import { expect, it } from 'vitest';
import { problemOf } from '../../../../shared/process/finding.ts';

it.each([
  ['it is old; upgrade it', 'it is old', 'upgrade it'],
  ['it is old; upgrade it; then restart', 'it is old', 'upgrade it; then restart'],
  [
    "Postgres can't be used (refused ::1; refused 127.0.0.1); check DATABASE_URL",
    "Postgres can't be used (refused ::1; refused 127.0.0.1)",
    'check DATABASE_URL',
  ],
  ['a server said :) once; look', 'a server said :) once', 'look'],
  ['it is old', 'it is old', "look at the server's log"],
])('of "%s" the problem and what to do are told apart', (sentence, text, fix) => {
  expect(problemOf(sentence)).toEqual({ level: 'problem', text, fix });
});
