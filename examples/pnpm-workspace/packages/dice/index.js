import { randomInt } from 'node:crypto';

const NOTATION = /^(\d{1,2})d(\d{1,3})(?:\+(\d{1,3}))?$/;

// roll throws dice written as players write them, "2d6" or "3d8+2", and answers undefined
// for anything else. die answers a number from 1 to its sides.
export function roll(notation, die = (sides) => randomInt(1, sides + 1)) {
  const found = NOTATION.exec(notation.trim().toLowerCase());
  if (!found) return undefined;
  const [count, sides, plus] = found.slice(1).map((part) => Number(part ?? 0));
  if (count < 1 || sides < 2) return undefined;
  const dice = Array.from({ length: count }, () => die(sides));
  return { notation: `${count}d${sides}${plus ? `+${plus}` : ''}`, dice, plus, total: dice.reduce((sum, one) => sum + one, plus) };
}
