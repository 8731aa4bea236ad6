/// \file The script of the page that shows a trace. Its data, the JSON of reuse_trace_data, stands in front of it.
#pragma once

#include "flashback/core/config.hpp"

#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view trace_page_script = R"page(</script>
<script>
'use strict';
const trace = JSON.parse(document.getElementById('trace').textContent);
const plans = trace.plans;
const $ = id => document.getElementById(id);
const count = n => n.toLocaleString('en');
const ms = s => s >= 1 ? s.toFixed(2) + ' s' : s >= 1e-3 ? (1e3 * s).toFixed(s < 0.1 ? 1 : 0) + ' ms' : (1e6 * s).toFixed(0) + ' \u00b5s';
const plural = (n, word) => count(n) + ' ' + word + (n === 1 ? '' : 's');
const quiet = matchMedia('(prefers-reduced-motion: reduce)');

/* Text as it is, but for what a reader could not see: control characters and those that change the direction of writing. */
const visible = text => text.replace(/\n/g, '\u23ce').replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g,
  c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
const textOf = t => trace.pieces[trace.tokens[t]];
const shown = t => visible(textOf(t)) || '<' + trace.ids[trace.tokens[t]] + '>';

function element(kind, attributes, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* Steps of the replay: a plan is one, and each token that was written after it. */
const first = [];
let steps = 0;
for (const plan of plans) { first.push(steps); steps += 1 + plan.written[1]; }
const last = Math.max(0, steps - 1);
function placeOf(step) {
  let low = 0, high = plans.length - 1;
  while (low < high) { const middle = (low + high + 1) >> 1; if (first[middle] <= step) low = middle; else high = middle - 1; }
  return {row: low, written: step - (first[low] || 0)};
}

/* Sums over all plans before a row. */
const sums = [{evaluated: 0, reused: 0, requested: 0, discarded: 0, prepend: 0, recompute: 0, retrievals: 0, retrieve: 0, prefill: 0, decode: 0}];
for (const p of plans) {
  const s = {...sums[sums.length - 1]};
  for (const name of ['evaluated', 'reused', 'requested', 'discarded']) s[name] += p.counts[name] + p.steps[name];
  s.prepend += p.prepend + p.steps.evaluated;
  s.recompute += p.recompute + p.steps.evaluated;
  s.retrievals += p.retrieval === null ? 0 : 1;
  for (const name of ['retrieve', 'prefill', 'decode']) s[name] += p.seconds[name] + p.unfinished[name];
  sums.push(s);
}
function sumsAt(step) {
  if (!plans.length) return sums[0];
  const {row, written} = placeOf(step), p = plans[row], s = {...sums[row]};
  const part = written >= p.written[1] ? 1 : 0;
  const single = part ? p.steps.evaluated : Math.min(p.steps.evaluated, Math.max(0, written - 1) * p.contexts.length);
  for (const name of ['evaluated', 'reused', 'requested', 'discarded']) s[name] += p.counts[name];
  s.evaluated += single; s.requested += part ? p.steps.requested : single; s.reused += part * p.steps.reused; s.discarded += part * p.steps.discarded;
  s.prepend += p.prepend + single; s.recompute += p.recompute + single;
  s.retrievals += p.retrieval === null ? 0 : 1;
  for (const name of ['retrieve', 'prefill']) s[name] += p.seconds[name] + part * p.unfinished[name];
  s.decode += p.written[1] ? p.seconds.decode * written / p.written[1] : p.seconds.decode;
  return s;
}

/* Colours and patterns: kinds differ in lightness and in what is drawn on them. */
const colours = new Map(), patterns = new Map();  /* a strip asks for them hundreds of times */
function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim());
  return colours.get(name);
}
function pattern(context, name) {
  if (patterns.has(name)) return patterns.get(name);
  const size = 8, tile = element('canvas', {width: size, height: size}), c = tile.getContext('2d');
  c.fillStyle = colour(name); c.fillRect(0, 0, size, size);
  c.strokeStyle = c.fillStyle = colour('on-' + name); c.lineWidth = 1.4;
  const lines = {evaluated: [[0, 8, 8, 0], [-2, 2, 2, -2], [6, 10, 10, 6]], aside: [[2, 0, 2, 8], [6, 0, 6, 8]], written: [[0, 0, 8, 8], [-2, 6, 2, 10], [6, -2, 10, 2]]}[name] || [];
  for (const [a, b, x, y] of lines) { c.beginPath(); c.moveTo(a, b); c.lineTo(x, y); c.stroke(); }
  if (name === 'passage') for (const [x, y] of [[2, 2], [6, 6]]) { c.beginPath(); c.arc(x, y, 1.2, 0, 7); c.fill(); }
  patterns.set(name, context.createPattern(tile, 'repeat'));
  return patterns.get(name);
}
/* A canvas of as many pixels as the screen has. */
function sized(canvas, height) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = height + 'px';
  canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
  const c = canvas.getContext('2d');
  c.scale(scale, scale); c.clearRect(0, 0, width, height);
  return [c, width];
}

