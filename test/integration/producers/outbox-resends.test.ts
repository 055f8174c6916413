import { beforeEach, expect, it } from 'vitest';
import { OutboxClaims } from '../../../producers/outbox-claims.ts';
import { Resends } from '../../../producers/outbox-resends.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { silentLogger } from '../../../shared/process/logger.ts';
import { relayMarkerKey } from '../../../shared/queue/refresh-queue.ts';
import { createStores } from '../../support/stores.ts';

const { database, redis, config } = await createStores();
const marker = () => redis.get(relayMarkerKey(config));

function newResends(): Resends {
  return new Resends({ config, database, redis, log: silentLogger() });
}

/** Of a relay that has sent again what it sends at its start. */
async function startedResends(): Promise<Resends> {
  const resends = newResends();
  await resends.look(await marker());
  await finish(resends);
  return resends;
}

/** A row that is marked as sent. */
async function claimRow(): Promise<void> {
  await recordRefreshes(database, [{ executionId: 1, vendor: 'SCAN' }], 'api');
  expect(await new OutboxClaims(database).claim(10, undefined)).toHaveLength(1);
}

beforeEach(async () => {
  await database.query('TRUNCATE tally.outbox');
  await redis.set(relayMarkerKey(config), '1');
});

async function finish(resends: Resends): Promise<number> {
  await resends.note();
  const rows = await resends.claim(10);
  await resends.settle();
  return rows.length;
}

it('what a relay that died after a loss of Redis had not sent again, another one sends', async () => {
  const [killed, other] = [await startedResends(), await startedResends()];
  await claimRow();
  // As in a Redis that was emptied.
  await redis.del(relayMarkerKey(config));

  await killed.look(await marker());
  await killed.note();

  await other.look(await marker());
  expect(await finish(other)).toBe(1);
  await other.look(await marker());
  expect(await finish(other)).toBe(0);
});

it('a second loss of Redis while the first is being made up for is noticed', async () => {
  const resends = await startedResends();
  await claimRow();
  await redis.del(relayMarkerKey(config));
  await resends.look(null);
  await resends.note();
  expect(await resends.claim(10)).toHaveLength(1);
  await redis.del(relayMarkerKey(config));
  await resends.settle();
  expect(await marker()).toBeNull();
  await resends.look(null);
  expect(await finish(resends)).toBe(1);
});

it('a relay that starts sends again what is marked as sent', async () => {
  await claimRow();
  const resends = newResends();
  await resends.look(await marker());
  expect(await finish(resends)).toBe(1);
});

it('rows of a claim whose answer was lost are sent again', async () => {
  const resends = await startedResends();
  const sinceMs = performance.now();
  await claimRow();
  resends.doubt(sinceMs);
  await resends.look(await marker());
  expect(await finish(resends)).toBe(1);
});

it("rows that weren't refreshed within RESEND_AFTER_MS are sent again", async () => {
  const resends = await startedResends();
  await claimRow();
  await database.query(
    `UPDATE tally.outbox SET sent_at = sent_at - $1 * interval '1 millisecond'`,
    [config.RESEND_AFTER_MS],
  );
  await resends.look(await marker());
  expect(await finish(resends)).toBe(1);
});
