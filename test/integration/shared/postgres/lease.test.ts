import { describe, expect, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../../../shared/postgres/database.ts';
import { Lease, Turns } from '../../../../shared/postgres/lease.ts';
import { recordRefreshes } from '../../../../shared/postgres/outbox.ts';
import { outboxRows } from '../../../support/executions.ts';
import { createStores, silent } from '../../../support/stores.ts';

const { config, database } = await createStores();

function openLease(): Lease {
  const own = openDatabase(config.DATABASE_URL, silent, { connections: 1, name: 'lease' });
  const lease = new Lease(own, 'a duty');
  onTestFinished(async () => {
    await lease.release();
    await own.close();
  });
  return lease;
}

it('a holder whose lease was taken over commits nothing more', async () => {
  const [first, second] = [openLease(), openLease()];
  expect([await first.take(), await second.take()]).toEqual([true, false]);
  const asked = [{ executionId: 1, vendor: 'SCAN' }];
  await recordRefreshes(first.guard(), asked, 'marker');
  await database.query(`UPDATE tally.lease SET expires_at = '-infinity'`);
  expect([await second.take(), await first.take()]).toEqual([true, false]);
  await expect(recordRefreshes(first.guard(), asked, 'marker')).rejects.toMatchObject({
    code: 'LEASE_LOST',
  });
  expect(await outboxRows(database)).toBe(1);
});

it('a lease that was given back is free at once', async () => {
  const [first, second] = [openLease(), openLease()];
  expect(await first.take()).toBe(true);
  await first.release();
  expect(await second.take()).toBe(true);
});

describe('a turn', () => {
  const openTurns = (): Turns => new Turns(database, 'passes', 60_000);
  const letTimePass = (): Promise<unknown> =>
    database.query(`UPDATE tally.lease SET expires_at = '-infinity' WHERE duty = 'passes'`);

  it('goes to one holder, who gets no other before the interval is over', async () => {
    const [first, second] = [openTurns(), openTurns()];
    expect([await first.take(), await second.take(), await first.take()]).toEqual([
      true,
      false,
      false,
    ]);
    await letTimePass();
    const both = await Promise.all([first.take(), second.take()]);
    expect(both.filter(Boolean)).toHaveLength(1);
  });

  it("that was overtaken can't be prolonged", async () => {
    const [first, second] = [openTurns(), openTurns()];
    await letTimePass();
    await first.take();
    await first.prolong();
    expect(await second.take()).toBe(false);
    await letTimePass();
    expect(await second.take()).toBe(true);
    await letTimePass();
    await first.prolong();
    expect(await second.take()).toBe(true);
  });
});
