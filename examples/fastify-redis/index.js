import { createClient } from 'redis';
import { createApp } from './app.js';
import { Votes } from './votes.js';

const { REDIS_URL, PORT = '3000' } = process.env;
if (!REDIS_URL) {
  console.error('REDIS_URL is not set. Set it to redis://user:password@host:6379.');
  process.exit(1);
}

const redis = createClient({ url: REDIS_URL });
redis.on('error', (error) => console.error(`Redis: ${error.message || error.code}`));
await redis.connect();

const app = await createApp(new Votes(redis));
console.log(`The poll is open at ${await app.listen({ host: '0.0.0.0', port: Number(PORT) })}`);

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await app.close();
    await redis.close();
  });
}
