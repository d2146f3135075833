<%page expression_filter="h"/><%inherit file="page.mako"/>\
<nav class="where" aria-label="所在位置"><a href="/help">帮助首页</a></nav>
<h1>${area.title}</h1>
${parent.search_form()}
% for group in area.groups:
<section>
<h2>${group.name}</h2>
${parent.entry_list(group.entries)}
</section>
% endfor
