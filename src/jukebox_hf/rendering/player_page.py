"""The page of the karaoke player: its style and its script, which are the same for every song.

Nothing of a song stands in them: the script reads it from a block of JSON and puts every word in place as text. So one
digest of each is all that the page's policy needs to allow.
"""

STYLE = """
:root { color-scheme: dark; --ink: #e9ecf5; --dim: #77809b; --warm: #ffb454; --ground: #0b0e1c; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 18px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.3rem; margin: 0; }
header p { margin: .2rem 0 1rem; color: var(--dim); font-size: .85rem; }
audio { width: 100%; }
.top { position: sticky; top: 0; background: var(--ground); padding: .5rem 0; z-index: 1; }
figure { margin: .6rem 0 0; }
figcaption { color: var(--dim); font-size: .75rem; }
.picture { position: relative; cursor: pointer; }
.picture img { display: block; width: 100%; height: 7rem; image-rendering: auto; border-radius: 4px; }
.picture i { position: absolute; inset: 0 auto 0 0; width: 2px; background: var(--warm); pointer-events: none; }
#lyrics { padding: 1rem 0 50vh; }
#lyrics p { margin: .1rem 0; padding: .1rem .5rem; border-radius: 4px; color: var(--dim); }
#lyrics p.now { background: #1b2140; color: var(--ink); }
#lyrics p.heading { font-size: .8rem; margin-top: 1rem; }
#lyrics p.unsung { opacity: .45; }
#lyrics button { all: unset; cursor: pointer; border-radius: 3px; white-space: pre-wrap; }
#lyrics button:focus-visible { outline: 2px solid var(--warm); }
#lyrics button.sung { color: var(--ink); }
#lyrics button.now { color: #14100a; background: var(--warm); }
#lyrics button.unsure { text-decoration: underline dotted var(--dim); }
"""

SCRIPT = """
'use strict';
const song = JSON.parse(document.getElementById('song').textContent);
const audio = document.querySelector('audio');
const lyrics = document.getElementById('lyrics');
const lines = [], words = [];
for (const line of song.lines) {
  const row = document.createElement('p');
  if (line.is_heading) { row.className = 'heading'; row.textContent = line.text; }
  if (!line.is_sung) row.classList.add('unsung');
  let at = line.first;
  for (const word of line.words) {
    if (word.first > at) row.append(' ');
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = word.text;
    button.title = word.start.toFixed(2) + ' s, confidence ' + word.confidence.toFixed(2);
    if (word.confidence === 0) button.classList.add('unsure');
    button.addEventListener('click', () => { audio.currentTime = word.start; audio.play().catch(() => {}); });
    row.append(button);
    words.push({ button, start: word.start, end: word.end, is_sung: word.is_sung });
    at = word.last;
  }
  lyrics.append(row);
  if (!line.is_heading) lines.push({ row, start: line.start, end: line.end, is_sung: line.is_sung });
}
const heads = [...document.querySelectorAll('.picture i')];
for (const picture of document.querySelectorAll('.picture')) {
  picture.addEventListener('click', event => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = song.seconds * (event.clientX - box.left) / box.width;
  });
}
let shown = -1;
function show() {
  const now = audio.currentTime;
  for (const word of words) {
    word.button.classList.toggle('now', word.is_sung && word.start <= now && now < word.end);
    word.button.classList.toggle('sung', word.is_sung && word.end <= now);
  }
  let current = -1;
  lines.forEach((line, index) => { if (line.is_sung && line.start <= now) current = index; });
  lines.forEach((line, index) => line.row.classList.toggle('now', index === current));
  if (current !== shown && current >= 0 && !audio.paused) {
    lines[current].row.scrollIntoView({ block: 'center', behavior: 'smooth' });
  }
  shown = current;
  for (const head of heads) head.style.left = Math.min(100, 100 * now / song.seconds) + '%';
}
function tick() { show(); if (!audio.paused) requestAnimationFrame(tick); }
for (const name of ['seeked', 'timeupdate', 'pause', 'ended']) audio.addEventListener(name, show);
audio.addEventListener('play', tick);
document.addEventListener('keydown', event => {
  if (event.code === 'Space' && event.target === document.body) {
    event.preventDefault();
    if (audio.paused) audio.play().catch(() => {}); else audio.pause();
  }
});
show();
"""
