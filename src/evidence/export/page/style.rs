//! How the page looks: on a light and a dark screen, and on paper.

pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2128;--dim:#59636e;--line:#d5dbe1;--soft:#f5f7f9;
--proven:#1f883d;--passed:#4f8fc0;--unproven:#c99100;--failed:#cf222e;--missed:#8250df;--skipped:#9aa4ae;--none:#e4e8ec;--mark:#fff}
@media(prefers-color-scheme:dark){:root{--bg:#10151b;--fg:#e4e9ee;--dim:#98a3ae;--line:#313a44;--soft:#181f27;
--proven:#3fb950;--passed:#6cb0e6;--unproven:#d9a520;--failed:#f4605a;--missed:#a988f0;--skipped:#6c7681;--none:#28313a;--mark:#10151b}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}
main{max-width:1200px;margin:0 auto;padding:40px 28px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:19px;margin:40px 0 6px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:22px 0 4px}
p{margin:6px 0 10px;max-width:78ch}
.dim,.note{color:var(--dim)}.note{font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:12px;margin:22px 0 8px}
.tile{border:1px solid var(--line);border-radius:8px;padding:12px 14px;background:var(--soft);border-left:4px solid var(--line)}
.tile b{display:block;font-size:22px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{font-size:13px;color:var(--dim)}
.tile.good{border-left-color:var(--proven)}.tile.bad{border-left-color:var(--failed)}.tile.warn{border-left-color:var(--unproven)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;margin:10px 0 4px;font-variant-numeric:tabular-nums}
th{font-weight:600;text-align:left;color:var(--dim);font-size:12px;vertical-align:bottom;border-bottom:1px solid var(--line);padding:4px 8px}
td{padding:4px 7px;border-bottom:1px solid var(--line);vertical-align:middle}td.note{font-size:12px}
th.n,td.n{text-align:right;white-space:nowrap}
td.zero{color:var(--dim);opacity:.55}
td.name{font-weight:600;overflow-wrap:break-word}
td.words{overflow-wrap:break-word}td.at{white-space:nowrap}td code{white-space:nowrap}
tr.group td{border-top:1px solid var(--dim)}
tbody.keep{break-inside:avoid}
tfoot td,tr.sum td{font-weight:600}
svg{display:block}svg.strip{max-width:100%}
svg .proven{fill:var(--proven)}svg .passed{fill:var(--passed)}svg .unproven{fill:var(--unproven)}svg .failed{fill:var(--failed)}
svg .missed{fill:var(--missed)}svg .skipped{fill:var(--skipped)}svg .none{fill:var(--none)}
svg .mark{stroke:var(--mark);stroke-width:1.6;fill:none;stroke-linecap:round}
svg .limit{stroke:var(--fg);stroke-width:1;stroke-dasharray:3 2;fill:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:12.5px;color:var(--dim);margin:8px 0}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.legend .proven{background:var(--proven)}.legend .passed{background:var(--passed)}.legend .unproven{background:var(--unproven)}
.legend .failed{background:var(--failed)}.legend .missed{background:var(--missed)}.legend .skipped{background:var(--skipped)}.legend .none{background:var(--none)}
.t-failed,.t-critical{color:var(--failed);font-weight:600}.t-unproven,.t-warning{color:var(--unproven);font-weight:600}
.t-missed{color:var(--missed);font-weight:600}.t-proven{color:var(--proven);font-weight:600}
code,pre{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
code{overflow-wrap:anywhere}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:10px 12px;overflow-x:auto;white-space:pre-wrap}
li{margin:3px 0;max-width:78ch}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;margin:12px 0;font-size:13.5px}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
@page{size:A4 landscape;margin:12mm 12mm}
@media print{
:root{color-scheme:light;--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--soft:#fff;--proven:#1f883d;--passed:#4f8fc0;--unproven:#c99100;--failed:#cf222e;--missed:#8250df;--skipped:#9aa4ae;--none:#e4e8ec;--mark:#fff}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:10pt}main{max-width:none;padding:0}
h1{font-size:20pt}h2{font-size:13pt;break-after:avoid;margin-top:20px}h3{break-after:avoid}
table{font-size:8.6pt}th{font-size:7.6pt}td,th{padding:2.5px 5px}td.note{font-size:7.6pt}td code,dd code{font-size:8pt}dl{font-size:9pt}
tr,.tile,pre,.legend{break-inside:avoid}thead{display:table-header-group}
.wide{overflow:visible}.tiles{grid-template-columns:repeat(3,1fr);gap:8px}.tile b{font-size:14pt}
svg.bar{width:110px}svg.spark{width:100px}
h2{border-top:0;padding-top:0}
pre{white-space:pre-wrap}
}
";