/* A token of a strip. `at`: a position, or of a passage beside the text its place in the block. */
const kinds = ['head', 'text', 'passage', 'marker', 'other'];
function find(spans, at) {
  for (const [kind, begin, n] of spans) { if (at < n) return {kind: kinds[kind], token: begin + at}; at -= n; }
  return null;
}
const sizeOf = spans => spans.reduce((all, span) => all + span[2], 0);
/* How many of the tokens that were written after a plan are there at the step of the slider, and how long a strip is then. */
function writtenOf(row) { const {row: newest, written} = placeOf(step); return row < newest ? plans[row].written[1] : row === newest ? written : 0; }
function lengthOf(row, context, aside) { const c = plans[row].contexts[context]; return aside ? sizeOf(c.beside) : c.size + writtenOf(row); }
function tokenAt(row, context, at, aside) {
  const p = plans[row], c = p.contexts[context];
  if (aside) { const f = find(c.beside, at); return f && {...f, state: besideState(p, c)}; }
  if (at < c.size) { const f = find(c.spans, at); return f && {...f, state: at < c.kept ? 'reused' : 'evaluated'}; }
  return at - c.size < writtenOf(row) ? {kind: 'text', token: p.written[0] + at - c.size, state: 'written after the plan, evaluated by itself'} : null;
}
function besideState(p, c) {
  const all = p.contexts.reduce((n, one) => n + sizeOf(one.beside), 0);
  const inText = p.contexts.reduce((n, one) => n + one.size - one.kept, 0), evaluated = Math.max(0, p.counts.evaluated - inText);
  return evaluated === 0 ? 'beside the text, reused' : evaluated >= all ? 'beside the text, evaluated' : 'beside the text, ' + evaluated + ' of ' + all + ' evaluated';
}
const kindName = {head: 'in front of everything', text: 'text', passage: 'passage', marker: 'marker', other: 'repeated by the layout'};

/* Strips. All rows have one scale: the longest fits. */
const widest = Math.max(1, ...plans.map(p => Math.max(...p.contexts.map(c => c.size)) + p.written[1]));
const most = Math.max(1, ...plans.map(p => p.contexts.length));
const anyBeside = plans.some(p => p.contexts.some(c => c.beside.length));
const bar = Math.max(6, Math.min(26, Math.floor(64 / most))), below = anyBeside ? Math.max(5, Math.floor(bar / 2)) + 3 : 0;
const lane = bar + below + 9, rowHeight = Math.max(86, most * lane + 22);
const margin = 7;
const cursor = {row: -1, context: 0, at: 0, aside: false};
let step = last;

function drawStrip(canvas, row, written) {
  const [c, width] = sized(canvas, rowHeight - 18), p = plans[row], per = (width - 2 * margin) / widest;
  c.translate(margin, 0);  /* room for the cut at the ends */
  p.contexts.forEach((context, i) => {
    const top = 9 + i * lane;
    const draw = (from, n, name, y, height) => {
      if (n <= 0) return;
      const x = Math.round(2 * from * per) / 2, w = Math.max(Math.round(2 * (from + n) * per) / 2 - x, name === 'marker' ? 2 : 0.5);
      c.fillStyle = name === 'reused' || name === 'marker' ? colour(name) : pattern(c, name);
      c.fillRect(x, y, w, height);
    };
    let at = 0;
    for (const [kind, , n] of context.spans) {
      const name = kinds[kind], kept = Math.max(0, Math.min(n, context.kept - at));
      if (name === 'passage' || name === 'marker') {
        draw(at, n, name, top, bar);
      } else {
        draw(at, kept, 'reused', top, bar);
        draw(at + kept, n - kept, 'evaluated', top, bar);
      }
      at += n;
    }
    draw(context.size, written, 'written', top, bar);
    c.fillStyle = colour('evaluated');  /* a line below all that was evaluated, whatever it is */
    if (context.size > context.kept) c.fillRect(context.kept * per, top + bar + 1, Math.max(1, (context.size - context.kept) * per), 2);
    if (per >= 6) {
      c.fillStyle = colour('panel');
      for (let t = 1; t < context.size + written; ++t) c.fillRect(t * per - 0.5, top, 1, bar);
    }
    let beside = context.spans.length && kinds[context.spans[0][0]] === 'head' ? context.spans[0][2] : 0;
    for (const [kind, , n] of context.beside) { draw(beside, n, kinds[kind] === 'marker' ? 'marker' : 'aside', top + bar + 4, below - 3); beside += n; }
    const x = context.kept * per;  /* the cut */
    c.fillStyle = colour('ink');
    c.beginPath(); c.moveTo(x - 5, top - 8); c.lineTo(x + 5, top - 8); c.lineTo(x, top - 1); c.fill();
    c.fillRect(x - 0.75, top - 2, 1.5, bar + 4);
    if (cursor.row === row && cursor.context === i) {
      const from = cursor.aside ? cursor.at + (context.spans.length && kinds[context.spans[0][0]] === 'head' ? context.spans[0][2] : 0) : cursor.at;
      c.strokeStyle = colour('focus'); c.lineWidth = 2;
      c.strokeRect(from * per - 1, cursor.aside ? top + bar + 3 : top - 1, Math.max(3, per) + 1, cursor.aside ? below - 1 : bar + 2);
    }
  });
}

