/// \file The second part of the script of the page that shows a trace: numbers, chart, pointer, keyboard, replay and table.
#pragma once

#include "flashback/core/config.hpp"

#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view trace_page_events = R"page(
/* Cumulative evaluated tokens. Lines differ in dashes and width, and have their names at their ends. */
const lines = [['recompute', 'soft', [2, 4], 2], ['prepend', 'retrieve', [9, 5], 2], ['evaluated', 'evaluated', [], 3.5]];
const lineName = {evaluated: 'this run', prepend: 'prepend', recompute: 'recompute'};
const short = n => n.toLocaleString('en', {notation: n >= 1e5 ? 'compact' : 'standard'});
const points = [];
for (let row = 0; row < plans.length; ++row)
  for (const s of [first[row], first[row] + plans[row].written[1]]) points.push([s, sumsAt(s)]);
function drawChart() {
  const height = 210, [c, width] = sized($('chart'), height), left = 58, right = 92, bottom = 26, top = 8;
  const end = sumsAt(last), high = Math.max(1, end.evaluated, end.prepend, end.recompute);
  const x = s => left + (width - left - right) * s / Math.max(1, last), y = n => height - bottom - (height - bottom - top) * n / high;
  c.font = '12px system-ui, "DejaVu Sans", sans-serif';
  const magnitude = 10 ** Math.floor(Math.log10(high)), tick = magnitude * (high / magnitude >= 5 ? 2 : high / magnitude >= 2 ? 1 : 0.5);
  for (let n = 0; n <= high; n += tick) {
    c.fillStyle = colour('line'); c.fillRect(left, y(n), width - left - right, 1);
    c.fillStyle = colour('soft'); c.textAlign = 'right'; c.fillText(short(n), left - 7, y(n) + 4);
  }
  c.textAlign = 'left'; c.fillText('steps: plans and tokens', left, height - 7);
  const labels = [];
  for (const [name, ink, dash, wide] of lines) {
    c.strokeStyle = colour(ink); c.lineWidth = wide; c.setLineDash(dash); c.lineJoin = 'round';
    c.beginPath();
    let started = false, previous = 0;
    for (const [s, at] of points) {
      if (s > step) break;
      if (started) { c.lineTo(x(s), y(previous)); }
      c[started ? 'lineTo' : 'moveTo'](x(s), y(at[name]));
      started = true; previous = at[name];
    }
    const now = sumsAt(step)[name];
    c.lineTo(x(step), y(now)); c.stroke();
    labels.push([y(now) + 4, lineName[name], ink, now]);
  }
  c.setLineDash([]);
  labels.sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < labels.length; ++i) labels[i][0] = Math.max(labels[i][0], labels[i - 1][0] + 15);
  const over = Math.max(0, labels[labels.length - 1][0] - (height - bottom));
  for (const [at, text, ink] of labels) { c.fillStyle = colour(ink); c.fillText(text, Math.min(x(step) + 8, width - right + 8), Math.max(12, at - over)); }
  c.fillStyle = colour('ink'); c.fillRect(x(step), top, 1, height - bottom - top);
  $('chart').setAttribute('aria-label', 'Tokens evaluated so far: ' + labels.map(l => l[1] + ' ' + count(l[3])).join(', '));
}

/* The text at a step; what was taken back is gone. */
function drawText() {
  const most = 600, kept = [], box = $('text'), at = placeOf(step);
  let gone = 0;
  for (let row = Math.min(at.row, plans.length - 1); row >= 0 && kept.length < most; --row) {
    const p = plans[row], n = row < at.row ? p.written[1] : at.written, left = Math.max(0, n - gone);
    for (let i = left - 1; i >= 0; --i) kept.unshift(p.written[0] + i);
    gone = Math.max(0, gone - n) + p.rewound;
  }
  const readable = list => list.map(textOf).join('').replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');
  let prompt = [];
  for (let i = 0; i < trace.prompt[1]; ++i) prompt.push(trace.prompt[0] + i);
  const before = Math.max(0, most - kept.length);
  prompt = before ? prompt.slice(-before) : [];
  box.replaceChildren(element('span', {class: 'prompt'}, readable(prompt)), readable(kept.slice(0, -1)), element('mark', {}, readable(kept.slice(-1))));
  box.scrollTop = box.scrollHeight;
}

