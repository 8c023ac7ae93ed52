import pg from 'pg';
import { count } from './count.js';
import { CHANNEL, takeOne } from './jobs.js';

// Notifications wake the worker; the look every few seconds finds what came while it was away.
const EVERY = 5_000;

const ears = new pg.Client({ connectionString: process.env.DATABASE_URL });
ears.on('error', (error) => {
  console.error(`The database is gone: ${error.message}`);
  process.exit(1); // it is started again
});
await ears.connect();

let busy = false;
let again = false;

async function work() {
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    for (let job = await takeOne(count); job; job = await takeOne(count)) console.log(`Counted text ${job.id}`);
  }
  busy = false;
}

ears.on('notification', work);
await ears.query(`LISTEN ${CHANNEL}`);
setInterval(work, EVERY);
await work();
console.log('The worker waits for texts.');
