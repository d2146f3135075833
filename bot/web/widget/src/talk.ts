// What was said, as this page knows it: messages both ways by id, and the person's own that are not stored yet.
// Kept in memory only: nothing a person writes is left on the device.

export type Author = 'me' | 'bot' | 'staff' | 'system';
export interface Button {
  label: string;
  value: string;
}
/** A message as the server sends it. `client_id` is the id this or another page gave it before it was stored. */
export interface Message {
  id: string;
  from: Author;
  text: string;
  at: string;
  buttons?: Button[];
  client_id?: string;
}
export type State = 'sending' | 'stored' | 'refused';
/** One entry of the thread. `id` is empty until the server has it. */
export interface Entry {
  key: string;
  id: string;
  from: Author;
  text: string;
  at: string;
  state: State;
  command: string;
  buttons: Button[];
  why: string;
}
export interface Unsent {
  id: string;
  text: string;
  command?: string;
}

const REMEMBERED = 100;

/** Ids are numbers too large for JavaScript: compare them as text, the longer one is the larger. */
export function later(first: string, second: string): boolean {
  return first.length === second.length ? first > second : first.length > second.length;
}

export class Talk {
  /** In order: what the server has, by id; then what it does not have yet, as written. */
  entries: Entry[] = [];

  /** The person wrote something. It stays until the server says that it is stored. */
  write(key: string, text: string, command = ''): Entry {
    const entry: Entry = { key, id: '', from: 'me', text, at: '', state: 'sending', command, buttons: [], why: '' };
    this.entries.push(entry);
    return entry;
  }

  /** The next message to send: one at a time, so that they are stored in the order they were written. */
  next(): Unsent | null {
    for (const entry of this.entries) if (entry.state === 'sending') return unsent(entry);
    return null;
  }

  /** All that the server has not confirmed. */
  unsent(): Unsent[] {
    return this.entries.filter((entry) => entry.state === 'sending').map(unsent);
  }

  stored(key: string, id: string): void {
    const entry = this.find(key);
    if (!entry || entry.id) return;
    entry.state = 'stored';
    entry.why = '';
    this.place(entry, id);
  }

  /** The server will not take it as it is. The words stay in the thread for the person to use again. */
  refused(key: string, why: string): void {
    const entry = this.find(key);
    if (!entry || entry.state !== 'sending') return;
    entry.state = 'refused';
    entry.why = why;
  }

  /** Take a refused message out, to put its words back where they can be changed. */
  takeBack(key: string): string {
    const entry = this.find(key);
    if (!entry || entry.id) return '';
    this.entries = this.entries.filter((other) => other !== entry);
    return entry.text;
  }

  /** Messages from the server. A message known already, by id or because this page wrote it, is not shown twice. */
  merge(messages: Message[]): void {
    for (const message of messages) {
      if (this.entries.some((entry) => entry.id === message.id)) continue;
      const own = message.client_id ? this.find(message.client_id) : undefined;
      if (own && !own.id) {
        own.state = 'stored';
        own.at = message.at;
        this.place(own, message.id);
        continue;
      }
      const entry: Entry = {
        key: message.client_id || message.id,
        id: '',
        from: message.from,
        text: message.text,
        at: message.at,
        state: 'stored',
        command: '',
        buttons: message.buttons || [],
        why: '',
      };
      this.entries.push(entry);
      this.place(entry, message.id);
    }
  }

  /** Recent ids, for the server to know what need not come again. */
  have(): string[] {
    return this.entries
      .filter((entry) => entry.id)
      .slice(-REMEMBERED)
      .map((entry) => entry.id);
  }

  /** Forget what the server has; what it has not stays. */
  forget(): void {
    this.entries = this.entries.filter((entry) => entry.state !== 'stored');
  }

  private find(key: string): Entry | undefined {
    return this.entries.filter((entry) => entry.key === key)[0];
  }

  private place(entry: Entry, id: string): void {
    entry.id = id;
    const others = this.entries.filter((other) => other !== entry);
    let at = others.length;
    while (at > 0 && before(entry, others[at - 1] as Entry)) at--;
    others.splice(at, 0, entry);
    this.entries = others;
  }
}

function before(entry: Entry, other: Entry): boolean {
  return !other.id || later(other.id, entry.id);
}

function unsent(entry: Entry): Unsent {
  const message: Unsent = { id: entry.key, text: entry.text };
  if (entry.command) message.command = entry.command;
  return message;
}