function foundOf(p) {
  if (p.retrieval === null) return null;
  return trace.retrievals[p.retrieval];
}
const score = s => s === null ? 'none' : s.toPrecision(4);
const passageLine = q => visible(q.title || q.id) + ' (' + score(q.score) + ', ' + plural(q.tokens, 'token') + ')';
const when = p => p.at === 0 ? 'before the first token' : 'after ' + plural(p.at, 'token');
const why = (p, row) => p.retrieval !== null ? 'retrieval ' + (p.retrieval + 1) : row === 0 ? 'the prompt' : 'the text was planned anew';

function makeRow(row) {
  const p = plans[row], found = foundOf(p);
  const line = (...parts) => element('div', {class: 'line', title: parts.map(x => x.textContent ?? x).join('')}, ...parts);
  const what = element('div', {class: 'what'}, line(element('b', {}, String(row + 1)), ' ' + why(p, row) + ', ' + when(p)));
  if (p.rewound) what.append(line('took ' + plural(p.rewound, 'token') + ' back'));
  if (found) {
    what.append(line('for \u201c' + visible(found.query) + '\u201d'));
    what.append(line('found ' + (found.passages.length ? found.passages.map(passageLine).join(', ') : 'nothing')));
  }
  const s = p.seconds, all = Math.max(1e-12, s.retrieve + s.prefill + s.decode);
  const phases = element('div', {class: 'phases'});
  for (const name of ['retrieve', 'prefill', 'decode']) {
    const part = element('i', {title: name + ' ' + ms(s[name])});
    part.style.width = 100 * s[name] / all + '%'; part.style.background = 'var(--' + name + ')';
    phases.append(part);
  }
  const timed = (name, words) => { const dot = element('i', {class: 'dot'}); dot.style.background = 'var(--' + name + ')'; return element('span', {}, dot, words + ' ' + ms(s[name]) + ' '); };
  const cost = element('div', {class: 'cost'}, line(element('b', {}, count(p.counts.evaluated)), ' evaluated, ', element('b', {}, count(p.counts.reused)), ' reused'),
    phases, line(timed('retrieve', 'search'), timed('prefill', 'plan')), line(timed('decode', 'tokens after it')));
  const strip = element('canvas', {class: 'strip', 'aria-hidden': 'true'});
  const made = element('div', {class: 'row'}, what, strip, cost);
  made.style.top = row * rowHeight + 'px'; made.style.height = rowHeight + 'px';
  made.dataset.row = row;
  return made;
}

/* Only rows in view have elements, and only those that have changed are drawn. */
const drawn = new WeakMap();
function drawStripOf(row) {
  if (!made.has(row)) return;
  const canvas = made.get(row).querySelector('canvas'), n = writtenOf(row), key = n + (cursor.row === row ? JSON.stringify(cursor) : '');
  if (drawn.get(canvas) === key) return;
  drawn.set(canvas, key);
  drawStrip(canvas, row, n);
}
const strips = $('strips'), rows = $('rows'), made = new Map();
function drawRows() {
  const {row: newest} = placeOf(step), until = plans.length ? newest + 1 : 0;
  rows.style.height = until * rowHeight + 'px';
  const from = Math.max(0, Math.floor(strips.scrollTop / rowHeight) - 2);
  const to = Math.min(until, Math.ceil((strips.scrollTop + strips.clientHeight) / rowHeight) + 2);
  for (const [row, its] of made) if (row < from || row >= to) { its.remove(); made.delete(row); }
  for (let row = from; row < to; ++row) {
    if (!made.has(row)) { made.set(row, makeRow(row)); rows.append(made.get(row)); }
    made.get(row).classList.toggle('now', row === newest && step < last);
    drawStripOf(row);
  }
}
)page";

}  // namespace flashback::inline FLASHBACK_ISA::detail
