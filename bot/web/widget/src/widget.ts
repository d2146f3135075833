// One line on another site: <script src="https://desk/widget.js" data-label="聊一聊" async></script>
// A button, and on the first press an iframe from the desk's own origin: the site around it cannot read what is said.

const script = document.currentScript as HTMLScriptElement;
const desk = new URL(script.src).origin;
const label = script.dataset.label || '聊一聊';
const above = 'position:fixed;z-index:2147483000;';
const press =
  'font:600 16px/1.4 system-ui,sans-serif;min-height:48px;padding:12px 20px;border:2px solid #fff;border-radius:24px;' +
  'background:#24575b;color:#fff;cursor:pointer;';

function start(): void {
  const box = document.createElement('div');
  const button = document.createElement('button');
  let frame: HTMLIFrameElement | null = null;
  button.type = 'button';
  box.appendChild(button);
  document.body.appendChild(box);

  function show(visible: boolean): void {
    const small = innerWidth < 560 || innerHeight < 560;
    // On a phone the chat is the whole screen; elsewhere it stands in the corner.
    if (visible && !frame) {
      frame = document.createElement('iframe');
      frame.src = desk + '/chat';
      frame.title = label;
      frame.referrerPolicy = 'no-referrer';
      box.insertBefore(frame, button);
    }
    if (frame) {
      frame.style.cssText =
        above +
        'border:0;background:#fff;' +
        (small
          ? 'left:0;top:0;width:100%;height:calc(100% - 64px);'
          : 'right:16px;bottom:80px;width:400px;max-width:calc(100% - 32px);height:640px;max-height:calc(100% - 96px);' +
            'border-radius:12px;box-shadow:0 2px 16px rgba(0,0,0,.3);') +
        (visible ? '' : 'display:none');
    }
    box.style.cssText = visible && small ? above + 'left:0;right:0;bottom:0;height:64px;background:#fff' : '';
    button.style.cssText = above + press + 'right:16px;bottom:' + (visible && small ? 8 : 16) + 'px';
    button.textContent = visible ? '收起聊天' : label;
    button.setAttribute('aria-expanded', String(visible));
    if (visible && frame) frame.focus();
  }

  button.onclick = () => show(button.getAttribute('aria-expanded') !== 'true');
  show(false);
}

if (document.body) start();
else document.addEventListener('DOMContentLoaded', start);

export {};
