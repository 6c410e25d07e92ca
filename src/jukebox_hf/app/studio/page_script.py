"""The style and the script of the studio's page, the same for every project.

Nothing of a project stands in them. The script says with `trigger` what was clicked, and lights words up by itself.
"""

PAGE_STYLE = """
:root { --warm: #b45309; --lit: #ffd9a0; }
.dark { --warm: #ffb454; --lit: #7a4a10; }
.gradio-container { width: 100%; max-width: 76rem !important; margin: 0 auto; overflow: clip !important; }
#now { position: sticky; top: 0; z-index: 20; background: var(--body-background-fill); padding: .3rem 0; }
#now:not(:has(.said, audio)), #live:not(:has(audio)) { display: none; }
footer { display: none !important; }
#actions button[role=tab][aria-selected=true] { color: var(--warm); }
#head h1 { margin: 0; font-size: 1.35rem; }
#head p { margin: .1rem 0 0; color: var(--body-text-color-subdued); }
.hint { color: var(--body-text-color-subdued); padding: .6rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem; }
.card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .6rem .7rem; min-width: 0;
  background: var(--block-background-fill); }
.card.chosen { border-color: var(--warm); box-shadow: 0 0 0 1px var(--warm); }
.card h3 { margin: 0; font-size: 1rem; }
.card p { margin: 0; font-size: .85rem; color: var(--body-text-color-subdued); }
.card svg { display: block; width: 100%; height: 3rem; margin: .3rem 0; }
.studio svg path { fill: var(--warm); }
.studio audio { display: block; width: 100%; min-width: 0; height: 2.6rem; margin: .3rem 0; }
.studio button, .studio a { font: inherit; font-size: .9rem; color: var(--body-text-color); cursor: pointer;
  background: var(--button-secondary-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 7px; padding: .35rem .7rem; text-decoration: none; min-height: 2.2rem; margin: 0; box-shadow: none; }
.studio button:hover, .studio a:hover { border-color: var(--warm); }
.studio button:focus-visible, .studio a:focus-visible, .gradio-container button:focus-visible,
.gradio-container input:focus-visible, .gradio-container textarea:focus-visible {
  outline: 3px solid var(--warm) !important; outline-offset: 2px; }
.card button { width: 100%; }
.card.chosen button { background: var(--lit); }
.about { margin: 0 0 .4rem; }
.wave.big { position: relative; height: 7rem; border-radius: 8px; background: var(--background-fill-secondary);
  cursor: crosshair; touch-action: pan-y; user-select: none; overflow: hidden; }
.wave.big svg { width: 100%; height: 100%; display: block; }
.wave.big i { position: absolute; top: 0; bottom: 0; pointer-events: none; }
.wave.big .now { width: 2px; left: 0; background: var(--body-text-color); }
.wave.big .stretch { background: color-mix(in srgb, var(--warm) 30%, transparent); border: solid var(--warm);
  border-width: 0 2px; }
.marks { display: flex; flex-wrap: wrap; gap: .5rem; margin: .3rem 0; }
.words { padding: .3rem 0; }
.words p { margin: .1rem 0; }
.words button { border: 0; background: none; padding: .1rem .2rem; min-height: 0; font-size: 1.05rem;
  border-radius: 4px; }
.words button.now { background: var(--warm); color: var(--background-fill-primary); }
.files { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .4rem 0 0; font-size: .9rem; }
.tree ul { list-style: none; margin: 0; padding: 0 0 0 1.1rem; border-left: 2px solid var(--border-color-primary); }
.tree > ul { padding-left: 0; border: 0; }
.tree li { margin: .25rem 0; }
.tree button small { margin-left: .6rem; color: var(--body-text-color-subdued); }
.tree button[aria-current] { border-color: var(--warm); background: var(--lit); }
.tree button[aria-current] small { color: inherit; }
.tree button.failed { border-style: dashed; }
.tree button.stopped { border-style: dotted; }
.said { margin: .2rem 0; }
.said.error { color: #b91c1c; font-weight: 600; }
.dark .said.error { color: #fca5a5; }
.studio progress { appearance: none; width: 100%; height: .5rem; border: 0; border-radius: 4px; overflow: hidden;
  background: var(--border-color-primary); }
.studio progress::-webkit-progress-bar { background: var(--border-color-primary); }
.studio progress::-webkit-progress-value { background: var(--warm); }
.studio progress::-moz-progress-bar { background: var(--warm); }
@media (max-width: 640px) {
  .gradio-container { padding: .4rem !important; }
  .wave.big { height: 5rem; }
}
"""