const cards = [['evaluated', 'tokens evaluated'], ['reused', 'tokens reused'], ['requested', 'tokens requested'], ['retrievals', 'retrievals'],
  ['prepend', 'with prepend'], ['recompute', 'with recompute'], ['seconds', 'time']];
const values = {};
for (const [name, label] of cards) {
  values[name] = element('dd', {id: 'n-' + name});
  $('numbers').append(element('div', {}, element('dt', {}, label), values[name]));
}
function drawNumbers() {
  const s = sumsAt(step);
  for (const [name] of cards) {
    if (name === 'seconds') {
      values.seconds.replaceChildren(...[['retrieve', 'search'], ['prefill', 'plans'], ['decode', 'tokens']].map(([phase, word]) => {
        const dot = element('i', {class: 'dot'});
        dot.style.background = 'var(--' + phase + ')';
        return element('small', {}, dot, word + ' ' + ms(s[phase]));
      }));
      for (const phase of ['retrieve', 'prefill', 'decode']) values.seconds.dataset[phase] = s[phase];
      continue;
    }
    const times = (name === 'prepend' || name === 'recompute') && s.evaluated ? ' evaluated, ' + (s[name] / s.evaluated).toFixed(2) + ' times as many' : '';
    values[name].replaceChildren(count(s[name]), element('small', {}, times));
    values[name].dataset.value = s[name];
  }
  return s;
}

let speaking = 0;
function say(text) { clearTimeout(speaking); speaking = setTimeout(() => { $('live').textContent = text; }, 120); }

let due = 0;
function draw() {
  if (!due) due = requestAnimationFrame(() => { due = 0; drawRows(); drawChart(); drawText(); });
}
function go(to, aloud) {
  step = Math.max(0, Math.min(last, to));
  point(null);  /* what was pointed at may not be there yet */
  $('step').value = step;
  const s = drawNumbers(), {row, written} = placeOf(step), p = plans[row];
  const words = !p ? 'Nothing was planned.' : written ? 'token ' + shown(p.written[0] + written - 1) + ', after plan ' + (row + 1) : 'plan ' + (row + 1) + ', ' + why(p, row);
  $('now').textContent = 'step ' + count(step) + ' of ' + count(last) + ': ' + words;
  $('step').setAttribute('aria-valuetext', words + '; ' + count(s.evaluated) + ' evaluated, prepend ' + count(s.prepend) + ', recompute ' + count(s.recompute));
  if (aloud) say('Step ' + step + ': ' + words + '. ' + s.evaluated + ' tokens evaluated, ' + s.reused + ' reused.');
  if (step < last) {
    rows.style.height = (row + 1) * rowHeight + 'px';
    if ((row + 1) * rowHeight > strips.scrollTop + strips.clientHeight || row * rowHeight < strips.scrollTop) strips.scrollTop = (row + 1) * rowHeight - strips.clientHeight;
  }
  draw();
}

