// What a person sees and touches. The words are fixed here, in the page's own voice: short, calm, honest about who answers.

import { Link, type With } from './link';
import { count, split } from './split';
import { Talk, type Entry } from './talk';
import { browser, newId, quickExit } from './browser';

const ANSWERING: Record<With, string> = {
  '': '',
  bot: '现在回复你的是程序，不是真人。',
  queued: '在等咨询员（真人）来，你可以接着说。',
  human: '咨询员（真人）在和你聊。',
  closed: '这次对话结束了。想说的话，接着写就可以。',
};
const WHO = { me: '我', bot: '程序自动回复', staff: '咨询员（真人）', system: '服务台' };
const OFFLINE = '网络断了，正在重新连接。你写的都还在，连上就发。有危险请打上面的电话。';
const OUT_OF_REACH = '连不上，请过一会儿再试。';
const CALL = '有危险请打上面的电话。';
const KEYBOARD = '(hover:hover) and (pointer:fine)';
const TYPING_SHOWN = 6_000;
const TYPING_SAID = 3_000;

function by<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, kind: string, text = ''): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

function button(label: string, pressed: () => void, kind = ''): HTMLButtonElement {
  const element = make('button', kind, label);
  element.type = 'button';
  element.onclick = pressed;
  return element;
}

export function open(): void {
  const settings = document.body.dataset;
  const most = Number(settings.most);
  const numbers = (settings.numbers || '').split(',').filter((number) => number);
  const main = by('main');
  const log = by('log');
  const text = by<HTMLTextAreaElement>('text');
  const panel = by('panel');
  const shown: Record<string, { element: HTMLElement; as: string }> = {};
  const ports = browser();
  const talk = new Talk();
  let up = true;
  let notice = '';
  let answering: With = '';
  let typingUntil = 0;
  let typed = 0;
  let leftPanel: HTMLElement | null = null;

  const link = new Link(ports, talk, {
    changed: render,
    line(isUp, told) {
      up = isUp;
      notice = told;
      line();
    },
    answering(state) {
      answering = state;
      line();
    },
    typing() {
      typingUntil = Date.now() + TYPING_SHOWN;
      line();
      setTimeout(line, TYPING_SHOWN + 50);
    },
    ended() {
      answering = '';
      ask('这次聊天已经结束或过期', ['为了安全，之前的内容已从这一页收起。', '可以用返回码接着聊，也可以直接写，开始新的对话。']);
      line();
    },
  });

  // --- the thread

  function line(): void {
    const typing = Date.now() < typingUntil ? '咨询员正在输入。' : '';
    const waiting = talk.unsent().length > 0;
    const told = up || !(waiting || link.token) ? typing || ANSWERING[answering] : notice ? notice + CALL : OFFLINE;
    if (by('line').textContent !== told) by('line').textContent = told;
  }

  function render(): void {
    const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
    const before = talk.entries.length;
    let place: ChildNode | null = log.firstChild;
    let added: Entry | null = null;
    const last = lastChoices();
    const present: Record<string, boolean> = {};
    for (const entry of talk.entries) {
      const as = entry.state + entry.why + (entry === last) + entry.buttons.length;
      const old = shown[entry.key];
      present[entry.key] = true;
      if (!old && (!added || entry.from === 'me')) added = entry;
      if (!old) {
        shown[entry.key] = { element: draw(entry), as: '' };
      }
      const now = shown[entry.key] as { element: HTMLElement; as: string };
      if (now.as !== as) refresh(now.element, entry, entry === last);
      now.as = as;
      const element = now.element;
      if (element === place) place = place.nextSibling;
      else log.insertBefore(element, place);
    }
    for (const key of Object.keys(shown)) {
      if (present[key]) continue;
      log.removeChild((shown[key] as { element: HTMLElement }).element);
      delete shown[key];
    }
    by('code').hidden = !talk.entries.some((entry) => !!entry.id);
    if (added && before) {
      const first = (shown[added.key] as { element: HTMLElement }).element;
      if (added.from === 'me') toEnd();
      else if (atEnd) toStart(first);
      else by('newer').hidden = false;
    }
    if (added && added.from === 'staff') typingUntil = 0;
    line();
  }

  /** Only the newest question can still be answered by a button: an older one's numbers mean something else by now. */
  function lastChoices(): Entry | null {
    for (let at = talk.entries.length - 1; at >= 0; at--) {
      const entry = talk.entries[at] as Entry;
      if (entry.buttons.length) return entry;
    }
    return null;
  }

  function draw(entry: Entry): HTMLElement {
    const element = make('div', '');
    const mine = entry.from === 'me';
    element.appendChild(make('p', mine ? 'unseen' : 'who', WHO[entry.from] + (mine ? '：' : '')));
    element.appendChild(mine ? make('div', 'words', entry.text) : dialable(entry.text));
    if (mine) element.appendChild(make('p', 'state'));
    return element;
  }

  /** What changes about an entry changes in place: a screen reader must not hear the words again. */
  function refresh(element: HTMLElement, entry: Entry, choosable: boolean): void {
    const told = element.querySelector('.state');
    const extra = element.querySelector('.choices');
    element.className = 'entry ' + entry.from + ' ' + entry.state;
    if (told) told.textContent = state(entry);
    if (extra) element.removeChild(extra);
    const choices = make('div', 'choices');
    if (entry.state === 'refused') {
      choices.appendChild(
        button('拿回来改', () => {
          text.value = talk.takeBack(entry.key) + text.value;
          grow();
          render();
          text.focus();
        }),
      );
    }
    for (const choice of choosable ? entry.buttons : []) {
      choices.appendChild(
        button(choice.label, () => {
          const command = choice.value.charAt(0) === '/' ? choice.value : '';
          entry.buttons = [];
          write(command ? choice.label : choice.value, command);
          ready();
        }),
      );
    }
    if (choices.firstChild) element.appendChild(choices);
  }

  function state(entry: Entry): string {
    if (entry.state === 'stored') return '✓ 已送到';
    return entry.state === 'sending' ? '发送中' : '没有发出去。' + entry.why;
  }

  /** A reply's words, with the desk's numbers ready to call. */
  function dialable(words: string): HTMLElement {
    const element = make('div', 'words');
    const pattern = new RegExp('(^|[^0-9])(' + (numbers.join('|') || '$^') + ')(?![0-9])', 'g');
    let from = 0;
    let found: RegExpExecArray | null;
    while ((found = pattern.exec(words))) {
      const number = found[2] as string;
      const at = found.index + (found[1] as string).length;
      element.appendChild(document.createTextNode(words.slice(from, at)));
      const call = make('a', '', number);
      call.href = 'tel:' + number;
      element.appendChild(call);
      from = at + number.length;
      pattern.lastIndex = from;
    }
    element.appendChild(document.createTextNode(words.slice(from)));
    return element;
  }

  function toEnd(): void {
    main.scrollTop = main.scrollHeight;
    by('newer').hidden = true;
  }

  /** To what has just come: a long answer is read from its beginning. */
  function toStart(element: HTMLElement): void {
    main.scrollTop += element.getBoundingClientRect().top - main.getBoundingClientRect().top - 8;
  }

  /** Where there is a keyboard the next words can be typed at once; on a touch screen none pops up unasked. */
  function ready(): void {
    if (matchMedia(KEYBOARD).matches) text.focus();
  }

  // --- writing

  function write(words: string, command = ''): void {
    talk.write(newId(), words, command);
    render();
    link.pump();
    line();
  }

  function submit(): void {
    const words = text.value;
    if (!words.trim()) return;
    if (count(words) > most) {
      tooLong();
      return;
    }
    text.value = '';
    grow();
    write(words);
    if (panel.dataset.kind === 'long') shut();
  }

  function tooLong(): void {
    const pieces = split(text.value, most);
    ask(
      '这段话太长了',
      [
        `写了 ${count(text.value)} 个字，一条最多 ${most} 个字。可以按顺序分成 ${pieces.length} 条发出去，一个字都不会少。`,
      ],
      [
        button(
          `分成 ${pieces.length} 条发送`,
          () => {
            const again = split(text.value, most);
            text.value = '';
            grow();
            shut();
            again.forEach((piece) => write(piece));
          },
          'strong',
        ),
      ],
      '我自己改',
    );
    panel.dataset.kind = 'long';
  }

  function grow(): void {
    text.style.height = 'auto';
    text.style.height = Math.min(text.scrollHeight + 2, 144) + 'px';
    const characters = text.value.length > most * 0.8 ? count(text.value) : 0;
    const told = characters > most ? `${characters} 个字，一条最多 ${most} 个字` : characters > most * 0.8 ? `还可以写 ${most - characters} 个字` : '';
    if (by('count').textContent !== told) by('count').textContent = told;
  }

  // --- a question above the composer

  function ask(title: string, lines: string[], actions: HTMLElement[] = [], close = '知道了'): HTMLElement {
    const body = by('panel-body');
    if (panel.hidden) leftPanel = document.activeElement as HTMLElement;
    panel.dataset.kind = '';
    body.textContent = '';
    by('panel-title').textContent = title;
    lines.forEach((one) => body.appendChild(make('p', '', one)));
    actions.forEach((action) => body.appendChild(action));
    body.appendChild(button(close, shut));
    panel.hidden = false;
    by('panel-title').focus();
    return body;
  }

  function shut(): void {
    panel.hidden = true;
    by('panel-body').textContent = '';
    if (leftPanel && leftPanel.focus) leftPanel.focus();
    leftPanel = null;
  }

  function showCode(): void {
    const get = button(
      '给我返回码',
      async () => {
        get.disabled = true;
        try {
          const { status, body } = await ports.post('return-code', {}, link.token);
          if (status !== 201) throw new Error(String(body.message || ''));
          const place = ask('你的返回码', ['下次在“我有返回码”里填它，就能接着聊，换一台手机也行。'], [], '记好了，收起来');
          place.insertBefore(make('p', 'code', String(body.code)), place.firstChild);
          place.insertBefore(
            make('p', '', '谁拿到它，谁就能看到这次对话。记在只有你能看到的地方；只显示这一次，我们也查不到它。'),
            place.lastChild,
          );
        } catch (error) {
          ask('现在拿不到返回码', [(error as Error).message || OUT_OF_REACH, CALL]);
        }
      },
      'strong',
    );
    ask('下次接着聊', ['返回码是一串字母和数字。有了它，关掉这一页以后也能回到这次对话。', '旁边有别人会看你的手机时，可以先不拿。'], [get], '先不用');
  }

  function useCode(): void {
    const input = make('input', '');
    const label = make('label', '', '返回码');
    const form = make('form', '');
    const told = make('p', '');
    input.id = 'code-typed';
    label.htmlFor = input.id;
    input.autocomplete = 'off';
    input.maxLength = 40;
    input.setAttribute('autocapitalize', 'characters');
    input.spellcheck = false;
    told.setAttribute('role', 'alert');
    const go = make('button', 'strong', '接着聊');
    [label, input, told, go].forEach((part) => form.appendChild(part));
    form.className = 'plain';
    form.onsubmit = (event) => {
      event.preventDefault();
      if (go.disabled || !input.value.trim()) return;
      go.disabled = true;
      told.textContent = '正在查找';
      comeBack('return', { code: input.value }, (why) => {
        told.textContent = why;
        go.disabled = false;
      });
    };
    ask('用返回码接着聊', ['之前的内容不会马上显示出来，要看时再点。'], [form], '不用了');
    input.focus();
  }

  /** Change a code or a one-time link for the conversation behind it. */
  function comeBack(path: string, body: object, failed: (why: string) => void): void {
    ports.post(path, body, '').then(
      (answer) => {
        if (answer.status !== 201) {
          failed(String(answer.body.message || OUT_OF_REACH) + CALL);
          return;
        }
        shut();
        link.switchTo(String(answer.body.token));
        render();
        by('earlier').hidden = false;
        ready();
      },
      () => failed(OUT_OF_REACH + CALL),
    );
  }

  /** Somebody followed a one-time link. It counts only once, so a person has to press: programs open links too. */
  function offerLink(secret: string): void {
    const go = button(
      '接着聊',
      () => {
        go.disabled = true;
        comeBack('link', { link: secret }, (why) => ask('没有接上', [why]));
      },
      'strong',
    );
    ask('接着刚才的对话', ['在这里可以和咨询员（真人）接着聊。这个链接只能用一次。'], [go], '不用了');
  }

  // --- hands

  by('leave').onclick = (event) => {
    event.preventDefault();
    quickExit(link.leave(), settings.neutral || 'about:blank');
  };
  by('form').onsubmit = (event) => {
    event.preventDefault();
    submit();
  };
  // Pressing the button does not take the focus, so that a phone's keyboard stays where it is.
  by('send').onmousedown = (event) => event.preventDefault();
  text.oninput = () => {
    grow();
    if (Date.now() - typed > TYPING_SAID && text.value) {
      typed = Date.now();
      link.types();
    }
  };
  text.onkeydown = (event) => {
    // With a keyboard Enter sends; on a touch screen it makes a line. While characters are being composed it does neither.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (!matchMedia(KEYBOARD).matches) return;
    event.preventDefault();
    submit();
  };
  panel.onkeydown = (event) => {
    if (event.key === 'Escape') shut();
  };
  main.onscroll = () => {
    if (main.scrollHeight - main.scrollTop - main.clientHeight < 20) by('newer').hidden = true;
  };
  by('newer').onclick = toEnd;
  by('code').onclick = showCode;
  by('back').onclick = useCode;
  (by('earlier').firstChild as HTMLElement).onclick = () => {
    by('earlier').hidden = true;
    link.earlier();
    ready();
  };
  window.addEventListener('online', () => link.nudge());
  window.addEventListener('pageshow', () => link.nudge());
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) link.nudge();
  });
  const view = window.visualViewport;
  if (view) {
    const fit = (): void => document.documentElement.style.setProperty('--height', view.height + 'px');
    view.addEventListener('resize', () => {
      const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
      fit();
      window.scrollTo(0, 0);
      if (atEnd && talk.entries.length) toEnd();
    });
    fit();
  }

  by('nojs').hidden = true;
  by('code').hidden = true;
  const secret = /^#link=([\w-]+)$/.exec(location.hash);
  if (secret) {
    history.replaceState(null, '', location.pathname); // out of the address bar and the history
    offerLink(secret[1] as string);
  }
  link.start();
}