# One button that was pressed keeps the focus when what it stands in is drawn anew.
CHOOSING = """
element.classList.add('studio');
let pressed = null;
element.addEventListener('click', event => {
  const button = event.target.closest('[data-take]');
  if (!button) return;
  pressed = button.dataset.take;
  trigger('choose', { take: Number(pressed) });
});
element.addEventListener('play', event => {
  const others = document.querySelectorAll('.studio audio, #live audio');
  for (const other of others) if (other !== event.target) other.pause();
}, true);
watch('value', () => {
  if (pressed === null || (document.activeElement && document.activeElement !== document.body)) return;
  const button = element.querySelector('[data-take="' + pressed + '"]');
  if (button) button.focus();
});
"""

SHOWING = "element.classList.add('studio');"

DESK = """
element.classList.add('studio');
let stretch = null, begun = null;
const part = name => element.querySelector(name);
const seconds = () => Number(part('.wave.big').dataset.seconds);
const rounded = second => Math.round(Math.min(Math.max(second, 0), seconds()) * 100) / 100;
function draw() {
  const box = part('.stretch');
  if (!box) return;
  box.hidden = !stretch || !(stretch[1] > stretch[0]);
  if (box.hidden) return;
  const [from, to] = stretch.map(second => Math.min(second, seconds()));  // of another take, perhaps, and a longer one
  box.style.left = 100 * from / seconds() + '%';
  box.style.width = 100 * (to - from) / seconds() + '%';
}
function mark(from, to) {
  stretch = [rounded(from), rounded(to)];
  draw();
  trigger('stretch', { begin: stretch[0], end: stretch[1] });
}
function at(event) {
  const box = part('.wave.big').getBoundingClientRect();
  return (event.clientX - box.left) / box.width * seconds();
}
element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.wave.big')) return;
  begun = at(event);
  part('.wave.big').setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', event => {
  if (begun === null) return;
  stretch = [rounded(Math.min(begun, at(event))), rounded(Math.max(begun, at(event)))];
  draw();
});
element.addEventListener('pointerup', event => {
  if (begun === null) return;
  const from = Math.min(begun, at(event)), to = Math.max(begun, at(event));
  begun = null;
  if (to - from < 0.01 * seconds()) { part('audio').currentTime = from; return; }
  mark(from, to);
});
element.addEventListener('pointercancel', () => { begun = null; });
element.addEventListener('click', event => {
  const word = event.target.closest('[data-start]'), button = event.target.closest('[data-mark]');
  if (word) { part('audio').currentTime = Number(word.dataset.start); part('audio').play().catch(() => {}); }
  if (button) {
    const now = part('audio').currentTime, [from, to] = stretch || [0, seconds()];
    if (button.dataset.mark === 'from') mark(now, Math.max(to, now)); else mark(Math.min(from, now), now);
  }
});
window.addEventListener('jukebox-stretch', event => { if (part('.wave.big')) { stretch = event.detail; draw(); } });
function light() {
  const audio = part('audio');
  if (!audio) return;
  const second = audio.currentTime;
  part('.now').style.left = 100 * second / seconds() + '%';
  for (const word of element.querySelectorAll('.words button')) {
    word.classList.toggle('now', second >= Number(word.dataset.start) && second < Number(word.dataset.end));
  }
}
function follow() { light(); const audio = part('audio'); if (audio && !audio.paused) requestAnimationFrame(follow); }
for (const name of ['timeupdate', 'seeked']) element.addEventListener(name, light, true);
element.addEventListener('play', event => {
  const others = document.querySelectorAll('.studio audio, #live audio');
  for (const other of others) if (other !== event.target) other.pause();
  follow();
}, true);
watch('value', () => requestAnimationFrame(draw));  // the numbers still say it
"""

# Numbers that are typed are drawn over the waveform.
DRAW_STRETCH = "(from, to) => { window.dispatchEvent(new CustomEvent('jukebox-stretch', { detail: [from, to] })); }"
