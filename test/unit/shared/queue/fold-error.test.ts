import { describe, expect, it } from 'vitest';
import { causeOf, foldError } from '../../../../shared/queue/fold-error.ts';

describe('foldError', () => {
  it.each([
    ['quota of tenant 7 is used up', 'quota of tenant 1234 is used up'],
    ['took 1.5 s', 'took 12 s'],
    ['row 42:REPLICATION:aB_c-9 is held', 'row 7:GARBAGE_COLLECTION:zz is held'],
    ['no 0b7c9b1e-33f5-4f6e-9c61-4a86a5d0f001', 'no 11111111-2222-3333-4444-555555555555'],
    [`no blob sha256:${'a1'.repeat(32)}`, `no blob sha256:${'0f'.repeat(32)}`],
    ['connect ECONNREFUSED 10.0.0.1:5432', 'connect ECONNREFUSED 192.168.17.200:6432'],
    ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED fe80:0:0:1:2:3:4:5:5432'],
    ['no answer of https://a.example/x?y=1', 'no answer of http://b.example:8080/'],
    ['no answer of db-1.internal:5432', 'no answer of other.example:6432'],
    ['at 2026-01-02T03:04:05.678Z', 'at 2027-12-31 23:59:59+00'],
    ['invalid input syntax for type integer: "abc"', 'invalid input syntax for type integer: ""'],
    [`unknown value 'x y'`, `unknown value 'it'`],
    ['Key (id, name)=(4, two words) exists.', 'Key (id, name)=(17, three) exists.'],
    ['too\n  long: 4', 'too long: 17'],
  ])('%j and %j are one cause', (one, other) => {
    expect(foldError(one)).toBe(foldError(other));
    expect(foldError(one)).toMatch(/<\w+>/);
  });

  it.each([
    ['violates check constraint "status_ok"', 'violates check constraint "end_after_start"'],
    ['relation "task" does not exist', 'relation "execution" does not exist'],
    [`can't reach it, doesn't answer`, `can't reach it, isn't there`],
    ['deadlock detected', 'canceling statement due to lock timeout'],
    ['type int4 is wrong', 'type int8 is wrong'],
    ['violates check constraint "check_12"', 'violates check constraint "check_13"'],
    ['no partition events_2024', 'no partition events_2025'],
    ['relation "events 1" does not exist', 'relation "events 2" does not exist'],
    ['columns "a", "b" and "c" are missing', 'columns "a", "b" and "d" are missing'],
    [
      'new row for relation "a" violates check constraint "one"',
      'new row for relation "a" violates check constraint "two"',
    ],
  ])('%j and %j are two causes', (one, other) => {
    expect(foldError(one)).not.toBe(foldError(other));
  });

  it.each([
    ['violates check constraint "check_12"', 'violates check constraint "check_12"'],
    ['no partition "x" of events_2024', 'no partition <value> of events_2024'],
    [
      'new row for relation "execution" violates check constraint "execution_status_check"',
      'new row for relation "execution" violates check constraint "execution_status_check"',
    ],
    [
      'relation "execution" has no column "a", got "secret 1"',
      'relation "execution" has no column "a", got <value>',
    ],
    [
      'value "x 1" of column "b_2" in table "t" is not \'y\', see "z"',
      'value <value> of column "b_2" in table "t" is not <value>, see <value>',
    ],
    ['Key (a)=(it is "so", 5) of table "t 5"', 'Key (a)=(<value>) of table "t 5"'],
  ])('%s becomes %s', (text, folded) => {
    expect(foldError(text)).toBe(folded);
    expect(foldError(folded)).toBe(folded);
  });

  it('folded once more a text stays as it is', () => {
    const folded = foldError(`key 4 of "x" at 10.0.0.1:80 on 2026-01-02 03:04:05 for 7:SCAN`);
    expect(foldError(folded)).toBe(folded);
  });

  // A pattern that backtracks would take longer than any test may.
  it('a message of a megabyte, made to be slow, is folded', () => {
    for (const piece of ['"', `'`, 'a.', '1', '1:', 'f0:', 'ab12', '(=(', ' ']) {
      expect(foldError(piece.repeat(1_000_000 / piece.length))).not.toBe('');
    }
  });

  it('a job without a message has a cause all the same', () => {
    expect(foldError(' \n')).toBe('(no message)');
  });
});

describe('causeOf', () => {
  const CHECK = 'violates check constraint "status_ok" (SQLSTATE 23514)';

  it.each([
    'new row for relation "events_2024" violates check constraint "status_ok"',
    'new row for relation "events_2025" violates check constraint "status_ok"',
  ])('%s is a violated constraint, whichever partition has it', (error) => {
    expect(causeOf({ error, sqlState: '23514' })).toBe(CHECK);
  });

  it.each([
    ['another class', '42704', 'constraint "status_ok" for table "t" does not exist'],
    ['a class without a constraint in its message', '23505', 'duplicate key in "x"'],
    ['no SQLSTATE', null, 'violates check constraint "status_ok" of 7'],
  ])('%s is folded', (_what, sqlState, error) => {
    expect(causeOf({ error, sqlState })).toBe(foldError(error));
  });
});
