<%page expression_filter="h"/><%inherit file="page.mako"/>\
<nav class="where" aria-label="所在位置"><a href="/help">帮助首页</a> › <a href="${area.address}">${area.title}</a></nav>
<article>
<h1>${entry.title}</h1>
% if entry.brings_human:
<div class="human" role="note">
  <p><b>这件事不用你一个人扛。</b>现在就可以和人说，免费，不用说真名。</p>
  <p>${parent.talk('和人聊聊')}</p>
  <p>${parent.call(site.numbers['psychological'], '心理援助热线')} ${parent.call(site.numbers['police'], '报警')}</p>
</div>
% endif
% if overdue:
<p class="caution" role="note">这条内容已过了复核日期，可能有变化。做决定以前，请先${'打 ' + site.numbers['legal_aid'] + ' 或' if legal else ''}和人聊聊，问清楚。</p>
% endif
% if entry.region:
<p class="quiet">适用地区：${entry.region}</p>
% endif
<section>
<h2>回答</h2>
% for paragraph in answer:
<p>${paragraph}</p>
% endfor
% if '人工' in entry.chat_text:
<p class="quiet">“回复人工”是在聊天页里发“人工”两个字。</p>
% endif
</section>
% if steps:
<section>
<h2>${'一步一步来' if numbered else '还可以知道'}</h2>
% if numbered:
<ol>
% for step in steps:
  <li>${step}</li>
% endfor
</ol>
% else:
<ul>
% for step in steps:
  <li>${step}</li>
% endfor
</ul>
% endif
</section>
% endif
<section>
<h2>可以找谁</h2>
<ul class="calls">
% for number, name in calls:
  <li>${parent.call(number, name)}</li>
% endfor
</ul>
<p>${parent.talk('和人聊聊')}</p>
</section>
<section>
<h2>依据</h2>
<ul>
% for source in sources:
  <li>${source}</li>
% endfor
</ul>
<p class="quiet">核对日期：${checked_on}</p>
</section>
% if related:
<section>
<h2>相近的问题</h2>
${parent.entry_list(related)}
</section>
% endif
</article>
