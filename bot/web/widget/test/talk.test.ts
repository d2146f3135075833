import { expect, test } from 'vitest';
import { Talk, later, type Message } from '../src/talk';

function reply(id: string, text = id): Message {
  return { id, from: 'bot', text, at: '2026-11-23T05:00:00+00:00' };
}
function texts(talk: Talk): string[] {
  return talk.entries.map((entry) => entry.text);
}

test('ids beyond 53 bits are ordered as numbers', () => {
  expect(later('250495628127014913', '250495628127014912')).toBe(true);
  expect(later('99', '100')).toBe(false);
  expect(later('7', '7')).toBe(false);
});

test('messages are sent one at a time in the order they were written', () => {
  const talk = new Talk();
  talk.write('a', '一');
  talk.write('b', '二');
  expect(talk.next()).toEqual({ id: 'a', text: '一' });
  talk.stored('a', '1');
  expect(talk.next()).toEqual({ id: 'b', text: '二' });
  talk.stored('b', '2');
  expect(talk.next()).toBeNull();
});

test('a reply that comes twice is shown once', () => {
  const talk = new Talk();
  talk.merge([reply('5'), reply('6')]);
  talk.merge([reply('5'), reply('6'), reply('7')]);
  expect(texts(talk)).toEqual(['5', '6', '7']);
});

test('a reply with a smaller id that comes late takes its place', () => {
  const talk = new Talk();
  talk.merge([reply('10'), reply('12')]);
  talk.merge([reply('11')]);
  expect(texts(talk)).toEqual(['10', '11', '12']);
});

test('the own message coming back over another line is the same message', () => {
  const talk = new Talk();
  talk.write('mine', '我写的');
  talk.merge([{ ...reply('8', '我写的'), from: 'me', client_id: 'mine' }]);
  talk.stored('mine', '8');
  expect(texts(talk)).toEqual(['我写的']);
  expect(talk.next()).toBeNull();
  expect(talk.entries[0]?.state).toBe('stored');
});

test('what is not stored stays last, whatever comes in', () => {
  const talk = new Talk();
  talk.write('a', '还没送到');
  talk.merge([reply('3')]);
  expect(texts(talk)).toEqual(['3', '还没送到']);
  talk.stored('a', '2');
  expect(texts(talk)).toEqual(['还没送到', '3']);
});

test('a refused message keeps its words and lets the next one go', () => {
  const talk = new Talk();
  talk.write('a', '太长');
  talk.write('b', '下一条');
  talk.refused('a', '太长了');
  expect(talk.next()?.id).toBe('b');
  expect(talk.takeBack('a')).toBe('太长');
  expect(texts(talk)).toEqual(['下一条']);
});

test('forgetting leaves only what the server does not have', () => {
  const talk = new Talk();
  talk.merge([reply('1')]);
  talk.write('a', '没送到');
  talk.forget();
  expect(texts(talk)).toEqual(['没送到']);
});

test('a stored message cannot become refused by a late answer', () => {
  const talk = new Talk();
  talk.write('a', '一');
  talk.stored('a', '1');
  talk.refused('a', '晚了');
  expect(talk.entries[0]?.state).toBe('stored');
});
