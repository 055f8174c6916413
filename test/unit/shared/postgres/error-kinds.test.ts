import { DatabaseError } from 'pg';
import { expect, it } from 'vitest';
import {
  classifyError,
  NotConnectedError,
  type ErrorKind,
} from '../../../../shared/postgres/error-kinds.ts';

const TABLE: readonly [string, ErrorKind, string][] = [
  ['23514', 'execution', 'check_violation'],
  ['23502', 'execution', 'not_null_violation'],
  ['23505', 'execution', 'unique_violation'],
  ['22001', 'execution', 'string_data_right_truncation'],
  ['22P02', 'execution', 'invalid_text_representation'],
  ['P0001', 'execution', 'raise_exception, of a trigger of the host'],
  ['57014', 'timeout', 'query_canceled, by statement_timeout'],
  ['55P03', 'timeout', 'lock_not_available, by lock_timeout'],
  ['25P04', 'timeout', 'transaction_timeout'],
  ['XX000', 'execution', 'internal_error'],
  ['40001', 'contention', 'serialization_failure'],
  ['40P01', 'contention', 'deadlock_detected'],
  ['57P01', 'connection', 'admin_shutdown, of one backend or of all'],
  ['57P02', 'connection', 'crash_shutdown'],
  ['57P04', 'connection', 'database_dropped'],
  ['57P05', 'connection', 'idle_session_timeout'],
  ['25P03', 'connection', 'idle_in_transaction_session_timeout'],
  ['08000', 'connection', 'connection_exception'],
  ['08006', 'connection', 'connection_failure'],
  ['08P01', 'connection', 'protocol_violation, of a pooler whose server is unavailable'],
  ['57P03', 'unavailable', 'cannot_connect_now, starting'],
  ['53300', 'unavailable', 'too_many_connections'],
  ['53100', 'unavailable', 'disk_full'],
  ['53200', 'unavailable', 'out_of_memory'],
  ['25006', 'unavailable', 'read_only_sql_transaction'],
  ['58030', 'unavailable', 'io_error'],
  ['28P01', 'unavailable', 'invalid_password'],
  ['28000', 'unavailable', 'invalid_authorization_specification'],
  ['3D000', 'unavailable', 'invalid_catalog_name'],
  ['3F000', 'unavailable', 'invalid_schema_name'],
  ['42501', 'unavailable', 'insufficient_privilege'],
  ['42883', 'unavailable', 'undefined_function'],
  ['42P01', 'unavailable', 'undefined_table'],
];

it.each(TABLE)('SQLSTATE %s is about the %s (%s)', (state, kind) => {
  const error = new DatabaseError('failed', 1, 'error');
  error.code = state;
  expect(classifyError(error)).toBe(kind);
});

it.each([
  ['a reset', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
  ['a refusal', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
  ['the timeout of the client', new Error('Query read timeout')],
  ['an end without a word', new Error('Connection terminated unexpectedly')],
  ['something that is no error', 'away'],
])('%s, which is no answer of the server, is about the connection', (_what, error) => {
  expect(classifyError(error)).toBe('connection');
});

it.each([
  ['a full pool', new Error('timeout exceeded when trying to connect')],
  ['a refusal', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
  ['an answer of the server', new DatabaseError('too many connections', 1, 'error')],
])('a statement that was never sent because of %s is not to blame', (_what, cause) => {
  const error = new NotConnectedError(cause);
  expect(classifyError(error)).toBe('unavailable');
  expect(error).toMatchObject({ message: cause.message, cause });
});

it('an error that only looks like an answer of the server is about the connection', () => {
  const error = Object.assign(new Error('from a proxy'), { code: '23514' });
  expect(classifyError(error)).toBe('connection');
});
