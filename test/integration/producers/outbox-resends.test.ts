import { expect, it } from 'vitest';
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

async function finish(resends: Resends): Promise<number> {
  await resends.note();
  const rows = await resends.claim(10);
  await resends.settle();
  return rows.length;
}

it('what a relay that died after a loss of Redis had not sent again, another one sends', async () => {
  const [killed, other] = [newResends(), newResends()];
  for (const resends of [killed, other]) {
    await resends.look(await marker());
    await finish(resends);
  }
  await recordRefreshes(database, [{ executionId: 1, vendor: 'SCAN' }], 'api');
  expect(await new OutboxClaims(database).claim(10, undefined)).toHaveLength(1);
  // As in a Redis that was emptied.
  await redis.del(relayMarkerKey(config));

  await killed.look(await marker());
  await killed.note();

  await other.look(await marker());
  expect(await finish(other)).toBe(1);
  await other.look(await marker());
  expect(await finish(other)).toBe(0);
});