/* What is pointed at. */
function hit(event) {
  const canvas = event.target.closest('.strip');
  if (!canvas) return null;
  const box = canvas.getBoundingClientRect(), row = Number(canvas.parentNode.dataset.row), p = plans[row];
  if (row > placeOf(step).row) return null;
  const y = event.clientY - box.top - 9, context = Math.max(0, Math.min(p.contexts.length - 1, Math.floor(y / lane)));
  const c = p.contexts[context], aside = c.beside.length > 0 && y - context * lane > bar + 2;
  let at = Math.floor((event.clientX - box.left - margin) / ((box.width - 2 * margin) / widest));
  if (aside && c.spans.length && kinds[c.spans[0][0]] === 'head') at -= c.spans[0][2];
  return at >= 0 && tokenAt(row, context, at, aside) ? {row, context, at, aside} : null;
}
function describe(where) {
  const found = tokenAt(where.row, where.context, where.at, where.aside);
  const around = (from, to) => { let text = ''; for (let i = from; i < to; ++i) { const t = tokenAt(where.row, where.context, i, where.aside); if (t) text += shown(t.token); } return text; };
  const branch = plans[where.row].contexts.length > 1 ? 'branch ' + (where.context + 1) + ', ' : '';
  const head = branch + (where.aside ? 'token ' : 'position ') + where.at + ' of ' + lengthOf(where.row, where.context, where.aside) + ': ';
  return {head, before: around(Math.max(0, where.at - 8), where.at), token: shown(found.token), after: around(where.at + 1, where.at + 9),
    id: trace.ids[trace.tokens[found.token]], kind: kindName[found.kind] + ', ' + found.state};
}
function point(where, x, y, aloud) {
  const tip = $('tip'), before = cursor.row;
  cursor.row = where ? where.row : -1;
  if (where) Object.assign(cursor, where);
  for (const row of new Set([before, cursor.row])) drawStripOf(row);
  tip.hidden = !where;
  if (!where) return;
  const d = describe(where);
  tip.replaceChildren(d.head + '\u201c' + d.token + '\u201d (' + d.id + ')\n' + d.kind + '\n\u2026' + d.before, element('b', {}, d.token), d.after + '\u2026');
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + 'px';
  tip.style.top = (y + 18 + tip.offsetHeight > innerHeight ? y - 12 - tip.offsetHeight : y + 18) + 'px';
  if (aloud) say('Row ' + (where.row + 1) + ', ' + d.head + d.token + ', ' + d.kind);
}
strips.addEventListener('pointermove', event => point(hit(event), event.clientX, event.clientY));
strips.addEventListener('pointerleave', () => point(null));
strips.addEventListener('blur', () => point(null));
strips.addEventListener('scroll', draw);
strips.addEventListener('keydown', event => {
  const newest = placeOf(step), where = cursor.row < 0 ? {row: newest.row, context: 0, at: 0, aside: false} : {...cursor};
  if (!plans.length) return;
  const lanes = [];  /* strips in their order: rows, branches, and what stands beside them */
  for (let row = 0; row <= newest.row; ++row) plans[row].contexts.forEach((c, context) => { lanes.push([row, context, false]); if (c.beside.length) lanes.push([row, context, true]); });
  let of = lanes.findIndex(l => l[0] === where.row && l[1] === where.context && l[2] === where.aside);
  if (of < 0) of = lanes.length - 1;
  const moves = {ArrowLeft: -1, ArrowRight: 1, PageUp: -50, PageDown: 50, Home: -Infinity, End: Infinity};
  if (event.key === 'ArrowUp' || event.key === 'ArrowDown') of = Math.max(0, Math.min(lanes.length - 1, of + (cursor.row < 0 ? 0 : event.key === 'ArrowUp' ? -1 : 1)));
  else if (event.key in moves) where.at += cursor.row < 0 ? 0 : moves[event.key];
  else return;
  event.preventDefault();
  [where.row, where.context, where.aside] = lanes[of];
  where.at = Math.max(0, Math.min(lengthOf(where.row, where.context, where.aside) - 1, where.at));
  if (where.row * rowHeight < strips.scrollTop) strips.scrollTop = where.row * rowHeight;
  if ((where.row + 1) * rowHeight > strips.scrollTop + strips.clientHeight) strips.scrollTop = (where.row + 1) * rowHeight - strips.clientHeight;
  drawRows();
  const box = made.get(where.row).querySelector('canvas').getBoundingClientRect();
  point(where, box.left + margin + where.at * (box.width - 2 * margin) / widest, box.top + bar, true);
});

/* Replay: in about eight seconds; row by row if less motion is asked for. */
let playing = 0;
function stop() { cancelAnimationFrame(playing); clearTimeout(playing); playing = 0; $('play').textContent = 'Replay'; $('play').setAttribute('aria-pressed', 'false'); }
$('play').addEventListener('click', () => {
  if (playing) return stop();
  let from = step >= last ? 0 : step;
  $('play').textContent = 'Stop'; $('play').setAttribute('aria-pressed', 'true');
  const began = performance.now(), per = Math.max(15, last / 8);
  const next = now => {
    const row = placeOf(step).row;
    const to = quiet.matches ? (row + 1 < plans.length ? first[row + 1] : last) : Math.floor(from + (now - began) / 1000 * per);
    go(to);
    if (step >= last) return stop();
    playing = quiet.matches ? setTimeout(() => next(performance.now()), 700) : requestAnimationFrame(next);
  };
  go(from);
  playing = quiet.matches ? setTimeout(() => next(performance.now()), 700) : requestAnimationFrame(next);
});
$('step').max = last;
$('step').addEventListener('input', event => { stop(); go(Number(event.target.value), true); });

