import { describe, expect, it } from 'vitest';
import {
  formatMarkerKey,
  parseMarkerKey,
  parseMarkerMember,
} from '../../../../shared/harbor/markers.ts';

const identity = { executionId: 42, vendor: 'GARBAGE_COLLECTION' };
const LONGEST = 'V'.repeat(255);

describe('a member of the set', () => {
  it.each([
    ['42:GARBAGE_COLLECTION', identity],
    ['9007199254740991:X', { executionId: Number.MAX_SAFE_INTEGER, vendor: 'X' }],
    [`1:${LONGEST}`, { executionId: 1, vendor: LONGEST }],
    ['7:P2P_2', { executionId: 7, vendor: 'P2P_2' }],
    ['7:scan-all', { executionId: 7, vendor: 'scan-all' }],
    ['42:A:B', { executionId: 42, vendor: 'A:B' }],
    ['42:A\n', { executionId: 42, vendor: 'A\n' }],
  ])('%s is read', (member, expected) => {
    expect(parseMarkerMember(member)).toEqual(expected);
  });

  it.each([
    '',
    '42',
    '42:',
    ':REPLICATION',
    '0:REPLICATION',
    '-1:REPLICATION',
    '1.5:REPLICATION',
    '1e3:REPLICATION',
    '9007199254740992:REPLICATION',
    'x:REPLICATION',
    ' 42:A',
    `42:${LONGEST}V`,
    '42:\u0000',
  ])('%j is malformed', (member) => {
    expect(parseMarkerMember(member)).toBeUndefined();
  });
});

describe('a marker key', () => {
  it('is written as Harbor writes it', () => {
    expect(formatMarkerKey(identity)).toBe(
      'cache:execution:id:42:vendor:GARBAGE_COLLECTION:status_outdate',
    );
  });

  it('has only characters in its vendor that Harbor reads there', () => {
    expect(formatMarkerKey({ executionId: 42, vendor: 'scan-all' })).toBe(
      'cache:execution:id:42:vendor:SCAN_ALL:status_outdate',
    );
  });

  it('is read back', () => {
    expect(parseMarkerKey(formatMarkerKey(identity))).toEqual(identity);
  });

  it.each([
    'cache:execution:id::vendor:REPLICATION:status_outdate',
    'cache:execution:id:0:vendor:REPLICATION:status_outdate',
    'cache:execution:id:9007199254740992:vendor:REPLICATION:status_outdate',
    'cache:execution:id:x:vendor:REPLICATION:status_outdate',
    'cache:execution:id:42:vendor::status_outdate',
    `cache:execution:id:42:vendor:${LONGEST}V:status_outdate`,
    'execution:status_outdate',
  ])('%j is malformed', (key) => {
    expect(parseMarkerKey(key)).toBeUndefined();
  });
});
