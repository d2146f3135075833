// The line to the desk: a socket, or requests where sockets do not get through. What was written is sent again until it is
// stored; what was missed is asked for by cursor. The page above hears only what changed.

import type { Message, Talk } from './talk';

export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  send(text: string): void;
  close(): void;
}
export interface Answer {
  status: number;
  body: Record<string, any>;
}
/** What a browser gives us, so that tests can give something else. */
export interface Ports {
  socket(): SocketLike;
  /** Resolves with whatever the server said; rejects when it could not be reached. */
  post(path: string, body: object, token: string): Promise<Answer>;
  keep(token: string): void;
  kept(): string;
}
export type With = '' | 'bot' | 'queued' | 'human' | 'closed';
export interface Ears {
  /** The thread changed. */
  changed(): void;
  /** Whether the line is up; `notice` says more when the desk itself is in trouble. */
  line(up: boolean, notice: string): void;
  answering(state: With): void;
  typing(): void;
  /** The token is worth nothing any more. */
  ended(): void;
}

const OPEN_WITHIN = 4_000; // a proxy that swallows sockets must not hold up a cry for help
const STORED_WITHIN = 10_000;
const PING_EVERY = 25_000;
const POLL_FOR = 120_000; // then a socket is tried again
const FAILURES_TO_POLL = 2;
const ENDED = 4401;
const TOO_LARGE = 1009;
const TOO_LARGE_TEXT = '这一条太大了，没有收下。请分成几条发。';

export class Link {
  private socket: SocketLike | null = null;
  private ready = false;
  private flying = ''; // client id of the message on its way
  private deadline = 0; // timer: the message on its way, or the opening, takes too long
  private again = 0; // timer: next try
  private beat = 0;
  private failures = 0;
  private pollUntil = 0;
  private round = 0; // grows when what is under way must not go on
  private opening = false;
  private stopped = false;
  private after = '';
  private state: With = '';
  private got: string[] = [];
  token = '';

  constructor(
    private ports: Ports,
    private talk: Talk,
    private ears: Ears,
  ) {}

  /** Take up a conversation of this tab, if there was one. */
  start(): void {
    this.token = this.ports.kept();
    if (this.token) this.connect();
  }

  /** Something was written: see that it gets stored. */
  pump(): void {
    const message = this.talk.next();
    if (!message || this.flying || this.stopped) return;
    if (!this.token) {
      void this.openSession();
    } else if (this.polling()) {
      void this.sendByRequest(message.id, message);
    } else if (this.ready && this.socket) {
      this.flying = message.id;
      const socket = this.socket;
      this.deadline = after(STORED_WITHIN, () => this.lost(socket));
      this.say({ type: 'send', ...message });
    } else if (!this.socket && !this.again) {
      this.connect();
    }
  }

  /** The person writes; the counsellor may see that, not what. */
  types(): void {
    if (this.ready) this.say({ type: 'typing' });
  }

  /** The device woke up or found its network again. */
  nudge(): void {
    if (!this.token || this.stopped) return;
    if (this.ready) this.ping(3_000);
    else if (!this.socket && !this.polling()) this.connect();
  }

  /** Change to the conversation behind a return code, beginning with what was never read. */
  switchTo(token: string): void {
    this.talk.forget();
    this.hold(token);
    this.after = 'now';
    this.connect();
  }

  /** Fetch what was said before. */
  earlier(): void {
    this.after = '';
    this.connect();
  }

  /** Quick exit: nothing more goes out from here. What the server needs to know is returned. */
  leave(): object {
    const last = { token: this.token, unsent: this.talk.unsent() };
    this.stopped = true;
    this.drop();
    this.hold('');
    return last;
  }

  // --- session

  private hold(token: string): void {
    this.token = token;
    this.after = '';
    this.state = '';
    this.got = [];
    this.ports.keep(token);
  }

  private async openSession(): Promise<void> {
    if (this.opening) return;
    this.opening = true;
    try {
      const answer = await this.ports.post('session', {}, '');
      if (answer.status === 201) {
        if (this.stopped) return;
        this.hold(String(answer.body.token));
        this.failures = 0;
        this.connect();
        return;
      }
      this.ears.line(false, String(answer.body.message || ''));
    } catch {
      this.ears.line(false, '');
    } finally {
      this.opening = false;
    }
    this.later(() => this.pump());
  }

  private end(): void {
    this.drop();
    this.hold('');
    this.talk.forget();
    this.ears.changed();
    this.ears.ended();
    this.pump(); // what is not stored yet goes into a new conversation
  }

  // --- the line, whichever it is

  private polling(): boolean {
    return Date.now() < this.pollUntil;
  }

  private connect(): void {
    if (this.stopped || !this.token) return;
    this.drop();
    if (this.polling()) void this.poll();
    else this.open();
  }