/* The table, made when it is opened. */
const columns = [['plan', (p, i) => i + 1], ['at token', p => p.at], ['taken back', p => p.rewound], ['held', p => p.contexts.map(c => c.size).join(' + ')],
  ['kept (the cut)', p => p.contexts.map(c => c.kept).join(' + ')], ['evaluated', p => p.counts.evaluated], ['reused', p => p.counts.reused], ['discarded', p => p.counts.discarded],
  ['single tokens', p => p.steps.evaluated], ['prepend', p => p.prepend], ['recompute', p => p.recompute], ['search', p => ms(p.seconds.retrieve + p.unfinished.retrieve)], ['plan', p => ms(p.seconds.prefill + p.unfinished.prefill)],
  ['tokens', p => ms(p.seconds.decode)], ['query', p => foundOf(p) ? visible(foundOf(p).query) : '', 'words'],
  ['passages and scores', p => foundOf(p) ? foundOf(p).passages.map(q => visible(q.id) + ': ' + passageLine(q)).join('; ') || 'nothing found' : '', 'words']];
$('table').addEventListener('toggle', () => {
  const box = $('table').querySelector('.scroll');
  if (box.firstChild) return;
  const header = columns.map(([name, , kind]) => element('th', {scope: 'col', class: kind || ''}, name));
  const body = plans.map((p, i) => element('tr', {}, ...columns.map(([, value, kind], n) => element(n ? 'td' : 'th', n ? {class: kind || ''} : {scope: 'row'}, String(value(p, i))))));
  box.append(element('table', {}, element('caption', {class: 'unseen'}, 'Plans of the generation'), element('thead', {}, element('tr', {}, ...header)), element('tbody', {}, ...body)));
});

const legend = [['reused', 'text, reused'], ['evaluated', 'text, evaluated'], ['written', 'text written after the plan, each token evaluated once'], ['passage', 'passage'], ['marker', 'marker']];
if (anyBeside) legend.push(['aside', 'passage beside the text (aside)']);
function drawAll() {
  colours.clear();
  patterns.clear();
  $('legend').replaceChildren(...legend.map(([name, words]) => {
    const key = element('canvas', {width: 68, height: 32, 'aria-hidden': 'true'}), c = key.getContext('2d');
    c.scale(2, 2); c.fillStyle = colour(name); c.fillRect(0, 0, 34, 16);
    if (name !== 'reused' && name !== 'marker') { c.fillStyle = pattern(c, name); c.fillRect(0, 0, 34, 16); }
    return element('li', {}, key, words);
  }), element('li', {}, '\u25bc the cut; what is underlined was evaluated'));
  for (const its of made.values()) drawn.delete(its.querySelector('canvas'));
  go(step);
}
const s = trace.stats;
const head = plans.length ? sizeOf(plans[0].contexts[0].spans.filter(span => kinds[span[0]] === 'head')) : 0;
$('run').append(...trace.description.map(([name, text]) => element('div', {}, element('dt', {}, visible(name)), element('dd', {}, visible(text)))));
$('about').textContent = plural(s.retrievals, 'retrieval') + ' for ' + plural(trace.generated, 'token') + ' after a prompt of ' + plural(trace.prompt[1], 'token') +
  (head ? ', without the head (BOS)' : '') +
  ', in ' + ms(s.seconds.total) + '. Prepend puts each passage in front of the text, so all of it is evaluated anew; recompute keeps nothing. ' +
  'What they would have cost is computed for the same passages and the same text.';
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
addEventListener('resize', () => requestAnimationFrame(drawAll));
drawAll();
</script>
</body>
</html>
)page";

}  // namespace flashback::inline FLASHBACK_ISA::detail
