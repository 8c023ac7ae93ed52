import assert from 'node:assert/strict';
import test from 'node:test';
import { count } from './count.js';

test('counts words, whatever their case and alphabet', () => {
  assert.deepEqual(count('The sea, the SEA and Größe'), { words: 6, different: 4, top: [['sea', 2], ['the', 2], ['and', 1], ['größe', 1]] });
  assert.deepEqual(count('… !'), { words: 0, different: 0, top: [] });
});
