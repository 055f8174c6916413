import { DatabaseError } from 'pg';
import { expect, test } from 'vitest';
import { classifyRefreshError, type RefreshErrorKind } from '../../../workers/refresh-errors.ts';

const TABLE: readonly [string, RefreshErrorKind, string][] = [
  ['23514', 'execution', 'check_violation'],
  ['23502', 'execution', 'not_null_violation'],
  ['23505', 'execution', 'unique_violation'],
  ['22001', 'execution', 'string_data_right_truncation'],
  ['22P02', 'execution', 'invalid_text_representation'],
  ['P0001', 'execution', 'raise_exception, of a trigger of the host'],
  ['57014', 'execution', 'query_canceled, by statement_timeout'],
  ['55P03', 'execution', 'lock_not_available, by lock_timeout'],
  ['XX000', 'execution', 'internal_error'],
  ['40001', 'contention', 'serialization_failure'],
  ['40P01', 'contention', 'deadlock_detected'],
  ['57P01', 'connection', 'admin_shutdown, of one backend or of all'],
  ['57P02', 'connection', 'crash_shutdown'],
  ['57P04', 'connection', 'database_dropped'],
  ['57P05', 'connection', 'idle_session_timeout'],
  ['08000', 'connection', 'connection_exception'],
  ['08006', 'connection', 'connection_failure'],
  ['08P01', 'connection', 'protocol_violation, of a pooler whose server is away'],
  ['57P03', 'world', 'cannot_connect_now, starting'],
  ['53300', 'world', 'too_many_connections'],
  ['53100', 'world', 'disk_full'],
  ['53200', 'world', 'out_of_memory'],
  ['25006', 'world', 'read_only_sql_transaction'],
  ['58030', 'world', 'io_error'],
  ['28P01', 'world', 'invalid_password'],
  ['28000', 'world', 'invalid_authorization_specification'],
  ['3D000', 'world', 'invalid_catalog_name'],
  ['3F000', 'world', 'invalid_schema_name'],
  ['42501', 'world', 'insufficient_privilege'],
  ['42883', 'world', 'undefined_function'],
  ['42P01', 'world', 'undefined_table'],
];

test.each(TABLE)('SQLSTATE %s is about the %s (%s)', (state, kind) => {
  const error = new DatabaseError('failed', 1, 'error');
  error.code = state;
  expect(classifyRefreshError(error)).toBe(kind);
});

test.each([
  ['a reset', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
  ['a refusal', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
  ['the timeout of the client', new Error('Query read timeout')],
  ['a pool without a free connection', new Error('timeout exceeded when trying to connect')],
  ['an end without a word', new Error('Connection terminated unexpectedly')],
  ['something that is no error', 'away'],
])('%s, which is no answer of the server, is about the connection', (_what, error) => {
  expect(classifyRefreshError(error)).toBe('connection');
});

test('an error that only looks like an answer of the server is about the connection', () => {
  const error = Object.assign(new Error('from a proxy'), { code: '23514' });
  expect(classifyRefreshError(error)).toBe('connection');
});
