// Builds the chat page and the widget into bot/web/static/chat, and refuses to build more than fits an old phone's patience.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const out = new URL('../static/chat/', import.meta.url);
const source = new URL('./src/', import.meta.url);
const mostBytes = 20 * 1024; // gzipped: widget.js with the page's html, css and script

mkdirSync(out, { recursive: true });
const shared = { bundle: true, minify: true, legalComments: 'none', charset: 'utf8', logLevel: 'warning' };
// es2015: the web views of phones from 2016 on.
for (const name of ['chat.ts', 'widget.ts']) {
  await build({
    ...shared,
    entryPoints: [new URL(name, source).pathname],
    outfile: new URL(name.replace('.ts', '.js'), out).pathname,
    format: 'iife',
    target: ['es2015'],
  });
}
await build({
  ...shared,
  entryPoints: [new URL('chat.css', source).pathname],
  outfile: new URL('chat.css', out).pathname,
  target: ['chrome58', 'safari10'],
});
const page = readFileSync(new URL('chat.html', source), 'utf8');
writeFileSync(new URL('chat.html', out), page.replace(/<!--[\s\S]*?-->/g, '').replace(/\n\s*/g, '\n').trim() + '\n');

let total = 0;
for (const name of ['widget.js', 'chat.html', 'chat.css', 'chat.js']) {
  const size = gzipSync(readFileSync(new URL(name, out)), { level: 9 }).length;
  total += size;
  console.log(`${name.padEnd(10)} ${size} bytes gzipped`);
}
console.log(`together   ${total} of ${mostBytes}`);
if (total > mostBytes) {
  console.error('too large: see bot/web/widget/build.mjs');
  process.exit(1);
}
