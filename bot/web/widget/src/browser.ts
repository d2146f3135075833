// What the browser lends us: the socket, requests, one tab's memory for the token, and the way out.

import type { Answer, Ports, SocketLike } from './link';

const KEY = 'qingting';
const REQUEST_WITHIN = 40_000;

export function browser(): Ports {
  let token = '';
  return {
    socket() {
      return new WebSocket(location.origin.replace(/^http/, 'ws') + '/chat/ws') as unknown as SocketLike;
    },
    post(path, body, bearer) {
      return within(
        fetch('/chat/api/' + path, {
          method: 'POST',
          headers: bearer
            ? { 'Content-Type': 'application/json', Authorization: 'Bearer ' + bearer }
            : { 'Content-Type': 'application/json' },
          body: JSON.stringify(body),
          credentials: 'omit',
          cache: 'no-store',
        }).then((response) =>
          response.text().then((text): Answer => ({ status: response.status, body: object(text) })),
        ),
      );
    },
    // The token is all that is kept, and only for this tab. Where even that is forbidden, memory has to do.
    keep(value) {
      token = value;
      try {
        if (value) sessionStorage.setItem(KEY, value);
        else sessionStorage.removeItem(KEY);
      } catch {
        // a browser that blocks storage
      }
    },
    kept() {
      try {
        return sessionStorage.getItem(KEY) || token;
      } catch {
        return token;
      }
    },
  };
}

function object(text: string): Record<string, any> {
  try {
    return JSON.parse(text) || {};
  } catch {
    return {}; // a proxy's error page
  }
}

function within(answer: Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('timeout')), REQUEST_WITHIN);
    answer.then(resolve, reject);
  });
}

/** 128 random bits: the name of a message before it is stored. */
export function newId(): string {
  return Array.prototype.map
    .call(crypto.getRandomValues(new Uint8Array(16)), (byte: number) => (byte + 256).toString(16).slice(1))
    .join('');
}

/** Tell the server, clear the screen, and be somewhere else, with no way back to here by the back button. */
export function quickExit(last: object, to: string): void {
  const told = JSON.stringify(last);
  const url = '/chat/api/leave';
  if (!navigator.sendBeacon || !navigator.sendBeacon(url, told)) {
    void fetch(url, { method: 'POST', body: told, keepalive: true, credentials: 'omit' }).catch(() => undefined);
  }
  document.body.textContent = '';
  document.title = '…';
  try {
    // In the widget the page around us has to go too; a click allows that even across origins.
    (window.top || window).location.replace(to);
  } catch {
    location.replace(to);
  }
}
