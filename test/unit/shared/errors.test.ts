import { expect, it } from 'vitest';
import { describeError, TallyError, UsageError, shortened } from '../../../shared/errors.ts';

it.each([
  ['an error', new Error('it broke'), 'it broke'],
  ['an error without a message', new RangeError(), 'RangeError'],
  ['a text', 'only a text', 'only a text'],
  ['a number', 7, '7'],
  ['undefined', undefined, 'undefined'],
  ['null', null, 'null'],
  ['an aggregate with a message', new AggregateError([new Error('a')], 'all failed'), 'all failed'],
])('describes %s', (_what, thrown, text) => {
  expect(describeError(thrown)).toBe(text);
});

it('a refused connection to two addresses is described by both, not by an empty text', () => {
  const error = new AggregateError([
    new Error('connect ECONNREFUSED ::1:5432'),
    new AggregateError([new Error('connect ECONNREFUSED 127.0.0.1:5432')]),
  ]);
  expect(describeError(error)).toBe(
    'connect ECONNREFUSED ::1:5432; connect ECONNREFUSED 127.0.0.1:5432',
  );
});

it('an aggregate of nothing is described by some text', () => {
  expect(describeError(new AggregateError([]))).not.toBe('');
});

it('a description is one line', () => {
  expect(describeError(new Error('first\n   second\r\n third\n'))).not.toMatch(/[\r\n]/);
  expect(describeError(new Error('first\n   second'))).toBe('first second');
  expect(describeError(new AggregateError([new Error('a\nb'), 'c\nd']))).toBe('a b; c d');
});

it('a wrong setting is a TallyError that commands can tell from others', () => {
  const cause = new Error('why');
  const error = new UsageError('X is wrong', { cause });
  expect(error).toBeInstanceOf(TallyError);
  expect(error).toMatchObject({ code: 'USAGE', name: 'UsageError', message: 'X is wrong', cause });
  expect(new TallyError('SOME_CODE', 'do this')).toMatchObject({
    code: 'SOME_CODE',
    name: 'TallyError',
  });
});

it('a long text is cut between characters and tells how long it was', () => {
  expect(shortened('abcdef', 6)).toBe('abcdef');
  expect(shortened('abcdef', 5)).toBe('abcde… (6 characters in all)');
  expect(shortened('abc😀', 4)).toBe('abc… (5 characters in all)');
});
