// A PSU without a browser: cookies, redirects, and the bank's plain forms by
// the ids of their fields.

const redirects = 10;

// visit opens an authorization URL, goes through the bank's pages and returns
// the URL at which the browser comes back to the TPP.
export async function visit(start, redirectURI, psu, button) {
  const cookies = new Map(); // one host serves all; cookies know no port
  let stand = await open(cookies, redirectURI, start);
  for (const [fill, press] of [
    [{ username: psu.username, password: psu.password }],
    [{ otp: psu.otp }],
    [{}, button],
  ]) {
    if (stand.back) break; // refused before the bank's pages
    const { action, body } = form(stand, fill, press);
    stand = await open(cookies, redirectURI, action, { method: 'POST', body });
  }
  if (!stand.back) throw new Error(`the browser did not come back to the TPP but stands at ${stand.url}`);
  return stand.back;
}

// open follows redirects to a page, or to the TPP, which it does not call.
async function open(cookies, redirectURI, start, request = {}) {
  let url = new URL(start);
  for (let i = 0; i < redirects; i++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { ...request, headers: { cookie }, redirect: 'manual' });
    request = {};
    for (const line of answer.headers.getSetCookie()) keep(cookies, url, line);
    const location = answer.headers.get('location');
    const html = await answer.text();
    if (!location) {
      if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}\n${html}`);
      return { url, html };
    }
    url = new URL(location, url);
    if (url.href.startsWith(`${redirectURI}?`)) return { back: url };
  }
  throw new Error('too many redirects');
}

function keep(cookies, url, line) {
  const [pair, ...rest] = line.split(';').map((part) => part.trim());
  const flags = rest.map((flag) => flag.toLowerCase());
  const at = pair.indexOf('=');
  const name = pair.slice(0, at);
  const secure = url.protocol === 'https:';
  if (secure !== name.startsWith('__Host-') || secure !== flags.includes('secure')) {
    throw new Error(`cookie over ${url.protocol} ${line}`);
  }
  const age = flags.find((flag) => flag.startsWith('max-age='));
  if (age && Number(age.slice('max-age='.length)) <= 0) cookies.delete(name);
  else cookies.set(name, pair.slice(at + 1));
}

// form fills in the form of a page.
function form({ url, html }, fill, press) {
  const start = tags(html, 'form')[0];
  if (!start) throw new Error(`${url} has no form`);
  const body = new URLSearchParams();
  const left = new Set(Object.keys(fill));
  for (const input of tags(html, 'input')) {
    if (input.type === 'checkbox' && input.checked === undefined) continue;
    body.append(input.name, fill[input.id] ?? input.value ?? '');
    left.delete(input.id);
  }
  if (left.size > 0) throw new Error(`${url} has no field #${[...left].join(' #')}`);
  if (press) {
    const button = tags(html, 'button').find(({ id }) => id === press);
    if (!button) throw new Error(`${url} has no button #${press}`);
    body.append(button.name, button.value);
  }
  return { action: new URL(start.action, url), body };
}

// tags returns the attributes of every such tag. It reads these pages, not
// HTML at large: no attribute of theirs that is read has a character reference.
function tags(html, name) {
  return [...html.matchAll(new RegExp(`<${name}\\b([^>]*)>`, 'g'))].map(([, text]) =>
    Object.fromEntries([...text.matchAll(/([\w-]+)(?:="([^"]*)")?/g)].map(([, key, value]) => [key, value ?? ''])),
  );
}
