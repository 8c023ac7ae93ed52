export const CHOICES = ['Tea', 'Coffee', 'Hot chocolate'];

const KEY = 'votes';

// Votes counts in one hash, so that two at the same moment are two.
export class Votes {
  constructor(redis) {
    this.redis = redis;
  }

  async add(choice) {
    await this.redis.hIncrBy(KEY, choice, 1);
  }

  // all lists every choice with its count, in the order of CHOICES.
  async all() {
    const counts = await this.redis.hGetAll(KEY);
    return CHOICES.map((name) => ({ name, count: Number(counts[name] ?? 0) }));
  }
}
