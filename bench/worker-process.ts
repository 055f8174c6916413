import { connectWorker } from './connect-worker.ts';

// One worker of a contender, in a process of its own: says when it is connected, begins when it is told to.
const [name = ''] = process.argv.slice(2);
const begin = await connectWorker(name, {
  databaseUrl: process.env['DATABASE_URL'] ?? '',
  redisUrl: process.env['REDIS_URL'] ?? '',
});
process.once('message', () => {
  void begin().then(() => process.send?.('done'));
});
process.once('SIGTERM', () => process.exit(0));
process.once('disconnect', () => process.exit(0));
process.send?.('ready');
