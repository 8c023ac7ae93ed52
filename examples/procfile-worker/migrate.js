import { migrate, pool } from './jobs.js';

await migrate();
await pool.end();
console.log('The table is there.');
