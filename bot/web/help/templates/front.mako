<%page expression_filter="h"/><%inherit file="page.mako"/>\
<h1>有什么可以帮你</h1>
<p>打工、家里、学校、网上、心情，常见的问题这里有写好的回答，每条都写明依据。免费，不用登录。</p>
${parent.search_form()}
<p class="offer">不想自己找，或者心里难受：${parent.talk('和人聊聊')}</p>
<h2>按事情找</h2>
<ul class="areas">
% for area in areas:
  <li><a href="${area.address}"><b>${area.title}</b><span>${area.hint}</span></a></li>
% endfor
</ul>
