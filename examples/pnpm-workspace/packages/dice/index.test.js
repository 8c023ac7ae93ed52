import assert from 'node:assert/strict';
import test from 'node:test';
import { roll } from './index.js';

test('adds up the dice and what is added', () => {
  assert.deepEqual(roll(' 3D8+2 ', () => 5), { notation: '3d8+2', dice: [5, 5, 5], plus: 2, total: 17 });
});

test('keeps within the sides', () => {
  for (const one of roll('99d4').dice) assert.ok(one >= 1 && one <= 4);
});

test('knows what is no dice', () => {
  for (const notation of ['', 'd6', '0d6', '2d1', '2d6+', '2d6; ls', '100d6']) assert.equal(roll(notation), undefined);
});
