'use strict';
// The page is a recording: `B` is called with one batch after the other, by scripts that follow this one. Nothing is worked out
// here about the runtime: each event says which cells of the tables it changes, from what to what, so a step back is a step.
const S = [''], E = [], SRC = new Map(), GUIDE = new Map(), CHECKS = [];
let META = {};
function B(batch) {
  if (batch.meta) META = { ...META, ...batch.meta };
  for (const [number, address, title] of batch.guide || []) GUIDE.set(number, [address, title]);
  if (batch.checks) CHECKS.push(...batch.checks);
  for (const text of batch.s || []) S.push(text);
  for (const [file, first, text] of batch.src || []) {
    const lines = SRC.get(file) || new Map();
    text.split('\n').forEach((line, n) => lines.set(first + n, line));
    SRC.set(file, lines);
  }
  for (const [at, kind, who, depth, what, more, place, site, why, chapter, wake, findings, changes] of batch.e || [])
    E.push({ n: E.length, at, kind: S[kind], who: S[who], depth, what: S[what], more: S[more], place: S[place], site: S[site], why: S[why],
      chapter, wake, findings: (findings || []).map(([check, what, hint]) => ({ check: S[check], what: S[what], hint })),
      changes: (changes || []).map(([cell, old, now]) => [S[cell], S[old], S[now]]) });
}

