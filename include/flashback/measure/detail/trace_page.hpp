/// \file The page that shows a trace: what stands in front of its data. The script behind it is in trace_script.hpp.
#pragma once

#include "flashback/core/config.hpp"

#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

// The policy in its head forbids the page to load anything. All text is put in by the script, as text.
inline constexpr std::string_view trace_page_front = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>What was reused - flashback</title>
<style>
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --panel: #ffffff; --ink: #1d1f24; --soft: #5b606b; --line: #d9d6cf; --focus: #1a56c4;
  --reused: #d3e2f4; --evaluated: #c2460a; --passage: #8fc07a; --marker: #16181d; --aside: #135d66; --written: #f0a35e;
  --on-reused: #9db8d8; --on-evaluated: #8f3206; --on-passage: #4f8a39; --on-marker: #16181d; --on-aside: #9fe0e6; --on-written: #c2460a;
  --retrieve: #6b4fb3; --prefill: #c2460a; --decode: #e8b04a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --panel: #1c1f25; --ink: #eceae5; --soft: #a5aab5; --line: #363a43; --focus: #8ab4ff;
    --reused: #33475f; --evaluated: #ff8a4a; --passage: #3d6e2e; --marker: #f4f2ee; --aside: #3a9ca6; --written: #a95a22;
    --on-reused: #4f6a8b; --on-evaluated: #ffd0b3; --on-passage: #a5d991; --on-marker: #f4f2ee; --on-aside: #1d5960; --on-written: #ff8a4a;
    --retrieve: #a18be6; --prefill: #ff8a4a; --decode: #e8b04a;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 20px 24px 48px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 2px; letter-spacing: -0.01em; }
h2 { font-size: 16px; margin: 0 0 8px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 78ch; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; margin-top: 14px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px 20px; margin: 0; }
.numbers div { min-width: 0; }
.numbers dt { color: var(--soft); font-size: 13px; }
.numbers dd { margin: 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.numbers dd small { font-size: 13px; font-weight: 400; color: var(--soft); letter-spacing: 0; line-height: 1.3; display: block; }
.run { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 12px; font-size: 13px; color: var(--soft); }
.run div { display: flex; gap: 6px; min-width: 0; }
.run dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; min-width: 0; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 4px; }
.two { display: grid; grid-template-columns: 3fr 2fr; gap: 14px; }
.two .panel { min-width: 0; }
@media (max-width: 860px) { .two { grid-template-columns: 1fr; } }
canvas { display: block; width: 100%; }
#chart { height: 210px; }
#text { height: 210px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: inherit; font-size: 14px; }
#text .prompt { color: var(--soft); }
#text mark { background: var(--written); color: var(--ink); border-radius: 3px; }
.controls { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; }
.controls input { flex: 1 1 280px; accent-color: var(--evaluated); height: 28px; margin: 0; }
.controls output { flex: 0 1 430px; font-variant-numeric: tabular-nums; font-size: 14px; color: var(--soft); }
button { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--line); border-radius: 7px; padding: 4px 14px;
  min-width: 74px; cursor: pointer; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 0 0 10px; padding: 0; list-style: none; font-size: 13px; }
.legend li { display: flex; gap: 7px; align-items: center; }
.legend canvas { width: 34px; height: 16px; border-radius: 3px; }
#strips { position: relative; max-height: 72vh; overflow: auto; border-top: 1px solid var(--line); }
#rows { position: relative; }
.row { position: absolute; left: 0; right: 0; display: grid; grid-template-columns: 240px 1fr 216px; gap: 16px; padding: 8px 4px;
  border-bottom: 1px solid var(--line); overflow: hidden; }
.row.now { background: color-mix(in srgb, var(--decode) 12%, transparent); }
.row div { min-width: 0; }
.what, .cost { font-size: 13px; line-height: 1.35; color: var(--soft); }
.what b, .cost b { color: var(--ink); font-variant-numeric: tabular-nums; }
.line { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.phases { display: flex; height: 6px; margin: 5px 0 3px; border-radius: 3px; overflow: hidden; background: var(--line); }
.phases i { display: block; }
@media (max-width: 860px) { .row { grid-template-columns: 1fr 150px; } .row .strip { grid-column: 1 / -1; grid-row: 2; } }
#tip { position: fixed; z-index: 3; max-width: 440px; padding: 7px 10px; border-radius: 8px; background: var(--ink); color: var(--page);
  font-size: 13px; pointer-events: none; white-space: pre-wrap; overflow-wrap: anywhere; }
#tip b { background: var(--evaluated); color: #fff; border-radius: 3px; padding: 0 1px; }
@media (prefers-color-scheme: dark) { #tip b { color: #14161a; } }
.scroll { overflow: auto; max-height: 70vh; margin-top: 10px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th.words, td.words { text-align: left; min-width: 220px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
</style>
</head>
<body>
<main>
<h1>What was reused</h1>
<p id="about"></p>
<dl class="run" id="run"></dl>
<dl class="numbers panel" id="numbers"></dl>
<div class="panel controls" role="group" aria-label="Replay">
  <button id="play" type="button" aria-pressed="false">Replay</button>
  <label class="unseen" for="step">Step of the generation</label>
  <input id="step" type="range" min="0" value="0">
  <output id="now" for="step"></output>
</div>
<div class="two">
  <section class="panel"><h2>Tokens evaluated so far</h2><canvas id="chart" role="img"></canvas></section>
  <section class="panel"><h2>The text so far</h2><div id="text" tabindex="0" role="region" aria-label="The text so far"></div></section>
</div>
<section class="panel">
  <h2>What the model read, plan by plan</h2>
  <ul class="legend" id="legend"></ul>
  <div id="strips" tabindex="0" role="application" aria-describedby="keys" aria-label="Strips of tokens">
    <div id="rows"></div>
  </div>
  <p id="keys" style="margin: 10px 0 0">A row is a plan, and a strip is all that the model then read; the triangle is the cut, in front of which all was kept.
    Point at a strip to see a token. With the keyboard: up and down change the row, left and right the token, Page Up and Page Down
    move by 50 tokens, Home and End to the ends.</p>
</section>
<details class="panel" id="table"><summary>The same as a table</summary><div class="scroll" tabindex="0" role="region" aria-label="Table of plans"></div></details>
</main>
<div id="tip" hidden></div>
<div id="live" class="unseen" aria-live="polite" role="status"></div>
<noscript><p>This page draws its picture with a script, and scripts are switched off.</p></noscript>
<script type="application/json" id="trace">)page";

}  // namespace flashback::inline FLASHBACK_ISA::detail
