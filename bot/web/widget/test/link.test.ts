import { beforeEach, expect, test, vi } from 'vitest';
import { Link, type Answer, type Ears, type Ports, type SocketLike } from '../src/link';
import { Talk } from '../src/talk';

class Wire implements SocketLike {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  said: Record<string, any>[] = [];
  closed = false;
  send(text: string): void {
    this.said.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  hear(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  greet(): void {
    this.onopen?.();
    this.hear({ type: 'ready' });
  }
  break(code = 1006): void {
    this.onclose?.({ code });
  }
  sent(type: string): Record<string, any>[] {
    return this.said.filter((frame) => frame.type === type);
  }
}

let wires: Wire[];
let posted: { path: string; body: any; token: string }[];
let kept: string;
let answer: (path: string, body: any) => Promise<Answer>;
let heard: string[];
let talk: Talk;
let link: Link;
let noSockets: boolean;

function wire(): Wire {
  return wires[wires.length - 1] as Wire;
}

beforeEach(() => {
  vi.useFakeTimers();
  wires = [];
  posted = [];
  kept = '';
  heard = [];
  noSockets = false;
  answer = async (path) => (path === 'session' ? { status: 201, body: { token: 'T' } } : { status: 409, body: { error: 'nothing_yet' } });
  const ports: Ports = {
    socket() {
      if (noSockets) throw new Error('blocked');
      wires.push(new Wire());
      return wire();
    },
    post(path, body, token) {
      posted.push({ path, body, token });
      return answer(path, body);
    },
    keep: (token) => (kept = token),
    kept: () => kept,
  };
  const ears: Ears = {
    changed: () => undefined,
    line: (up, notice) => heard.push(up ? 'up' : 'down' + notice),
    answering: (state) => heard.push('with ' + state),
    typing: () => heard.push('typing'),
    ended: () => heard.push('ended'),
  };
  talk = new Talk();
  link = new Link(ports, talk, ears);
});

async function begun(): Promise<void> {
  talk.write('a', '一');
  link.pump();
  await vi.advanceTimersByTimeAsync(0);
  wire().greet();
}

test('a visitor who only looks opens no session and no socket', () => {
  link.start();
  expect(posted).toEqual([]);
  expect(wires).toEqual([]);
});

test('the first message opens a session, then the token goes in the first frame', async () => {
  await begun();
  expect(posted).toEqual([{ path: 'session', body: {}, token: '' }]);
  expect(kept).toBe('T');
  expect(wire().said[0]).toEqual({ type: 'hello', token: 'T', after: '', have: [] });
  expect(wire().sent('send')).toEqual([{ type: 'send', id: 'a', text: '一' }]);
});

test('one message at a time is on its way', async () => {
  await begun();
  talk.write('b', '二');
  link.pump();
  expect(wire().sent('send').length).toBe(1);
  wire().hear({ type: 'stored', id: 'a', message_id: '1' });
  expect(wire().sent('send').map((frame) => frame.id)).toEqual(['a', 'b']);
});

test('an unconfirmed message is sent again with the same id after the line broke', async () => {
  await begun();
  wire().break();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(wires.length).toBe(2);
  wire().greet();
  expect(wire().sent('send')).toEqual([{ type: 'send', id: 'a', text: '一' }]);
});

test('a confirmed message is not sent again', async () => {
  await begun();
  wire().hear({ type: 'stored', id: 'a', message_id: '1' });
  wire().break();
  await vi.advanceTimersByTimeAsync(2_000);
  wire().greet();
  expect(wire().sent('send')).toEqual([]);
});

test('a socket that confirms nothing for ten seconds is given up', async () => {
  await begun();
  await vi.advanceTimersByTimeAsync(10_100);
  expect(wires[0]?.closed).toBe(true);
  await vi.advanceTimersByTimeAsync(2_000);
  wire().greet();
  expect(wires.length).toBe(2);
  expect(wire().sent('send').length).toBe(1);
});

test('a silent socket is found out by a ping', async () => {
  await begun();
  wire().hear({ type: 'stored', id: 'a', message_id: '1' });
  await vi.advanceTimersByTimeAsync(25_100);
  expect(wire().sent('ping').length).toBe(1);
  wire().hear({ type: 'pong' });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(wires.length).toBe(1);
  await vi.advanceTimersByTimeAsync(25_000);
  expect(wires[0]?.closed).toBe(true);
});

test('coming back it asks from the cursor, says what it has, and confirms what it got', async () => {
  await begun();
  wire().hear({ type: 'stored', id: 'a', message_id: '10' });
  wire().hear({ type: 'messages', cursor: '12', messages: [{ id: '12', from: 'bot', text: '好', at: '' }] });
  expect(wire().sent('got')).toEqual([{ type: 'got', ids: ['12'] }]);
  wire().break();
  await vi.advanceTimersByTimeAsync(2_000);
  wire().onopen?.();
  expect(wire().said[0]).toEqual({ type: 'hello', token: 'T', after: '12', have: ['10', '12'] });
});

test('where sockets are blocked, words go by request and replies come by poll', async () => {
  noSockets = true;
  let polls = 0;
  answer = async (path) => {
    if (path === 'session') return { status: 201, body: { token: 'T' } };
    if (path === 'send') return { status: 200, body: { message_id: '1' } };
    polls++;
    if (polls > 1) return new Promise(() => undefined);
    return { status: 200, body: { messages: [{ id: '2', from: 'bot', text: '好', at: '' }], cursor: '2', state: 'bot', typing: true } };
  };
  talk.write('a', '一');
  link.pump();
  await vi.advanceTimersByTimeAsync(50);
  expect(talk.entries.map((entry) => [entry.text, entry.state])).toEqual([['一', 'stored'], ['好', 'stored']]);
  expect(heard).toContain('with bot');
  expect(heard).toContain('typing');
  const last = posted[posted.length - 1];
  expect(last).toEqual({ path: 'poll', body: { after: '2', have: ['1', '2'], got: ['2'], state: 'bot' }, token: 'T' });
});

test('a handshake that hangs for four seconds is enough to go by request', async () => {
  answer = async (path) => {
    if (path === 'session') return { status: 201, body: { token: 'T' } };
    if (path === 'send') return { status: 200, body: { message_id: '1' } };
    return new Promise(() => undefined);
  };
  talk.write('a', '一');
  link.pump();
  await vi.advanceTimersByTimeAsync(4_200);
  expect(wires.length).toBe(1);
  expect(talk.entries[0]?.state).toBe('stored');
});

test('after two minutes of polling a socket is tried again, once', async () => {
  noSockets = true;
  answer = async (path) => {
    if (path === 'session') return { status: 201, body: { token: 'T' } };
    if (path === 'send') return { status: 200, body: { message_id: '1' } };
    await new Promise((go) => setTimeout(go, 25_000));
    return { status: 200, body: { messages: [], cursor: '1', state: 'bot', typing: false } };
  };
  talk.write('a', '一');
  link.pump();
  await vi.advanceTimersByTimeAsync(60_000);
  noSockets = false;
  expect(wires.length).toBe(0);
  await vi.advanceTimersByTimeAsync(100_000);
  expect(wires.length).toBe(1);
});

test('when the desk cannot store, the message stays and is tried again', async () => {
  await begun();
  wire().hear({ type: 'refused', id: 'a', error: 'unavailable', message: '现在存不上。' });
  expect(talk.entries[0]?.state).toBe('sending');
  expect(heard).toContain('down现在存不上。');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(wire().sent('send').map((frame) => frame.id)).toEqual(['a', 'a']);
});

test('a message that cannot be taken is marked, its words stay, the next one goes', async () => {
  await begun();
  talk.write('b', '二');
  wire().hear({ type: 'refused', id: 'a', error: 'too_long', message: '太长了。' });
  expect(talk.entries.map((entry) => [entry.state, entry.why])).toEqual([['refused', '太长了。'], ['sending', '']]);
  expect(wire().sent('send').map((frame) => frame.id)).toEqual(['a', 'b']);
});

test('an ended session hides what was said, and unsent words open a new one', async () => {
  await begun();
  wire().hear({ type: 'stored', id: 'a', message_id: '1' });
  talk.write('b', '二');
  wire().break(4401);
  await vi.advanceTimersByTimeAsync(0);
  expect(heard).toContain('ended');
  expect(talk.entries.map((entry) => entry.text)).toEqual(['二']);
  expect(posted.filter((post) => post.path === 'session').length).toBe(2);
});

test('after quick exit nothing goes out, and unconfirmed words are handed to the last request', async () => {
  await begun();
  expect(link.leave()).toEqual({ token: 'T', unsent: [{ id: 'a', text: '一' }] });
  expect(kept).toBe('');
  const before = wire().said.length;
  talk.write('b', '二');
  link.pump();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(wire().said.length).toBe(before);
  expect(wires.length).toBe(1);
});

test('quick exit while the session is being opened keeps no token behind', async () => {
  let give: (answer: Answer) => void = () => undefined;
  answer = () => new Promise((resolve) => (give = resolve));
  talk.write('a', '一');
  link.pump();
  expect(link.leave()).toEqual({ token: '', unsent: [{ id: 'a', text: '一' }] });
  give({ status: 201, body: { token: 'late' } });
  await vi.advanceTimersByTimeAsync(0);
  expect(kept).toBe('');
  expect(wires).toEqual([]);
});

test('somebody who came back by code begins with what was never read', async () => {
  link.switchTo('R');
  expect(kept).toBe('R');
  wire().greet();
  expect(wire().said[0]).toEqual({ type: 'hello', token: 'R', after: 'now', have: [] });
  link.earlier();
  wire().greet();
  expect(wire().said[0]).toEqual({ type: 'hello', token: 'R', after: '', have: [] });
});

test('no network: it goes on trying and sends everything when it is back', async () => {
  answer = async () => {
    throw new Error('offline');
  };
  talk.write('a', '一');
  link.pump();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(talk.next()?.id).toBe('a');
  answer = async () => ({ status: 201, body: { token: 'T' } });
  for (let seconds = 0; seconds < 15 && !wires.length; seconds++) await vi.advanceTimersByTimeAsync(1_000);
  wire().greet();
  expect(wire().sent('send').map((frame) => frame.id)).toEqual(['a']);
});
