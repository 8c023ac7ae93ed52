'use strict';

const { Pool } = require('pg');
const { createApp } = require('./app');
const { Entries } = require('./entries');

async function main() {
  const { DATABASE_URL } = process.env;
  if (!DATABASE_URL) {
    throw new Error('DATABASE_URL is not set. Set it to postgres://user:password@host:5432/database.');
  }

  const pool = new Pool({ connectionString: DATABASE_URL, max: 10, connectionTimeoutMillis: 5_000 });
  // An idle connection that breaks is replaced at the next query; without a listener it would end the process.
  pool.on('error', (error) => console.error(`A database connection broke: ${error.message}`));

  const entries = new Entries(pool);
  await entries.prepare();

  const server = createApp(entries).listen(process.env.PORT || 3000, (error) => {
    if (error) throw error;
    console.log(`Guest book is listening on port ${server.address().port}`);
  });

  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      console.log(`${signal}: finishing open requests`);
      setTimeout(() => process.exit(1), 8_000).unref();
      server.close(() => pool.end());
      server.closeIdleConnections();
    });
  }
}

main().catch((error) => {
  console.error(error.message || error);
  process.exit(1);
});
