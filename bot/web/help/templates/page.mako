<%page expression_filter="h"/>\
<%def name="talk(words)"><a class="strong" href="${site.talk}">${words}</a></%def>\
<%def name="call(number, name)"><a class="call" href="tel:${number}"><b>${number}</b> ${name}</a></%def>\
<%def name="search_form(words='')">
<form class="search" method="post" action="/help/search" role="search">
  <label for="q">想问什么</label>
  <div class="line">
    <input id="q" name="q" type="search" maxlength="${site.most}" autocomplete="off" value="${words}" placeholder="比如：打工不给工资" enterkeyhint="search">
    <button class="strong" type="submit">找一找</button>
  </div>
  <div id="near" aria-live="polite"></div>
</form>
</%def>\
<%def name="entry_list(entries)">
<ul class="list">
% for entry in entries:
  <li><a href="${site.address(entry)}">${entry.title}</a></li>
% endfor
</ul>
</%def>\
<!doctype html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="format-detection" content="telephone=no">
<meta name="color-scheme" content="light dark">
% if not indexed:
<meta name="robots" content="noindex">
% endif
<title>${title} · ${site.short_name}</title>
% if summary:
<meta name="description" content="${summary}">
% endif
% if canonical:
<link rel="canonical" href="${canonical}">
% endif
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${site.style}">
<link rel="stylesheet" href="${site.desk_style}">
<script src="${site.script}" defer></script>
</head>
<body>
<a class="skip" href="#main">跳到正文</a>
<header>
  <div class="top">
    <a class="home" href="/help">${site.name}</a>
    <a id="leave" class="strong" href="${site.neutral_url}" rel="noreferrer">快速离开</a>
  </div>
  <nav class="numbers" aria-label="紧急电话">\
% for number, name in site.emergency:
${call(number, name)} \
% endfor
</nav>
</header>
<main id="main" tabindex="-1">
${next.body()}\
</main>
<footer>
  <p>${talk('和人聊聊')}</p>
  <p>不方便打字，就打 ${call(site.desk_number, site.desk_title)}（${site.hours}）。</p>
  <p class="quiet">这里的回答由人写好，注明依据和核对日期，不能代替律师、医生对你这件事的意见。拿不准，就和人聊聊。</p>
  <p class="quiet"><a href="/help">帮助首页</a> · <a href="/help/search">查找</a></p>
</footer>
</body>
</html>
