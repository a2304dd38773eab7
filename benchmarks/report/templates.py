"""The template of the report: one HTML page without any other file, light and dark, from phone to wide screen."""

STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5c6875;--line:#e1e5ea;--accent:#2563a8;--right:#1a7f4b;
--wrong:#c2413b;--neither:#8a94a0;--warn:#fff1e8;--warnink:#9a3412;--bar:#d9e5f3;--shadow:0 1px 2px #10182012}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b2129;--ink:#e7ebf0;--soft:#9aa6b3;--line:#2c343f;
--accent:#7db4f0;--right:#4cc38a;--wrong:#f0837c;--neither:#7d8894;--warn:#3a2015;--warnink:#ffb38a;--bar:#2a3a4d;
--shadow:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:28px 20px 80px}
h1{font-size:26px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:18px;margin:40px 0 12px}
p{margin:0 0 10px;max-width:75ch}
.soft{color:var(--soft)}.small{font-size:13px}.mono{font-family:ui-monospace,Menlo,Consolas,monospace}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;box-shadow:var(--shadow)}
.warn{background:var(--warn);color:var(--warnink);border-radius:10px;padding:12px 16px;margin:16px 0;font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:18px 0 0;padding:0}
.tiles div{padding:12px 14px}.tiles dt{color:var(--soft);font-size:12.5px}
.tiles dd{margin:2px 0 0;font-size:19px;font-weight:600;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px;text-align:left;border-top:1px solid var(--line);vertical-align:middle;white-space:nowrap}
thead th{border-top:0;color:var(--soft);font-size:12.5px;font-weight:600}
tbody tr:first-child td{font-weight:600}
td.n{text-align:right}
.meter{display:flex;align-items:center;gap:10px;min-width:210px}
.meter span{width:3.4em;text-align:right}
.track{position:relative;flex:1;height:10px;border-radius:5px;background:var(--bar);overflow:hidden;min-width:90px}
.track i{position:absolute;inset:0 auto 0 0;background:var(--accent);border-radius:5px}
.track b{position:absolute;top:0;bottom:0;background:var(--accent);opacity:.4}
.strip{background-repeat:no-repeat;background-size:auto 100%;max-width:100%;border-radius:4px;background-color:#8888}
.queries{display:grid;grid-template-columns:minmax(0,1fr);gap:14px}
.query{padding:14px 16px;content-visibility:auto;contain-intrinsic-size:auto 420px}
.query header{display:flex;flex-wrap:wrap;gap:2px 14px;align-items:baseline;margin-bottom:8px}
.query header b{overflow-wrap:anywhere}
.query>.strip{height:64px}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:4px 24px;margin-top:10px}
.columns>div{min-width:0}
.columns h4{margin:6px 0 0;font-size:13px;color:var(--soft);font-weight:600}
ol{list-style:none;margin:0;padding:0}
li{display:grid;grid-template-columns:2.1em minmax(0,1fr) auto;gap:1px 8px;align-items:center;padding:6px 0;
border-top:1px solid var(--line)}
li .strip{grid-column:2;height:36px}
li .id{grid-column:2;overflow-wrap:anywhere;font-size:12.5px;line-height:1.3}
li .rank{grid-row:1/3;text-align:right;font-size:13px}
li .score{grid-row:1/3;grid-column:3;text-align:right;font-variant-numeric:tabular-nums;font-size:13px}
.right{color:var(--right)}.wrong{color:var(--wrong)}.neither{color:var(--neither)}
.tag{font-size:12px;padding:1px 8px;border-radius:99px;border:1px solid var(--line);color:var(--soft)}
.controls{display:none;gap:10px;flex-wrap:wrap;margin:0 0 12px}
.controls input,.controls select{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:6px 10px;min-width:0}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:14px}
.map{padding:14px 16px;min-width:0}
.map figure{margin:8px 0 0;position:relative;line-height:0}
.map img,.map svg.over{width:100%;display:block;image-rendering:pixelated}
.map img{min-height:160px;border-radius:4px;background:var(--line)}
.map svg.over{position:absolute;inset:0;height:100%}
.legend{display:flex;align-items:center;gap:8px;flex-wrap:wrap}
.ramp{width:120px;height:10px;border-radius:5px}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:14px}
.pairs figure{margin:0;padding:12px}.pairs img{width:100%;image-rendering:pixelated;border-radius:4px;display:block}
.pairs figcaption{font-size:12.5px;margin-top:6px;overflow-wrap:anywhere}
footer{margin-top:48px;color:var(--soft);font-size:12.5px;overflow-wrap:anywhere}
@media(max-width:560px){main{padding:18px 12px 60px}h1{font-size:22px}.query>.strip{height:44px}
li .strip{height:28px}th,td{padding:6px 8px}.meter{min-width:150px}}
"""

SCRIPT = """
const bar=document.querySelector('.controls');
if(bar){bar.style.display='flex';const list=document.querySelector('.queries'),cards=[...list.children];
const [find,sort]=bar.children;
const show=()=>{const t=find.value.toLowerCase();for(const c of cards)c.hidden=!c.dataset.text.includes(t)};
find.oninput=show;sort.onchange=()=>{const k=sort.value;
cards.sort((a,b)=>k=='ap'?a.dataset.ap-b.dataset.ap:a.dataset.text<b.dataset.text?-1:1);list.append(...cards)}}
for(const m of document.querySelectorAll('.map')){const d=JSON.parse(m.querySelector('script').textContent);
const raw=atob(d.values),say=m.querySelector('.say'),f=m.querySelector('figure');const right=new Set(d.right);
f.onpointermove=e=>{const r=f.getBoundingClientRect(),c=d.videos.length;
const j=Math.min(c-1,Math.max(0,Math.floor((e.clientX-r.left)/r.width*c)));
const i=Math.min(d.queries.length-1,Math.max(0,Math.floor((e.clientY-r.top)/r.height*d.queries.length)));
const v=raw.charCodeAt(i*c+j);say.textContent=d.queries[i]+'  \\u2192  '+d.videos[j]+':  '+
(v?(d.low+(v-1)/254*(d.high-d.low)).toFixed(3):'no score')+(right.has(i*c+j)?'  \\u2713 right':'')}}
"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{ title }}</title>
<style>{{ style|safe }}{% for strip in strips %}
.s{{ loop.index0 }}{background-image:url(data:image/jpeg;base64,{{ strip.data }});aspect-ratio:{{ strip.ratio }}}
{%- endfor %}</style></head><body><main>
{% macro film(id) %}<div class="strip s{{ number[id] }}" role="img" aria-label="frames of {{ id }}"></div>{% endmacro %}
{% macro lines(matches) %}{% for m in matches %}<li>
<span class="rank {{ m.mark }}" title="{{ says[m.mark] }}">{{ symbol[m.mark] }}{{ m.rank or '' }}</span>
{% if m.video_id in number %}{{ film(m.video_id) }}{% endif %}<span class="id {{ m.mark }}">{{ m.video_id }}</span>
<span class="score">{{ '%.3f'|format(m.score) }}</span></li>{% endfor %}{% endmacro %}
<h1>{{ title }}</h1>
<p class="soft">{{ lead }}</p>
{% for name in untrained %}<div class="warn">{{ name }} ran with untrained (random) weights: its numbers say nothing
about the method.</div>{% endfor %}
<dl class="tiles">{% for key, value in tiles %}<div class="card"><dt>{{ key }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl>
<h2>Mean average precision</h2>
<div class="card scroll"><table><thead><tr><th>asked about</th><th>queries</th>{% for name in methods %}<th>{{ name }}
</th>{% endfor %}</tr></thead><tbody>{% for row in table %}<tr><td>{{ row.name }}</td><td class="n">{{ row.queries }}
</td>{% for cell in row.cells %}<td>{% if cell %}<div class="meter" title="{{ cell.title }}"><div class="track">
<i style="width:{{ cell.low }}%"></i><b style="left:{{ cell.low }}%;width:{{ cell.width }}%"></b></div>
<span>{{ cell.text }}</span></div>{% else %}<span class="soft">not asked</span>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="small soft" style="margin-top:8px">{{ reading }}</p>
{% if maps %}<h2>All queries against all videos</h2><div class="maps">{% for map in maps %}
<div class="card map"><div class="legend small"><b>{{ map.name }}</b><span class="soft">{{ map.low }}</span>
<img class="ramp" style="width:120px;min-height:0" src="{{ map.ramp }}" alt="">
<span class="soft">{{ map.high }}</span><span class="soft">outlined: right pairs</span></div>
<figure><img src="{{ map.image }}" alt="scores, one row a query" style="aspect-ratio:{{ map.ratio }}" decoding="async">
<svg class="over" viewBox="0 0 {{ map.width }} {{ map.height }}" preserveAspectRatio="none" aria-hidden="true">
<path d="{{ map.path }}" fill="none" stroke="#fff" stroke-width="1"
vector-effect="non-scaling-stroke"/></svg></figure>
<div class="say small mono soft" style="margin-top:8px;min-height:1.5em;overflow-wrap:anywhere">{{ map.caption }}</div>
<script type="application/json">{{ map.json|safe }}</script></div>{% endfor %}</div>{% endif %}
{% if pairs %}<h2>Where two videos agree</h2><div class="pairs">{% for pair in pairs %}<figure class="card">
<img loading="lazy" src="{{ pair.image }}" alt="window similarities"><figcaption><b>{{ pair.query }}</b> (down)<br>
{{ pair.video }} (across)</figcaption></figure>{% endfor %}</div>{% endif %}
<h2>Query by query</h2>
<p class="small soft">{{ listed }} <span class="right">✓ right</span> · <span class="wrong">✗ wrong</span> ·
<span class="neither">– neither right nor wrong</span></p>
<div class="controls"><input type="search" placeholder="find a video or edit" aria-label="find">
<select aria-label="order"><option value="ap">hardest first</option><option value="name">by name</option></select></div>
<div class="queries">{% for q in queries %}<section class="card query" data-ap="{{ q.ap }}" data-text="{{ q.text }}">
<header><b>{{ q.id }}</b>{% for tag in q.tags %}<span class="tag">{{ tag }}</span>{% endfor %}</header>
{% if q.id in number %}{{ film(q.id) }}{% endif %}<div class="columns">{% for column in q.columns %}<div>
<h4>{{ column.name }} · AP {{ '%.3f'|format(column.results.ap) }}</h4><ol>{{ lines(column.results.best) }}
{% if column.results.missed %}{{ lines(column.results.missed) }}{% endif %}</ol>
{% if column.results.unscored %}<p class="small soft">{{ column.results.unscored }} right without a score</p>{% endif %}
</div>{% endfor %}</div></section>{% endfor %}</div>
<h2>Coverage</h2><div class="card scroll"><table><thead><tr><th></th><th>queries</th><th>right pairs</th><th>videos</th>
<th>pairs</th></tr></thead><tbody>{% for row in coverage %}<tr><td>{{ row.name }}</td>{% for part in row.parts %}
<td>{{ part }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% for line in missing %}<p class="small soft" style="margin-top:8px">{{ line }}</p>{% endfor %}
{% if notes %}<h2>Notes</h2>{% for note in notes %}<p>{{ note }}</p>{% endfor %}{% endif %}
<footer>{% for line in provenance %}<div>{{ line }}</div>{% endfor %}</footer>
</main><script>{{ script|safe }}</script></body></html>
"""
