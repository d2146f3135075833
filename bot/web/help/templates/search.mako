<%page expression_filter="h"/><%inherit file="page.mako"/>\
<nav class="where" aria-label="所在位置"><a href="/help">帮助首页</a></nav>
% if safety:
<section class="human" role="alert">
<h1>先看这里</h1>
% for line in safety:
<p>${line}</p>
% endfor
<p>${parent.talk('现在和人聊聊')}</p>
<ul class="calls">
% for number, name in site.emergency:
  <li>${parent.call(number, name)}</li>
% endfor
</ul>
<p>你在这里查找的字不会保存，也没有人看得到。想让人知道、来帮你，请点“现在和人聊聊”，或者打电话。</p>
</section>
<h2>查找结果</h2>
% elif searched:
<h1>查找结果</h1>
% else:
<h1>查找</h1>
% endif
% if care:
<div class="human" role="note">
  <p>这样的事不用你一个人扛，也不用等到撑不住。现在就可以和人说说。</p>
  <p>${parent.talk('和人聊聊')} ${parent.call(site.numbers['psychological'], '心理援助热线')}</p>
</div>
% endif
${parent.search_form(words)}
% if searched:
% if answer:
<article class="best">
<h2><a href="${site.address(answer)}">${answer.title}</a></h2>
<p>${answer.short}</p>
<p><a href="${site.address(answer)}">看完整的回答和依据</a></p>
</article>
% endif
% if others:
<section>
<h2>${'也可能是' if answer else '是不是想问这些'}</h2>
${parent.entry_list(others)}
</section>
% endif
% if not answer and not others:
<p>没有找到写好的回答。换个说法再试一次，或者直接问人：${parent.talk('和人聊聊')}</p>
% endif
% endif
