"""The template of the evaluation page, in the style of the report's."""

STYLE = """
:root{--r0:#2563a8;--r1:#d97a1e;--r2:#1a7f4b;--r3:#a83279;--r4:#7a6210;--r5:#5b5fc7;--r6:#c2413b;--r7:#3f7d8c}
@media(prefers-color-scheme:dark){:root{--r0:#7db4f0;--r1:#f2a65a;--r2:#4cc38a;--r3:#e38ac2;--r4:#d0b44c;--r5:#a5a8f5;
--r6:#f0837c;--r7:#7cc0cf}}
.r0{--c:var(--r0)}.r1{--c:var(--r1)}.r2{--c:var(--r2)}.r3{--c:var(--r3)}.r4{--c:var(--r4)}.r5{--c:var(--r5)}
.r6{--c:var(--r6)}.r7{--c:var(--r7)}
.chart{width:100%;display:block;font-size:11px}.chart text{fill:var(--soft)}
.chart .gridline{stroke:var(--line);fill:none}
.chart .line{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}
.chart .dashed .line{stroke-dasharray:5 4}
.chart .could{stroke:var(--c);stroke-width:11;opacity:.18}
.chart circle{fill:var(--c)}
.chart .dots{stroke:var(--c);stroke-width:5;stroke-linecap:round;opacity:.75}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:14px}
.charts>div,.wide{padding:14px 16px;min-width:0}
.charts h3,.wide h3{margin:0 0 8px;font-size:14px}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;margin:14px 0 0;padding:0;position:sticky;top:0;background:var(--bg);
z-index:1;padding:8px 0}
.key span{display:flex;align-items:center;gap:7px;overflow-wrap:anywhere}
.key i,td i.dot{width:12px;height:12px;border-radius:6px;background:var(--c);flex:none;display:inline-block}
.key .dashed i{background:repeating-linear-gradient(90deg,var(--c) 0 3px,transparent 3px 6px)}
.numbers td,.numbers th{text-align:right}.numbers td:first-child,.numbers th:first-child{text-align:left}
.numbers tbody tr:first-child td{font-weight:inherit}
.numbers tbody tr td.task{font-weight:600}
.wide+.wide{margin-top:14px}
.wide figure{margin:0;cursor:crosshair}
details summary{cursor:pointer;color:var(--soft);font-size:13px;margin-top:8px}
details .scroll{max-height:420px;overflow:auto;margin-top:8px}
.mono td{font-size:12.5px}
"""

SCRIPT = """
for(const w of document.querySelectorAll('.wide')){const d=JSON.parse(w.querySelector('script').textContent);
const say=w.querySelector('.say'),f=w.querySelector('figure');
const names=JSON.parse(document.querySelector('#runs').textContent);
f.onpointermove=e=>{const r=f.getBoundingClientRect(),x=(e.clientX-r.left)/r.width*940;
const i=Math.min(d.queries.length-1,Math.max(0,Math.floor((x-34)/896*d.queries.length)));
say.textContent=d.queries[i]+':  '+d.ap.map((a,k)=>(names.length>1?names[k]+' ':'AP ')+
(a[i]===null?'none':a[i].toFixed(4))).join('   ')}}
"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{ title }}</title>
<style>{{ style|safe }}</style></head><body><main>
<h1>{{ title }}</h1><p class="soft">{{ lead }}</p>
{% for line in warnings %}<div class="warn">{{ line }}</div>{% endfor %}
<div class="key">{% for run in runs %}<span class="{{ run.colour }}"><i></i><b>{{ run.name }}</b>
<span class="soft small">{{ run.made_by }}</span></span>{% endfor %}</div>
<h2>Mean average precision</h2>
<p class="small soft">{{ reading }}</p>
<div class="charts">{% for task in tasks %}<div class="card"><h3>{{ task.name }}</h3>{{ task.means|safe }}</div>
{% endfor %}</div>
{% for block in blocks %}<h2>{{ block.title }}</h2>
{% if block.text %}<p class="small soft">{{ block.text }}</p>{% endif %}
<div class="card scroll"><table class="numbers"><thead><tr>{% for cell in block.header %}<th>{{ cell }}</th>{% endfor %}
</tr></thead><tbody>{% for row in block.rows %}<tr>{% for cell in row.cells %}<td
{%- if loop.first %} class="task"{% endif %}>
{%- if loop.index0 == 1 and row.colour %}<i class="dot {{ row.colour }}"></i> {% endif %}{{ cell }}</td>
{%- endfor %}</tr>
{% endfor %}</tbody></table></div>{% endfor %}
<h2>Precision and recall</h2>
<p class="small soft">The highest precision at that recall or more, at recall 0, 0.05 ... 1, mean over queries.
{{ on }}</p>
<div class="charts">{% for task in tasks %}<div class="card"><h3>{{ task.name }}</h3>{{ task.curves|safe }}</div>
{% endfor %}</div>
<h2>Average precision of every query</h2>{% if on %}<p class="small soft">{{ on }}</p>{% endif %}
{% for task in tasks %}{% if task.queries %}<div class="card wide"><h3>{{ task.name }}</h3>
<figure>{{ task.queries|safe }}</figure>
<div class="say small mono soft" style="min-height:1.5em;overflow-wrap:anywhere">Point at a query.</div>
<script type="application/json">{{ task.json|safe }}</script>
<details><summary>{{ task.listed }}</summary><div class="scroll"><table class="numbers mono"><thead><tr><th>query</th>
<th>right</th><th>found</th>{% for run in runs %}<th>{{ run.name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in task.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div></details></div>{% endif %}{% endfor %}
{% if left_out %}<p class="small soft">{{ left_out }}</p>{% endif %}
<h2>Coverage</h2><div class="card scroll"><table><thead><tr><th></th><th>queries</th><th>right pairs</th><th>videos</th>
<th>pairs</th></tr></thead><tbody>{% for row in coverage %}<tr><td>{{ row.name }}</td>{% for cell in row.parts %}
<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% for line in missing %}<p class="small soft" style="margin-top:8px">{{ line }}</p>{% endfor %}
{% if notes %}<h2>Notes</h2>{% for note in notes %}<p>{{ note }}</p>{% endfor %}{% endif %}
<footer>{% for line in provenance %}<div>{{ line }}</div>{% endfor %}</footer>
<script type="application/json" id="runs">{{ names|safe }}</script>
</main><script>{{ script|safe }}</script></body></html>
"""
