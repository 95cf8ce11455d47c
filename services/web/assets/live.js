// Keeps a feed or a conversation up to date. Every page works without it: forms post, links refresh.
'use strict';

// A feed is asked for again this often; an unchanged one is answered without its content.
const FEED_PAUSE_MS = 5000;
// After a failure the pause doubles up to this.
const RETRY_MAX_MS = 15000;
// Typing holds for 6 s and is said again while it goes on.
const TYPING_PAUSE_MS = 3000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function keepFeed(feed) {
  for (let wait = FEED_PAUSE_MS; ; await pause(wait)) {
    if (document.hidden) continue;
    try {
      const answer = await fetch(feed.dataset.live, { headers: { accept: 'text/html' } });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      for (const id of ['entries', 'unread']) {
        const [old, now] = [document.getElementById(id), page.getElementById(id)];
        if (old && now && old.outerHTML !== now.outerHTML) old.replaceWith(document.adoptNode(now));
      }
      wait = FEED_PAUSE_MS;
    } catch {
      wait = Math.min(2 * wait, RETRY_MAX_MS);
    }
  }
}

function messageItem(message) {
  const item = document.createElement('li');
  const header = item.appendChild(document.createElement('header'));
  header.appendChild(document.createElement('b')).textContent = message.author;
  const time = header.appendChild(document.createElement('time'));
  time.dateTime = time.textContent = new Date(message.at_ms).toISOString().replace(/\.\d+Z$/, 'Z');
  item.appendChild(document.createElement('p')).textContent = message.text;
  return item;
}

async function keepConversation(list) {
  const { updates, member } = list.dataset;
  const typing = document.getElementById('typing');
  const present = document.getElementById('present');
  let after = list.dataset.after;
  for (let wait = 0; ; await pause(wait)) {
    try {
      const query = new URLSearchParams(member ? { after, member } : { after });
      const answer = await fetch(`${updates}?${query}`, { cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.status);
      const news = await answer.json();
      news.messages.forEach((message) => list.appendChild(messageItem(message)));
      if (news.messages.length) list.lastElementChild.scrollIntoView({ block: 'nearest' });
      const others = news.typing.filter((name) => name !== member);
      typing.textContent = others.length ? `${others.join(', ')} …` : '';
      present.textContent = news.present.length ? `Here: ${news.present.join(', ')}` : '';
      after = news.next;
      wait = 0;
    } catch {
      wait = Math.min(2 * wait + 1000, RETRY_MAX_MS);
    }
  }
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function enhanceForm(form) {
  const { text, author, id } = form.elements;
  const problem = document.getElementById('problem');
  const put = (path, body) => fetch(path, { method: 'PUT', body: JSON.stringify(body) }).catch(() => {});
  let told = 0;
  text.addEventListener('input', () => {
    if (!author.value || Date.now() - told < TYPING_PAUSE_MS) return;
    told = Date.now();
    put(form.dataset.typing, { member: author.value });
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    const body = JSON.stringify({ id: id.value, author: author.value, text: text.value });
    try {
      const answer = await fetch(form.dataset.messages, { method: 'POST', body });
      // What did arrive, and was changed since, is another message.
      if (answer.status === 409) id.value = newId();
      if (!answer.ok) throw new Error((await answer.json()).detail);
      text.value = '';
      id.value = newId();
      told = 0;
    } catch (error) {
      // The id stays: what did arrive is not posted twice.
      problem.textContent = `Not sent: ${error.message}`;
    }
  });
}

const feed = document.getElementById('feed');
if (feed && feed.dataset.live) keepFeed(feed);
const messages = document.getElementById('messages');
if (messages && messages.dataset.updates) keepConversation(messages);
const say = document.getElementById('say');
if (say) enhanceForm(say);
