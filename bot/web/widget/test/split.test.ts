import { expect, test } from 'vitest';
import { count, split } from '../src/split';

test('nothing is lost and nothing is too long', () => {
  for (const text of ['一二三四五六七。'.repeat(9), '没有停顿'.repeat(30), 'a\nb\n'.repeat(40), '😭'.repeat(50)]) {
    const pieces = split(text, 16);
    expect(pieces.join('')).toBe(text);
    expect(Math.max(...pieces.map(count))).toBeLessThanOrEqual(16);
  }
});

test('a cut comes after the end of a sentence where there is one', () => {
  expect(split('第一句话说完了。第二句话还没有说完', 12)[0]).toBe('第一句话说完了。');
});

test('a character outside the first plane counts once and is never cut in two', () => {
  expect(count('😭😭')).toBe(2);
  for (const piece of split('😭'.repeat(7), 2)) expect(piece).toMatch(/^(😭)+$/u);
});

test('short words stay as they are, blanks alone are no message', () => {
  expect(split('短', 10)).toEqual(['短']);
  expect(split('写了' + ' '.repeat(20), 10)).toEqual(['写了' + ' '.repeat(8)]);
});
