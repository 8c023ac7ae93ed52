import pg from 'pg';

const { DATABASE_URL } = process.env;
if (!DATABASE_URL) {
  console.error('DATABASE_URL is not set. Set it to postgres://user:password@host:5432/database.');
  process.exit(1);
}

export const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 5 });
pool.on('error', (error) => console.error(`A database connection broke: ${error.message}`));

export const CHANNEL = 'jobs';

export async function migrate() {
  await pool.query(`
    CREATE TABLE IF NOT EXISTS jobs (
      id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      text       text NOT NULL,
      result     jsonb,
      created_at timestamptz NOT NULL DEFAULT now()
    )`);
}

export async function add(text) {
  const { rows } = await pool.query('INSERT INTO jobs (text) VALUES ($1) RETURNING id', [text]);
  await pool.query(`NOTIFY ${CHANNEL}`);
  return rows[0];
}

export async function newest() {
  const { rows } = await pool.query('SELECT id, text, result FROM jobs ORDER BY id DESC LIMIT 20');
  return rows;
}

// takeOne does the oldest job that is open and answers it, or undefined when there is none.
// One that another worker has is passed over; a worker that dies gives its job back.
export async function takeOne(work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const { rows: [job] } = await client.query(
      'SELECT id, text FROM jobs WHERE result IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED');
    if (job) await client.query('UPDATE jobs SET result = $2 WHERE id = $1', [job.id, JSON.stringify(work(job.text))]);
    await client.query('COMMIT');
    return job;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}
