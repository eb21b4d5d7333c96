"""The look of report.html: one style sheet, inline, light and dark. Used by html_report.py."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f7f8fa;--fg:#1c2127;--soft:#5d6772;--rule:#e3e6ea;
--line:#2563eb;--other:#c2410c;--learned:#dbe7ff;--warn:#fff4e0}
@media(prefers-color-scheme:dark){:root{--bg:#12161b;--panel:#191f26;--fg:#e4e8ec;--soft:#98a3af;--rule:#2b323b;
--line:#7aa9ff;--other:#fb9a5b;--learned:#223a66;--warn:#3a2d14}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:880px;margin:0 auto;padding:40px 20px 72px}
h1{font-size:24px;line-height:1.25;letter-spacing:-.01em;margin:0 0 20px;overflow-wrap:anywhere}
h2{font-size:17px;margin:44px 0 12px;padding-bottom:6px;border-bottom:1px solid var(--rule)}
h3{font-size:14px;margin:26px 0 8px}
p{margin:8px 0}
.soft,figcaption,th,dt{color:var(--soft)}
.soft,figcaption{font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:1px;background:var(--rule);
border:1px solid var(--rule);border-radius:8px;overflow:hidden;margin:0}
.tiles div{background:var(--bg);padding:12px 16px}
.tiles dt{font-size:12px}
.tiles dd{margin:0;font-size:21px;line-height:1.35;font-variant-numeric:tabular-nums}
.tiles small{display:block;font-size:12px;color:var(--soft)}
figure{margin:16px 0}
.scroll{overflow-x:auto}
svg{display:block;width:100%;min-width:560px;height:auto;font:12px system-ui,sans-serif}
figcaption{margin-top:4px}
.key{display:inline-block;width:18px;height:0;border-top:2px solid var(--line);vertical-align:middle;margin:0 5px 0 14px}
.key:first-child{margin-left:0}
.key.raw{opacity:.4}
.key.held-out{border-color:var(--other)}
.key.mark{height:12px;border:0;background:var(--learned);border-radius:3px}
.grid path{stroke:var(--rule);fill:none}
.grid .axis{stroke:var(--soft)}
.grid text{fill:var(--soft);font-variant-numeric:tabular-nums}
.line{fill:none;stroke:var(--line);stroke-width:2;stroke-linejoin:round}
.line.raw{stroke-width:1;opacity:.4}
.line.held-out{stroke:var(--other);stroke-dasharray:3 3;stroke-width:1.5}
circle{fill:var(--line)}
circle.held-out{fill:var(--other);stroke:var(--bg);stroke-width:1.5}
.column rect{fill:transparent}
.column path{stroke:var(--soft);stroke-opacity:0}
.column:hover path{stroke-opacity:.7}
.bar{fill:var(--line);fill-opacity:.8}
.bar.cut{fill:var(--other)}
.column:hover .bar{fill-opacity:1}
.limit path{stroke:var(--other);stroke-dasharray:4 3}
.limit text{fill:var(--other)}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:6px 14px 6px 0;border-bottom:1px solid var(--rule)}
th{font-weight:500;font-size:12.5px}
tbody th{width:32%;font-size:14px;font-weight:400}
td{overflow-wrap:anywhere}
.number{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
code,pre,.lines{font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
details{border-bottom:1px solid var(--rule);padding:8px 0}
summary{cursor:pointer}
summary b{font-weight:600;font-variant-numeric:tabular-nums}
.lines{margin:8px 0 4px;padding-left:20px;overflow-wrap:anywhere;color:var(--soft)}
.note{background:var(--warn);border-radius:6px;padding:10px 14px}
pre{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:12px 14px;margin:6px 0 0;
white-space:pre-wrap;overflow-wrap:anywhere;max-height:420px;overflow-y:auto}
mark{background:var(--learned);color:inherit;border-radius:3px;box-decoration-break:clone;-webkit-box-decoration-break:clone}
@media(max-width:560px){main{padding-top:24px}.tiles{grid-template-columns:1fr 1fr}tbody th{width:42%}}
@media print{pre{max-height:none}details>*{display:block}}
"""