const $ = id => document.getElementById(id);
const esc = text => text.replace(/[&<>"]/g, it => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[it]));
const words = text => esc(text).replace(/`(.*?)`/g, '<code>$1</code>');
const secs = ns => (ns / 1e9).toFixed(6);
const span = ns => ns < 1e3 ? ns + ' ns' : ns < 1e6 ? (ns / 1e3).toFixed(0) + ' µs' : ns < 1e9 ? (ns / 1e6).toFixed(1) + ' ms' : (ns / 1e9).toFixed(2) + ' s';

// ---- the state at an event: cells, by name
const cells = new Map();
let at = -1, followed = null, guessing = false, score = [0, 0], timer = null;
function set(cell, value) { value ? cells.set(cell, value) : cells.delete(cell); }
function apply(event) { for (const [cell, , now] of event.changes) set(cell, now); }
function revert(event) { for (const [cell, old] of [...event.changes].reverse()) set(cell, old); }
function go(to) {
  to = Math.max(0, Math.min(E.length - 1, to));
  while (at < to) apply(E[++at]);
  while (at > to) revert(E[at--]);
  show();
}
const state = () => JSON.stringify([...cells].sort());

// ---- where one may want to go
const isPoll = event => event.kind === 'poll', isPark = event => event.kind === 'polled' && event.more.startsWith('PARKED'), isWake = event => event.wake > 0;
function find(test, step) { for (let n = at + step; n >= 0 && n < E.length; n += step) if (test(E[n])) return n; return -1; }
function goFind(test, step = 1) { const n = find(test, step); if (n >= 0) go(n); }
const other = event => event.wake ? E.findIndex(it => it.wake === -event.wake) : -1;
// ---- following one: a task by its name, or a descriptor, `fd7`
const isFd = whom => /^fd\d+$/.test(whom || '');
/** Whether an event is about it. A descriptor is in the words; whoever wakes a task tells of it too. */
function about(whom) {
  if (!/^(root|rt|t\d+|thread \d+|fd\d+)$/.test(whom)) return () => false;
  if (!isFd(whom)) { const woken = new RegExp(`-> WAKE ${whom}\\b`); return event => event.who === whom || woken.test(event.what); }
  const fd = whom.slice(2), named = new RegExp(`\\bfd ${fd}\\b|\\b(?!socket)[a-z]\\w*\\(${fd}\\)|\\b(socket|accept4)\\(\\d+\\) = ${fd}\\b`);
  return event => named.test(event.what) || named.test(event.more);
}
/** The first descriptor that an event speaks of. */
function fdOf(event) {
  const [, fd, other] = (event.what + ' ' + event.more).match(/\bfd (\d+)\b|\b(?!socket)[a-z]\w*\((\d+)\)/) || [];
  return fd || other ? 'fd' + (fd || other) : null;
}
/** The number of a descriptor comes round: from each registration to its end, or to that of the page. */
function lives(whom) {
  const found = [], last = E.length - 1;
  for (const n of trail) {
    if (E[n].kind === (isFd(whom) ? 'register' : 'spawn') || !found.length && !isFd(whom)) found.push([n, last]);
    if (E[n].kind === (isFd(whom) ? 'deregister' : 'end') && found.length) found[found.length - 1][1] = n;
  }
  return found;
}
let trail = []; // the events about whom one follows
function follow(whom) {
  followed = whom && whom !== followed ? whom : null;
  trail = followed ? E.filter(about(followed)).map(it => it.n) : [];
  if (!trail.length) followed = null;
  const its = new Set(trail);
  [...$('list').children].forEach((li, n) => li.classList.toggle('dim', !!followed && !its.has(n)));
  drawTrail();
  show();
}
/** The next event of whom one follows: of who this event is about, if nobody was. */
function goTrail(step) {
  if (!followed) follow(E[at].who);
  const n = step > 0 ? trail.find(n => n > at) : trail.findLast(n => n < at);
  if (n !== undefined) go(n);
}

/** From a poll, or anything in it, to the wake that caused it; from a wake to its poll. */
function cause() {
  let event = E[at];
  if (!event.wake) { const n = find(it => isPoll(it) && it.who === event.who, -1); if (n < 0) return; event = E[n]; }
  const n = other(event);
  if (n >= 0) go(n);
}

// ---- showing it
function show() {
  const event = E[at];
  $('where').textContent = `${at + 1} of ${E.length} · ${secs(event.at)} s`;
  $('event').innerHTML = `<b>${esc(event.who)}</b>  ${esc(event.what)}` + (event.more ? `   <span class="more">${esc(event.more)}</span>` : '') + (event.place ? `   <span class="more">${esc(event.place)}</span>` : '');
  $('why').innerHTML = words(event.why) + ' ';
  if (event.chapter) $('why').insertAdjacentHTML('beforeend', chapter(event.chapter));
  $('story').querySelectorAll('.finding').forEach(it => it.remove());
  for (const finding of event.findings) $('why').insertAdjacentHTML('afterend', `<p class="finding">${finding.hint ? '?' : '!'} ${esc(finding.check)}: ${esc(finding.what)}</p>`);
  const changed = new Map(event.changes.map(([cell, old]) => [cell, old]));
  showState(changed);
  showCode(event);
  showList();
  showLane();
  $('back').disabled = $('first').disabled = at === 0;
  $('next').disabled = at === E.length - 1;
  $('cause').disabled = !event.wake && find(it => isPoll(it) && it.who === event.who, -1) < 0;
  showTrail();
  ask();
  clearTimeout(remembering);
  remembering = setTimeout(() => history.replaceState(null, '', address()), 150); // A browser refuses it when it comes too often.
}
let remembering = null;
const address = () => '#e=' + (at + 1) + (followed ? '&t=' + encodeURIComponent(followed) : '');
function showTrail() {
  $('follow').setAttribute('aria-pressed', !!followed);
  $('trail').hidden = !followed;
  if (!followed) return;
  const all = lives(followed), life = all.findLast(([from]) => from <= at) || all[0], [was, is] = isFd(followed) ? ['registered', 'deregistered'] : ['begins', 'ends'];
  const link = n => `<span class="link" role="button" tabindex="0" data-n="${n}">event ${n + 1}</span>`;
  const ends = life && E[life[1]].kind === (isFd(followed) ? 'deregister' : 'end');
  refocused($('whom'), () => $('whom').innerHTML = `<b>${esc(label(followed))}</b> ` + (life ? `${was}: ${link(life[0])}, ` + (ends ? `${is}: ${link(life[1])}` : 'to the end') + (all.length > 1 ? ` (life ${all.indexOf(life) + 1} of ${all.length})` : '') : ''));
  const n = trail.filter(it => it <= at).length;
  $('count').textContent = `${n} of ${trail.length} events`;
  $('trailback').disabled = !(trail[0] < at);
  $('trailnext').disabled = !(trail[trail.length - 1] > at);
}
const label = whom => isFd(whom) ? 'fd ' + whom.slice(2) : whom;
/** What is made anew keeps the focus of the keyboard. */
function refocused(box, make) {
  const had = box.contains(document.activeElement) && document.activeElement, same = it => it.dataset.follow === had.dataset.follow && it.dataset.n === had.dataset.n;
  const all = () => [...box.querySelectorAll('[tabindex]')], place = had && had.closest('[id]').id, nth = all().indexOf(had);
  make();
  if (had && !had.isConnected) (all().find(it => same(it) && it.closest('[id]').id === place) || all()[nth] || box.querySelector('[tabindex]'))?.focus({ preventScroll: true });
}
function chapter(number) {
  const [address, title] = GUIDE.get(number) || [];
  return address ? `<a class="chapter" href="${esc(address)}">${number} ${words(title)}</a>` : `<span class="chapter">chapter ${number} of the guide</span>`;
}
function row(cell, texts, changed, follow) {
  const old = changed.has(cell) ? (changed.get(cell) || '').split('\t') : null;
  const dim = followed && follow !== followed && isFd(follow) === isFd(followed) ? ' class="dim"' : '';
  return `<tr${dim} data-cell="${cell}">` + texts.map(([html, raw], n) => `<td${old && old[n] !== raw ? ' class="changed"' : ''}>${html}</td>`).join('') + '</tr>';
}
const link = (whom, text) => `<span class="link" role="button" tabindex="0" data-follow="${esc(whom)}" title="follow ${esc(label(whom))}">${esc(text)}</span>`;
const named = who => who ? who.split(' ').map(it => it.startsWith('+') ? `and ${esc(it.slice(1))} more` : link(it, it)).join(' ') : '–';
const MANY = 12, more = (all, columns, what) => all.length > MANY ? `<tr><td colspan="${columns}">and ${all.length - MANY} more ${what}</td></tr>` : '';
const showState = changed => refocused($('state'), () => makeState(changed));
function makeState(changed) {
  const tasks = [], fds = [], timers = [];
  for (const [cell, value] of cells) {
    const raw = value.split('\t');
    if (cell[0] === 't') tasks.push([+cell.slice(1), cell, raw]);
    else if (cell[0] === 'f') fds.push([+cell.slice(1), cell, raw]);
    else if (cell[0] === 'm') timers.push([+raw[0], cell, raw]);
  }
  const order = (a, b) => a[0] - b[0];
  const [mark, none] = [{ RUNNING: '▶', QUEUED: '●', NEW: '○', PARKED: '‖', ENDED: '■' }, '<tr><td>none</td></tr>'];
  // Of many that have ended the last are shown, and how many there were.
  const ended = tasks.filter(([, , raw]) => raw[1] === 'ENDED').length, hidden = Math.max(0, ended - 6);
  let left = hidden;
  $('tasks').tBodies[0].innerHTML = tasks.sort(order).filter(([, , raw]) => raw[1] !== 'ENDED' || left-- <= 0).map(([id, cell, raw]) => {
    const who = id === 0 ? 'root' : 't' + id;
    const held = raw[3] === '' ? '–' : esc(raw[3]).replace(/\bfd (\d+)\b/g, (all, fd) => link('fd' + fd, all));
    return row(cell, [[named(who) + `<small>${esc(raw[0])}</small>`, raw[0]], [`<span class="${raw[1]}">${mark[raw[1]] || ''} ${raw[1]}</span>`, raw[1]], [raw[2], raw[2]], [held, raw[3]], [esc(raw[4] || '').replaceAll('/', '/<wbr>'), raw[4]]], changed, who);
  }).join('') + (hidden ? `<tr><td colspan="5">and ${hidden} more that have ended</td></tr>` : '') || none;
  $('fds').tBodies[0].innerHTML = fds.sort(order).map(([, cell, raw]) =>
    row(cell, [[link('fd' + raw[0], raw[0]), raw[0]], [esc(raw[1]), raw[1]], [raw[2] || '–', raw[2]], [named(raw[3]), raw[3]], [named(raw[4]), raw[4]]], changed, 'fd' + raw[0])).join('') || none;
  $('timers').tBodies[0].innerHTML = timers.sort(order).slice(0, MANY).map(([due, cell, raw]) =>
    row(cell, [[due > E[at].at ? 'in ' + span(due - E[at].at) : 'due', raw[0]], [named(raw[1]), raw[1]]], changed, raw[1])).join('') + more(timers, 2, 'that are due later') || none;
  const queue = (cells.get('queue') || '').split(' ').filter(Boolean);
  $('queue').innerHTML = queue.length ? 'front → ' + queue.map(who => `<b class="${changed.has('queue') && !(changed.get('queue') || '').split(' ').includes(who) ? 'changed' : ''}">${named(who)}</b>`).join('') : 'empty';
  $('now').textContent = cells.get('now') || '';
  $('now').className = changed.has('now') ? 'changed' : '';
}
function code(pre, label, place, isOurs) {
  const [, file, line] = place.match(/^(.*):(\d+)$/) || [];
  label.textContent = place;
  const lines = file && SRC.get(file);
  if (!lines) { pre.textContent = file ? 'its source was not found when this was recorded' : 'nothing of yours here: this is the loop itself'; return; }
  let html = '', last = null;
  for (const n of [...lines.keys()].sort((a, b) => a - b)) {
    if (last !== null && n !== last + 1) html += '<span class="row hook">     ⋮</span>';
    const text = esc(lines.get(n)), hook = isOurs && /^\s*trace!\(/.test(lines.get(n)) && n !== +line;
    html += `<span class="row${n === +line ? ' mark' : ''}${hook ? ' hook' : ''}" data-n="${n}"><span class="n">${n}</span>${text || ' '}</span>`;
    last = n;
  }
  if (pre.dataset.file !== file + lines.size) { pre.innerHTML = html; pre.dataset.file = file + lines.size; }
  else { pre.querySelectorAll('.mark').forEach(it => it.classList.remove('mark')); pre.querySelector(`[data-n="${line}"]`)?.classList.add('mark'); }
  const mark = pre.querySelector('.mark');
  pre.querySelectorAll('.row').forEach(it => it.classList.toggle('far', Math.abs(it.dataset.n - line) > 12)); // not for paper
  if (mark) pre.scrollTop = mark.offsetTop - pre.offsetTop - pre.clientHeight / 2 + 10;
}
function showCode(event) {
  // Where an event has none, the place of its task: where it was last, or will be next. Of a wake, that of who is woken.
  const who = event.wake > 0 && other(event) >= 0 ? E[other(event)].who : event.who;
  let place = event.place;
  for (let n = at; !place && n >= 0 && who !== 'rt'; n--) if (E[n].who === who && E[n].place) place = E[n].place;
  for (let n = at + 1; !place && who !== 'rt' && n < E.length; n++) if (E[n].who === who && E[n].place) place = E[n].place;
  if (!place) { $('userfile').textContent = ''; $('user').textContent = 'nothing of yours here: this is the loop itself'; delete $('user').dataset.file; }
  else code($('user'), $('userfile'), place, false);
  code($('ours'), $('ourfile'), event.site, true);
}

// ---- the list of events
function makeList() {
  $('list').innerHTML = E.map(event => {
    const bad = event.findings.length ? ' class="bad"' : '';
    return `<li${bad} role="option" tabindex="-1" data-n="${event.n}"><span class="t">${secs(event.at)}</span> ${esc(event.who.padEnd(5))}${'  '.repeat(event.depth)} ${esc(event.what)}</li>`;
  }).join('');
}
let here = null;
function showList() {
  const list = $('list');
  const there = list.children[at];
  if (here !== there) { here?.classList.remove('here'); here?.removeAttribute('aria-selected'); if (here) here.tabIndex = -1; }
  here = there;
  here.classList.add('here');
  here.setAttribute('aria-selected', 'true');
  here.tabIndex = 0;
  if (document.activeElement?.parentNode === list) here.focus({ preventScroll: true });
  const top = here.offsetTop - list.offsetTop;
  if (top < list.scrollTop + 20 || top > list.scrollTop + list.clientHeight - 60) list.scrollTop = top - list.clientHeight / 3;
}

// ---- the timeline: a column for each event, a lane for the loop and for each task
const HIGH = 20, LEFT = 104, LANES = 14;
let WIDE = 9, below = 0;
function makeLanes() {
  WIDE = Math.max(9, Math.min(22, Math.floor(($('lanes').clientWidth - LEFT - 30) / E.length)));
  const all = ['rt', ...new Set(E.map(it => it.who).filter(it => it !== 'rt' && !it.startsWith('thread')))], lanes = all.slice(0, LANES), left = all.length - lanes.length;
  const x = n => LEFT + n * WIDE, y = who => 6 + lanes.indexOf(who) * HIGH;
  const width = x(E.length) + 20, height = (lanes.length + (left ? 1 : 0)) * HIGH + 26;
  let svg = '';
  for (const who of lanes) svg += `<text x="4" y="${y(who) + 13}" class="name">${esc(who === 'rt' ? 'loop, kernel' : who)}</text><line x1="${LEFT}" x2="${width}" y1="${y(who) + 9}" y2="${y(who) + 9}" class="base"/>`;
  if (left) svg += `<text x="4" y="${lanes.length * HIGH + 19}" class="name more">and ${left} more tasks: whom you follow has a lane of its own</text>`;
  const open = new Map(), parked = new Map();
  let asleep = null;
  const spot = (n, title) => `tabindex="-1" role="button" data-at="${n}" aria-label="${esc(title)}, event ${n + 1}"`;
  const box = (cls, from, to, who, title) => `<rect class="${cls}" ${spot(Math.min(from, E.length - 1), title)} x="${x(from)}" y="${y(who) + 2}" width="${Math.max(WIDE - 2, x(to) - x(from))}" height="14" rx="2"><title>${esc(title)}</title></rect>`;
  for (const event of E) {
    if (!lanes.includes(event.who) && event.kind !== 'wake') continue;
    if (event.kind === 'poll') { if (parked.has(event.who)) { svg += box('park', parked.get(event.who), event.n, event.who, event.who + ' is parked'); parked.delete(event.who); } open.set(event.who, event.n); }
    if (event.kind === 'polled') { const from = open.get(event.who); if (from !== undefined) svg += box('run', from, event.n + 1, event.who, `${event.who} is polled: ${event.what}`); open.delete(event.who); if (isPark(event)) parked.set(event.who, event.n + 1); }
    if (event.kind === 'sleep') asleep = event;
    if (event.kind === 'awake' && asleep) {
      svg += box('sleep', asleep.n, event.n + 1, 'rt', 'asleep for ' + span(event.at - asleep.at));
      if (event.at - asleep.at > 2e6) svg += `<text class="gap" x="${x(asleep.n)}" y="${height - 6}">${span(event.at - asleep.at)}</text>`;
      asleep = null;
    }
    if (event.kind === 'event') svg += `<circle class="event" ${spot(event.n, event.what)} cx="${x(event.n) + 4}" cy="${y('rt') + 9}" r="4"><title>${esc(event.what)}</title></circle>`;
  }
  for (const [who, from] of parked) svg += box('park', from, E.length, who, who + ' is parked, to the end');
  for (const event of E) {
    const n = event.wake > 0 ? other(event) : -1;
    if (n < 0 || !lanes.includes(E[n].who)) continue;
    const from = lanes.includes(event.who) ? y(event.who) + 9 : y('rt') + 9, to = y(E[n].who) + 9, x1 = x(event.n) + 4, x2 = x(n) + 1;
    svg += `<path class="arrow" data-wake="${event.wake}" marker-end="url(#tip)" d="M${x1} ${from} C${x1 + 12} ${to},${x2 - 12} ${to},${x2} ${to}"><title>${esc(event.what)}</title></path>`;
  }
  for (const event of E) if (event.findings.length) svg += `<text class="found" x="${x(event.n)}" y="${height - 6}">!</text>`;
  below = height;
  $('lanes').innerHTML = `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="group" aria-label="Timeline of ${E.length} events"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="var(--wake)"/></marker><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="1.6" height="6" fill="var(--parked)" opacity=".5"/></pattern></defs><style>
.name{font:12px ui-monospace,monospace;fill:var(--ink)}.base{stroke:var(--rule)}.run{fill:var(--run)}.park{fill:url(#hatch);stroke:var(--rule)}.sleep{fill:var(--sleep);stroke:var(--kernel);stroke-dasharray:2 2}.event{fill:var(--kernel)}.arrow{fill:none;stroke:var(--wake);stroke-width:1.6}.gap{font:10px sans-serif;fill:var(--soft)}.found{font:700 13px sans-serif;fill:var(--wake)}.cursor{fill:var(--here);opacity:.75}.life{fill:none;stroke:var(--note);stroke-width:1.5}.of{fill:var(--note)}[data-at]{cursor:pointer}[data-at]:focus-visible{outline:2px solid var(--kernel);outline-offset:1px}</style><rect id="cursor" class="cursor" y="0" width="${WIDE}" height="${height - 18}" x="0"/>${svg}<g id="own"></g></svg>`;
  const spots = [...$('lanes').querySelectorAll('[data-at]')].sort((a, b) => a.dataset.at - b.dataset.at);
  $('lanes').spots = spots;
  $('lanes').onclick = click => { const box = $('lanes').firstChild.getBoundingClientRect(); const n = Math.floor((click.clientX - box.left - LEFT) / WIDE); if (n >= 0) go(n); };
}
/** A lane for whom one follows: from its begin to its end, with a mark for each event. */
function drawTrail() {
  const svg = $('lanes').firstChild, high = below + (followed ? HIGH : 0), y = below - 3, x = n => LEFT + n * WIDE;
  if (!svg) return;
  svg.setAttribute('height', high);
  svg.setAttribute('viewBox', `0 0 ${svg.getAttribute('width')} ${high}`);
  $('own').innerHTML = !followed ? '' : `<text x="4" y="${y + 13}" class="name">${esc(label(followed))}</text>` +
    lives(followed).map(([from, to]) => `<rect class="life" x="${x(from)}" y="${y + 2}" width="${x(to + 1) - x(from)}" height="14" rx="7"/>`).join('') +
    trail.map(n => `<circle class="of" cx="${x(n) + WIDE / 2}" cy="${y + 9}" r="3"><title>${esc(E[n].what)}</title></circle>`).join('');
}
/** One of the spans can be reached by the tab key: that which the event is in, or the last before it. */
function showLane() {
  const spots = $('lanes').spots || [], spot = spots.findLast(it => it.dataset.at <= at) || spots[0];
  for (const it of spots) if (it.tabIndex === 0 && it !== spot) it.tabIndex = -1;
  if (spot) spot.tabIndex = 0;
  const cursor = $('cursor'), x = LEFT + at * WIDE, lanes = $('lanes');
  if (!cursor) return;
  cursor.setAttribute('x', x - 1);
  if (x < lanes.scrollLeft + LEFT || x > lanes.scrollLeft + lanes.clientWidth - 60) lanes.scrollLeft = x - lanes.clientWidth / 2;
}

// ---- guessing: the answer is the next event of that kind, so no answer can be wrong
function ask() {
  const box = $('question');
  $('predict').setAttribute('aria-pressed', guessing);
  document.body.classList.toggle('guessing', guessing); // What comes is hidden.
  if (guessing) [...$('list').children].forEach((li, n) => li.classList.toggle('ahead', n > at));
  if (!guessing || at === E.length - 1) { box.hidden = true; return; }
  const next = E[at + 1];
  let question = null, choices = [], answer = '';
  if (next.kind === 'poll') { question = 'Who is polled next?'; answer = next.who; choices = [...new Set(E.slice(0, at + 2).map(it => it.who).filter(it => /^(t\d+|root)$/.test(it)))].slice(-4); if (!choices.includes(answer)) choices.push(answer); }
  else if (next.kind === 'polled') { question = `What does the poll of ${next.who} say?`; answer = next.what.includes('Pending') ? 'Pending' : 'Ready'; choices = ['Pending', 'Ready']; }
  else if (next.kind === 'sleep' || E[at].kind === 'polled') { question = 'What does the loop do now?'; answer = next.kind === 'sleep' ? 'it sleeps' : 'it goes on'; choices = ['it sleeps', 'it goes on']; }
  if (!question) { box.hidden = true; return; }
  box.hidden = false;
  box.innerHTML = `<b>${question}</b> ` + choices.map(it => `<button data-guess="${esc(it)}">${esc(it)}</button>`).join(' ') + ` <span>${score[0]} of ${score[1]} right</span>`;
  box.onclick = click => {
    const guess = click.target.dataset.guess;
    if (!guess) return;
    score[1]++;
    if (guess === answer) score[0]++;
    go(at + 1);
    $('why').insertAdjacentHTML('beforebegin', `<p class="finding">${guess === answer ? 'Right.' : `No: ${esc(answer)}.`}</p>`);
  };
}

// ---- the checks
function makeChecks() {
  const found = E.flatMap(event => event.findings.map(finding => ({ ...finding, n: event.n })));
  $('checks').innerHTML = CHECKS.map(([name, what]) => {
    const broken = found.filter(it => it.check === name);
    if (!broken.length) return `<li title="${esc(what)}">✓ ${esc(name)}</li>`;
    return broken.slice(0, 5).map(it => `<li class="broken" role="button" tabindex="0" data-n="${it.n}" title="${esc(what)}">${it.hint ? '?' : '✗'} ${esc(name)}: ${esc(it.what)}</li>`).join('') + (broken.length > 5 ? `<li>and ${broken.length - 5} more</li>` : '');
  }).join('');
}

// ---- keys and buttons
function play() {
  if (timer) { clearInterval(timer); timer = null; } else timer = setInterval(() => at < E.length - 1 ? go(at + 1) : play(), 350);
  $('play').textContent = timer ? 'pause' : 'play';
}
const ACTIONS = {
  ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Home: () => go(0), End: () => go(E.length - 1), ']': () => goFind(isPoll), '[': () => goFind(isPoll, -1),
  p: () => goFind(isPark), k: () => goFind(isWake), w: cause, W: cause, g: () => { guessing = !guessing; show(); }, f: () => follow(E[at].who), d: () => follow(fdOf(E[at])), '.': () => goTrail(1), ',': () => goTrail(-1), x: () => follow(null), ' ': play, '?': () => $('help').showModal(),
};
document.addEventListener('keydown', key => {
  if (key.ctrlKey || key.metaKey || key.altKey || $('help').open) return;
  if (key.key === ' ' && key.target.closest('button, summary')) return;
  if ((key.key === 'Enter' || key.key === ' ') && key.target.matches('[role=button], [role=option]')) { key.preventDefault(); return press(key.target); }
  if (key.key === 'ArrowDown' || key.key === 'ArrowUp') return rove(key, key.key === 'ArrowDown' ? 1 : -1);
  const act = ACTIONS[key.key];
  if (act) { key.preventDefault(); $('next').classList.remove('pulse'); act(); }
});
/** In the timeline and in the list: from one to the next, without going there. */
function rove(key, step) {
  const all = key.target.dataset.at ? $('lanes').spots : key.target.closest('#list') ? [...$('list').children] : null;
  if (!all) return;
  key.preventDefault();
  all[all.indexOf(key.target) + step]?.focus();
}
function press(target) {
  const { follow: whom, at: n = target.dataset.n } = target.dataset;
  if (whom) follow(whom); else go(+n);
}
document.addEventListener('click', click => {
  const target = click.target.closest('[data-n], [data-follow]');
  if (target && !target.closest('pre')) press(target);
});
const asked = () => new URLSearchParams(location.hash.slice(1));
addEventListener('DOMContentLoaded', () => {
  if (!E.length) { $('event').textContent = 'Nothing was recorded.'; return; }
  document.title = 'waken replay: ' + (META.program || '');
  for (const [id, key] of [['first', 'Home'], ['back', 'ArrowLeft'], ['next', 'ArrowRight'], ['play', ' '], ['park', 'p'], ['wake', 'k'], ['cause', 'w'], ['predict', 'g'], ['keys', '?'], ['follow', 'f'], ['trailback', ','], ['trailnext', '.'], ['nobody', 'x']])
    $(id).onclick = () => { $('next').classList.remove('pulse'); ACTIONS[key](); };
  makeList(); makeLanes(); makeChecks();
  $('next').classList.add('pulse');
  const wanted = parseInt(asked().get('e'));
  at = -1;
  go(wanted > 0 ? wanted - 1 : Math.max(0, E.findIndex(isPark)));
  follow(asked().get('t'));
});
addEventListener('hashchange', () => {
  if (location.hash === address()) return;
  const n = parseInt(asked().get('e')), whom = asked().get('t');
  if (n > 0) go(n - 1);
  if (whom !== followed) { followed = null; follow(whom); }
});
let width = innerWidth;
addEventListener('resize', () => { if (E.length && width !== innerWidth) { width = innerWidth; makeLanes(); drawTrail(); show(); } });