  private drop(): void {
    const socket = this.socket;
    this.round++;
    this.socket = null;
    this.ready = false;
    this.flying = '';
    clearTimeout(this.deadline);
    clearTimeout(this.again);
    clearTimeout(this.beat);
    this.again = 0;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close();
    } catch {
      // it never opened
    }
  }

  private later(then: () => void): void {
    clearTimeout(this.again);
    const wait = Math.min(10_000, 500 * Math.pow(2, this.failures)) * (0.75 + Math.random() / 2);
    this.failures++;
    this.again = after(wait, () => {
      this.again = 0;
      then();
    });
  }

  private heard(messages: Message[], cursor: string): void {
    this.talk.merge(messages);
    if (/^\d+$/.test(cursor)) this.after = cursor;
    for (const message of messages) if (message.from !== 'me') this.got.push(message.id);
    if (messages.length) this.ears.changed();
  }

  private now(state: With): void {
    if (state === this.state) return;
    this.state = state;
    this.ears.answering(state);
  }

  /** What becomes of the message on its way when the server does not take it. */
  private refuse(id: string, error: string, why: string): void {
    this.flying = '';
    clearTimeout(this.deadline);
    if (error === 'unavailable' || error === 'wait') {
      this.ears.line(false, why);
      this.later(() => this.pump());
      return;
    }
    this.talk.refused(id, why);
    this.ears.changed();
    this.pump();
  }

  private confirm(id: string, messageId: string): void {
    this.talk.stored(id, messageId);
    this.failures = 0;
    this.ears.line(true, '');
    this.ears.changed();
    if (this.flying !== id) return;
    this.flying = '';
    clearTimeout(this.deadline);
    this.pump();
  }

  // --- by socket

  private open(): void {
    let socket: SocketLike;
    try {
      socket = this.ports.socket();
    } catch {
      this.failures = FAILURES_TO_POLL;
      this.lost(null);
      return;
    }
    this.socket = socket;
    this.deadline = after(OPEN_WITHIN, () => {
      this.failures = FAILURES_TO_POLL;
      this.lost(socket);
    });
    socket.onopen = () => this.say({ type: 'hello', token: this.token, after: this.after, have: this.have() });
    socket.onmessage = (event) => this.hear(JSON.parse(String(event.data)));
    socket.onclose = (event) => {
      if (event.code === ENDED) this.end();
      else {
        if (event.code === TOO_LARGE && this.flying) {
          this.talk.refused(this.flying, TOO_LARGE_TEXT);
          this.ears.changed();
        }
        this.lost(socket);
      }
    };
  }

  private have(): string[] {
    return this.after && this.after !== 'now' ? this.talk.have() : [];
  }

  private lost(socket: SocketLike | null): void {
    if (this.socket !== socket || this.stopped) return;
    const wasReady = this.ready;
    this.drop();
    if (!wasReady && this.failures + 1 >= FAILURES_TO_POLL) {
      this.pollUntil = Date.now() + POLL_FOR;
      this.connect();
      return;
    }
    this.ears.line(false, '');
    this.later(() => this.connect());
  }

  private hear(frame: Record<string, any>): void {
    switch (frame.type) {
      case 'ready':
        clearTimeout(this.deadline);
        this.ready = true;
        this.failures = 0;
        this.ears.line(true, '');
        this.heartbeat();
        this.pump();
        break;
      case 'stored':
        this.confirm(frame.id, frame.message_id);
        break;
      case 'refused':
        if (frame.id) this.refuse(frame.id, frame.error, frame.message);
        break;
      case 'messages':
        this.heard(frame.messages, frame.cursor);
        this.say({ type: 'got', ids: this.got.splice(0) });
        break;
      case 'state':
        this.now(frame.state);
        break;
      case 'typing':
        this.ears.typing();
        break;
      case 'pong':
        this.heartbeat();
    }
  }

  private heartbeat(): void {
    clearTimeout(this.beat);
    this.beat = after(PING_EVERY, () => this.ping(10_000));
  }

  private ping(within: number): void {
    const socket = this.socket;
    clearTimeout(this.beat);
    this.beat = after(within, () => this.lost(socket));
    this.say({ type: 'ping' });
  }

  private say(frame: object): void {
    try {
      if (this.socket) this.socket.send(JSON.stringify(frame));
    } catch {
      this.lost(this.socket);
    }
  }

  // --- by requests

  private async sendByRequest(id: string, message: object): Promise<void> {
    const round = this.round;
    this.flying = id;
    try {
      const { status, body } = await this.ports.post('send', message, this.token);
      if (round !== this.round) {
        if (status === 200) this.confirm(id, body.message_id); // late, but true
      } else if (status === 200) this.confirm(id, body.message_id);
      else if (body.error === 'ended') this.end();
      else this.refuse(id, status >= 500 ? 'unavailable' : body.error, String(body.message || ''));
    } catch {
      if (round !== this.round) return;
      this.flying = '';
      this.ears.line(false, '');
      this.later(() => this.pump());
    }
  }

  private async poll(): Promise<void> {
    const round = ++this.round;
    this.pump();
    while (round === this.round && this.polling()) {
      const told = this.got.slice(0);
      let wait = 0;
      try {
        const asked = { after: this.after, have: this.have(), got: told, state: this.state };
        const { status, body } = await this.ports.post('poll', asked, this.token);
        if (round !== this.round) return;
        if (status === 200) {
          this.failures = 0;
          this.ears.line(true, '');
          this.got = this.got.filter((id) => told.indexOf(id) < 0);
          this.heard(body.messages, body.cursor);
          this.now(body.state);
          if (body.typing) this.ears.typing();
        } else if (body.error === 'ended') {
          this.end();
          return;
        } else {
          wait = body.error === 'nothing_yet' ? 1_000 : 3_000;
        }
      } catch {
        if (round !== this.round) return;
        this.ears.line(false, '');
        wait = 3_000;
      }
      if (wait) await new Promise<void>((go) => after(wait, go));
    }
    if (round !== this.round) return;
    this.failures = FAILURES_TO_POLL - 1; // one failed socket is enough to come back here
    this.connect();
  }
}

function after(milliseconds: number, then: () => void): number {
  return setTimeout(then, milliseconds) as unknown as number;
}
